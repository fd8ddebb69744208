//! Operators that treat every element by itself.

use super::{DIFFERENTIABLE, STAGES, count, text};
use crate::case::{Argument, Case, Tolerance, Work};
use serde_json::json;
use taper_kernels::{add_relu, relu};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for dims in STAGES.iter().chain([&[32, 64, 32, 32]]) {
        let elements = count(dims);
        cases.push(Case {
            kernel: "relu",
            size: text(dims),
            arguments: vec![Argument::learned("x", dims)],
            options: json!({}),
            modes: DIFFERENTIABLE,
            forward: Work::passes(elements, 2, 1),
            training: Work::passes(elements, 5, 2),
            tolerance: Tolerance::ROUNDING,
            call: Box::new(|a| relu(&a[0])),
        });
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
    cases
}
