//! Depthwise convolution (one channel a group, as many outputs as inputs), lanes = 16 channels.
//!
//! Planes are turned pixel-major and padded, so that a tap of any stride or dilation is an
//! offset and every lane works on maps of any width; the results are turned back.

mod output;
mod weight_gradient;

use super::geometry::Problem;
use super::pass::Pass;
use super::transfer::{Sink, Source};
use crate::simd::Level;

pub(super) use weight_gradient::compute as weight_gradient;

/// Is every channel a group of its own, with one output?
pub(super) fn suits(problem: &Problem) -> bool {
    problem.group_in() == 1 && problem.group_out() == 1
}

/// The forward pass; no bias if `bias` is empty.
pub(super) fn forward(
    level: Level,
    problem: &Problem,
    source: &impl Source,
    weight: &[f32],
    bias: &[f32],
    sink: &impl Sink,
) {
    let shape = (problem.batch, problem.in_channels);
    let pass = Pass::forward(problem);
    output::compute(level, &pass, shape, (weight, bias), source, sink);
}

/// The input gradient.
pub(super) fn input_gradient(
    level: Level,
    problem: &Problem,
    gradient: &impl Source,
    weight: &[f32],
    sink: &impl Sink,
) {
    let shape = (problem.batch, problem.in_channels);
    let pass = Pass::input_gradient(problem);
    output::compute(level, &pass, shape, (weight, &[]), gradient, sink);
}

/// Parts that the forward pass and the input gradient cut each image into.
pub(super) fn strips(problem: &Problem) -> (usize, usize) {
    (
        output::strips(&Pass::forward(problem)),
        output::strips(&Pass::input_gradient(problem)),
    )
}
