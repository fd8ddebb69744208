//! Direct convolution in blocks of 16 channels, lanes = target channels: any kernel, stride, dilation.
//!
//! The source is turned pixel-major and padded; a register tile holds some pixels of a row times
//! some vectors of target channels and runs over taps and source channels. Rows of taps that lie
//! in the padding are left out. Results are turned back.

mod output;
mod weights;

use super::geometry::Problem;
use super::pass::{Channels, Pass};
use crate::simd::{BLOCK, Level};

/// Are the channels of a group whole blocks, and does it pay?
///
/// 1×1 kernels of stride 1 need no padding and are better off as a product of planes, and so are
/// 16 channels a group with stride 1: one vector of target channels fills a register tile badly.
pub(super) fn suits(problem: &Problem) -> bool {
    let (group_in, group_out) = (problem.group_in(), problem.group_out());
    let strided = problem.geometry.stride != (1, 1);
    group_in.is_multiple_of(BLOCK)
        && group_out.is_multiple_of(BLOCK)
        && (strided || (problem.taps() > 1 && group_in.min(group_out) > BLOCK))
}

/// The forward pass.
pub(super) fn forward(
    level: Level,
    problem: &Problem,
    input: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let (pass, channels) = (Pass::forward(problem), Channels::forward(problem));
    output::compute(
        level,
        &pass,
        &channels,
        problem.batch,
        (input, weight, bias),
    )
}

/// The input gradient.
pub(super) fn input_gradient(
    level: Level,
    problem: &Problem,
    gradient: &[f32],
    weight: &[f32],
) -> Vec<f32> {
    let (pass, channels) = (
        Pass::input_gradient(problem),
        Channels::input_gradient(problem),
    );
    output::compute(
        level,
        &pass,
        &channels,
        problem.batch,
        (gradient, weight, None),
    )
}
