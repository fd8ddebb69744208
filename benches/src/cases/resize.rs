//! Resizing maps: a U-Net's way up and a segmentation's logits.

use super::{DIFFERENTIABLE, count, text};
use crate::case::{Argument, Call, Case, Tolerance, Work};
use serde_json::json;
use taper_kernels::{resize_bilinear2d, resize_nearest2d};

/// Maps and what they become.
const SHAPES: [([usize; 4], usize); 3] = [
    ([16, 64, 16, 16], 32),
    ([16, 21, 28, 28], 224),
    ([32, 64, 32, 32], 16),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (dims, side) in &SHAPES {
        let side = *side;
        let bilinear = |align: bool| -> Call {
            Box::new(move |a| resize_bilinear2d(&a[0], (side, side), align))
        };
        cases.push(case(
            "resize_bilinear2d",
            dims,
            side,
            false,
            bilinear(false),
        ));
        cases.push(case("resize_bilinear2d", dims, side, true, bilinear(true)));
        cases.push(case(
            "resize_nearest2d",
            dims,
            side,
            false,
            Box::new(move |a| resize_nearest2d(&a[0], (side, side))),
        ));
    }
    cases
}

fn case(
    kernel: &'static str,
    dims: &[usize; 4],
    side: usize,
    align_corners: bool,
    call: Call,
) -> Case {
    let outputs = dims[0] * dims[1] * side * side;
    let flops = if kernel == "resize_nearest2d" {
        0
    } else {
        8 * outputs
    };
    let work = Work {
        bytes: (4 * (count(dims) + outputs)) as f64,
        flops: flops as f64,
    };
    let corners = if align_corners { " corners" } else { "" };
    Case {
        kernel,
        size: format!("{}->{side}x{side}{corners}", text(dims)),
        arguments: vec![Argument::learned("x", dims)],
        options: json!({"size": [side, side], "align_corners": align_corners}),
        modes: DIFFERENTIABLE,
        forward: work,
        training: work.and(work),
        tolerance: Tolerance::ROUNDING,
        call,
    }
}
