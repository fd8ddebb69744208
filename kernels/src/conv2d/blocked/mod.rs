//! Direct convolution in blocks of 16 channels, lanes = target channels: any kernel, stride, dilation.
//!
//! The source is turned pixel-major and padded; a register tile holds some pixels of a row times
//! some vectors of target channels and runs over taps and source channels. Rows of taps that lie
//! in the padding are left out. Results are turned back.

mod output;
mod weights;

use super::geometry::Problem;
use super::pass::{Channels, Pass};
use super::transfer::{Sink, Source};
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

/// The forward pass; no bias if `bias` is empty.
pub(super) fn forward(
    level: Level,
    problem: &Problem,
    source: &impl Source,
    weight: &[f32],
    bias: &[f32],
    sink: &impl Sink,
) {
    let (pass, channels) = (Pass::forward(problem), Channels::forward(problem));
    let rest = (problem.batch, weight, bias);
    output::compute(level, &pass, &channels, rest, source, sink);
}

/// The input gradient.
pub(super) fn input_gradient(
    level: Level,
    problem: &Problem,
    gradient: &impl Source,
    weight: &[f32],
    sink: &impl Sink,
) {
    let (pass, channels) = (
        Pass::input_gradient(problem),
        Channels::input_gradient(problem),
    );
    let rest = (problem.batch, weight, &[][..]);
    output::compute(level, &pass, &channels, rest, gradient, sink);
}

/// Parts that the forward pass and the input gradient cut each image into.
pub(super) fn strips(problem: &Problem) -> (usize, usize) {
    let of = |pass, channels| output::strips(&pass, &channels, problem.batch);
    (
        of(Pass::forward(problem), Channels::forward(problem)),
        of(
            Pass::input_gradient(problem),
            Channels::input_gradient(problem),
        ),
    )
}
