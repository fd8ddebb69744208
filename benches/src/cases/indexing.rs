//! Operators that move elements: gathering, scattering, embedding, strided copies, sums over leading axes.

use super::{DIFFERENTIABLE, count, text};
use crate::case::{Argument, Case, Tolerance, Values, Work};
use serde_json::json;
use taper_kernels::{embedding, gather, permute, scatter_add, sum_axes};

/// Rows and classes of the logits that labels pick from.
const LOGITS: [usize; 2] = [4096, 512];
/// A table of tokens, and how many are looked up.
const TABLE: [usize; 2] = [5000, 256];
const LOOKED_UP: [usize; 2] = [64, 50];
/// Heads of attention: batch, positions, heads, width of each.
const HEADS: [usize; 4] = [32, 200, 4, 64];

pub(super) fn cases() -> Vec<Case> {
    vec![
        gathered(),
        scattered(),
        looked_up(),
        permuted("permute", HEADS, [0, 2, 1, 3]),
        // Channels last, and back.
        permuted("permute", [64, 64, 16, 16], [0, 2, 3, 1]),
        permuted("permute", [64, 16, 16, 64], [0, 3, 1, 2]),
        summed(&[4096, 512], &[0]),
        summed(&[64, 64, 16, 16], &[0, 2, 3]),
    ]
}

fn gathered() -> Case {
    let picked = [LOGITS[0], 64];
    let forward = Work::passes(count(&picked), 3, 0);
    Case {
        kernel: "gather",
        size: format!("{} of {}", text(&picked), text(&LOGITS)),
        arguments: vec![
            Argument::learned("x", &LOGITS),
            Argument::fixed("index", &picked).with(Values::Counting(LOGITS[1] as u32)),
        ],
        options: json!({"axis": 1}),
        modes: DIFFERENTIABLE,
        forward,
        // The gradient is zeros but where something was picked.
        training: forward
            .and(Work::passes(count(&picked), 2, 1))
            .and(Work::passes(count(&LOGITS), 1, 0)),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(|a| gather(&a[0], 1, &a[1])),
    }
}

fn scattered() -> Case {
    let added = [LOGITS[0], 64];
    let forward = Work::passes(count(&added), 2, 1).and(Work::passes(count(&LOGITS), 2, 0));
    Case {
        kernel: "scatter_add",
        size: format!("{} into {}", text(&added), text(&LOGITS)),
        arguments: vec![
            Argument::learned("x", &LOGITS),
            Argument::fixed("index", &added).with(Values::Counting(LOGITS[1] as u32)),
            Argument::learned("source", &added),
        ],
        options: json!({"axis": 1}),
        modes: DIFFERENTIABLE,
        forward,
        training: forward.and(Work::passes(count(&added), 3, 0)),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(|a| scatter_add(&a[0], 1, &a[1], &a[2])),
    }
}

fn looked_up() -> Case {
    let result = count(&LOOKED_UP) * TABLE[1];
    let forward = Work::passes(result, 2, 0);
    Case {
        kernel: "embedding",
        size: format!("{} of {}", text(&LOOKED_UP), text(&TABLE)),
        arguments: vec![
            Argument::learned("weight", &TABLE),
            Argument::fixed("index", &LOOKED_UP).with(Values::Counting(TABLE[0] as u32)),
        ],
        options: json!({}),
        modes: DIFFERENTIABLE,
        forward,
        training: forward
            .and(Work::passes(result, 1, 1))
            .and(Work::passes(count(&TABLE), 1, 0)),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(|a| embedding(&a[0], &a[1])),
    }
}

fn permuted(kernel: &'static str, dims: [usize; 4], axes: [usize; 4]) -> Case {
    let forward = Work::passes(count(&dims), 2, 0);
    Case {
        kernel,
        size: format!("{} to {axes:?}", text(&dims)),
        arguments: vec![Argument::learned("x", &dims)],
        options: json!({ "axes": axes }),
        modes: DIFFERENTIABLE,
        forward,
        training: forward.and(forward),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(move |a| permute(&a[0], &axes)),
    }
}

fn summed(dims: &'static [usize], axes: &'static [usize]) -> Case {
    let elements = count(dims);
    let forward = Work::passes(elements, 1, 1);
    Case {
        kernel: "sum_axes",
        size: format!("{} over {axes:?}", text(dims)),
        arguments: vec![Argument::learned("x", dims)],
        options: json!({ "axes": axes }),
        modes: DIFFERENTIABLE,
        forward,
        training: forward.and(Work::passes(elements, 1, 0)),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(move |a| sum_axes(&a[0], axes)),
    }
}
