//! Layer norm, group norm with and without SiLU, softmax: sums over a row or a group of it.

use super::{DIFFERENTIABLE, count, text};
use crate::case::{Argument, Case, Tolerance, Work};
use candle_core::D;
use serde_json::json;
use taper_kernels::{group_norm, group_norm_silu, layer_norm, softmax};

/// Batch and positions of a Conformer block, then its width.
const ROWS: [[usize; 2]; 2] = [[16 * 200, 256], [2048, 1024]];
/// Attention logits: heads of a batch by query by key.
const ATTENTION: [[usize; 2]; 2] = [[64 * 256, 256], [4096, 100]];
/// Activations of a small and of the CIFAR-10 velocity network, with their groups.
const IMAGES: [([usize; 4], usize); 3] = [
    ([64, 32, 28, 28], 8),
    ([64, 64, 14, 14], 16),
    ([16, 256, 32, 32], 32),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(ROWS.map(rows));
    cases.extend(ATTENTION.map(probabilities));
    for (dims, groups) in IMAGES {
        cases.push(images(dims, groups, false));
        cases.push(images(dims, groups, true));
    }
    cases
}

fn rows(dims: [usize; 2]) -> Case {
    let elements = count(&dims);
    let forward = Work::passes(elements, 2, 8);
    Case {
        kernel: "layer_norm",
        size: text(&dims),
        arguments: vec![
            Argument::learned("x", &dims),
            Argument::learned("weight", &dims[1..]),
            Argument::learned("bias", &dims[1..]),
        ],
        options: json!({}),
        modes: DIFFERENTIABLE,
        forward,
        // Input and gradient are read, a gradient is written.
        training: forward.and(Work::passes(elements, 3, 12)),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(move |a| layer_norm(&a[0], &dims[1..], Some(&a[1]), Some(&a[2]), 1e-5)),
    }
}

fn images(dims: [usize; 4], groups: usize, silu: bool) -> Case {
    let elements = count(&dims);
    let forward = Work::passes(elements, 2, if silu { 12 } else { 8 });
    Case {
        kernel: if silu {
            "group_norm_silu"
        } else {
            "group_norm"
        },
        size: format!("{} groups {groups}", text(&dims)),
        arguments: vec![
            Argument::learned("x", &dims),
            Argument::learned("weight", &dims[1..2]),
            Argument::learned("bias", &dims[1..2]),
        ],
        options: json!({ "groups": groups }),
        modes: DIFFERENTIABLE,
        forward,
        training: forward.and(Work::passes(elements, 3, if silu { 20 } else { 12 })),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(move |a| {
            let norm = if silu { group_norm_silu } else { group_norm };
            norm(&a[0], groups, Some(&a[1]), Some(&a[2]), 1e-6)
        }),
    }
}

fn probabilities(dims: [usize; 2]) -> Case {
    let elements = count(&dims);
    let forward = Work::passes(elements, 2, 4);
    Case {
        kernel: "softmax",
        size: text(&dims),
        arguments: vec![Argument::learned("x", &dims)],
        options: json!({}),
        modes: DIFFERENTIABLE,
        forward,
        training: forward.and(Work::passes(elements, 3, 4)),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(|a| softmax(&a[0], D::Minus1)),
    }
}
