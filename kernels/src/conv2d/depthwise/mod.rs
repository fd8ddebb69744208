//! Depthwise convolution (one channel a group, as many outputs as inputs), bound by memory.
//!
//! Each channel's plane is copied into a padded one, split by the remainders of the step; a tap is
//! then an offset. Forward pass and input gradient have pixels as lanes and several vectors of
//! them in registers; the weight gradient sums up to nine taps at once over the whole batch.

mod output;
mod planes;
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
    output::compute(
        level,
        &Pass::forward(problem),
        (problem.batch, problem.in_channels),
        input,
        weight,
        bias,
    )
}

/// The input gradient.
pub(super) fn input_gradient(
    level: Level,
    problem: &Problem,
    gradient: &[f32],
    weight: &[f32],
) -> Vec<f32> {
    output::compute(
        level,
        &Pass::input_gradient(problem),
        (problem.batch, problem.in_channels),
        gradient,
        weight,
        None,
    )
}
