//! Operators that treat every element by itself.

use super::{DIFFERENTIABLE, STAGES, count, text};
use crate::case::{Argument, Call, Case, Tolerance, Work};
use candle_core::D;
use serde_json::json;
use taper_kernels::{add_relu, gelu, gelu_tanh, glu, hard_swish, relu, sigmoid, silu, tanh};

/// What passes between the layers of a Conformer's feed-forward block.
const FEED_FORWARD: [usize; 3] = [16, 200, 1024];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for dims in STAGES.iter().chain([&[32, 64, 32, 32]]) {
        cases.push(function("relu", dims, 1, Box::new(|a| relu(&a[0]))));
        let elements = count(dims);
        cases.push(Case {
            kernel: "add_relu",
            size: text(dims),
            arguments: vec![Argument::learned("a", dims), Argument::learned("b", dims)],
            options: json!({}),
            modes: DIFFERENTIABLE,
            forward: Work::passes(elements, 3, 2),
            // One gradient serves both.
            training: Work::passes(elements, 6, 3),
            tolerance: Tolerance::ROUNDING,
            call: Box::new(|a| add_relu(&a[0], &a[1])),
        });
    }
    let functions: [(&'static str, Call); 6] = [
        ("gelu", Box::new(|a| gelu(&a[0]))),
        ("gelu_tanh", Box::new(|a| gelu_tanh(&a[0]))),
        ("silu", Box::new(|a| silu(&a[0]))),
        ("sigmoid", Box::new(|a| sigmoid(&a[0]))),
        ("tanh", Box::new(|a| tanh(&a[0]))),
        ("hard_swish", Box::new(|a| hard_swish(&a[0]))),
    ];
    for (kernel, call) in functions {
        cases.push(function(kernel, &FEED_FORWARD, 10, call));
    }
    cases.push(gated());
    cases
}

/// A function of one tensor; about `flops` operations an element.
fn function(kernel: &'static str, dims: &[usize], flops: usize, call: Call) -> Case {
    let elements = count(dims);
    Case {
        kernel,
        size: text(dims),
        arguments: vec![Argument::learned("x", dims)],
        options: json!({}),
        modes: DIFFERENTIABLE,
        forward: Work::passes(elements, 2, flops),
        training: Work::passes(elements, 5, 2 * flops),
        tolerance: Tolerance::ROUNDING,
        call,
    }
}

/// The first half times the sigmoid of the second, along the last axis.
fn gated() -> Case {
    let results = count(&FEED_FORWARD) / 2;
    Case {
        kernel: "glu",
        size: text(&FEED_FORWARD),
        arguments: vec![Argument::learned("x", &FEED_FORWARD)],
        options: json!({}),
        modes: DIFFERENTIABLE,
        forward: Work::passes(results, 3, 10),
        training: Work::passes(results, 8, 22),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(|a| glu(&a[0], D::Minus1)),
    }
}
