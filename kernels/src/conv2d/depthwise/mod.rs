//! Depthwise convolution (one channel a group, as many outputs as inputs), lanes = 16 channels.
//!
//! Planes are turned pixel-major and padded, so that a tap of any stride or dilation is an
//! offset and every lane works on maps of any width; the results are turned back.

mod output;
mod weight_gradient;

use super::geometry::Problem;
use super::pass::Pass;
use crate::simd::Level;

pub(super) use weight_gradient::compute as weight_gradient;

/// Is every channel a group of its own, with one output?
pub(super) fn suits(problem: &Problem) -> bool {
    problem.group_in() == 1 && problem.group_out() == 1
}

/// The forward pass.
pub(super) fn forward(
    level: Level,
    problem: &Problem,
    input: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let shape = (problem.batch, problem.in_channels);
    output::compute(level, &Pass::forward(problem), shape, input, weight, bias)
}

/// The input gradient.
pub(super) fn input_gradient(
    level: Level,
    problem: &Problem,
    gradient: &[f32],
    weight: &[f32],
) -> Vec<f32> {
    let shape = (problem.batch, problem.in_channels);
    output::compute(
        level,
        &Pass::input_gradient(problem),
        shape,
        gradient,
        weight,
        None,
    )
}
