//! The three passes between tensors that lie pixel-major, by whichever kernel is fastest.

use super::geometry::Problem;
use super::select::exact;
use super::transfer::{Sink, Source};
use super::{blocked, depthwise, direct, winograd};
use crate::simd::{BLOCK, Level};

/// Do the channels of each group fill whole blocks, or is every channel a group of its own?
pub(crate) fn suits(problem: &Problem) -> bool {
    let blocks = |channels: usize| channels > 0 && channels.is_multiple_of(BLOCK);
    problem.input_len() > 0
        && problem.weight_len() > 0
        && problem.output_len() > 0
        && (depthwise::suits(problem)
            || (blocks(problem.group_in()) && blocks(problem.group_out())))
}

fn by_winograd(problem: &Problem) -> bool {
    !exact() && winograd::suits(problem)
}

/// The forward pass of a problem that [`suits`].
pub(crate) fn forward(problem: &Problem, source: &impl Source, weight: &[f32], sink: &impl Sink) {
    let level = Level::best();
    if depthwise::suits(problem) {
        depthwise::forward(level, problem, source, weight, &[], sink);
    } else if by_winograd(problem) {
        winograd::forward(level, problem, source, weight, &[], sink);
    } else {
        blocked::forward(level, problem, source, weight, &[], sink);
    }
}

/// The input gradient.
pub(crate) fn input_gradient(
    problem: &Problem,
    gradient: &impl Source,
    weight: &[f32],
    sink: &impl Sink,
) {
    let level = Level::best();
    if depthwise::suits(problem) {
        depthwise::input_gradient(level, problem, gradient, weight, sink);
    } else if by_winograd(problem) {
        winograd::input_gradient(level, problem, gradient, weight, sink);
    } else {
        blocked::input_gradient(level, problem, gradient, weight, sink);
    }
}

/// The weight gradient.
pub(crate) fn weight_gradient(
    problem: &Problem,
    input: &impl Source,
    gradient: &impl Source,
) -> Vec<f32> {
    let level = Level::best();
    if depthwise::suits(problem) {
        depthwise::weight_gradient(level, problem, input, gradient)
    } else if by_winograd(problem) {
        winograd::weight_gradient(level, problem, input, gradient)
    } else {
        direct::weight_gradient_from(level, problem, input, gradient)
    }
}

/// Both gradients: that of the input to `sink`, that of the weight returned.
pub(crate) fn gradients(
    problem: &Problem,
    input: &impl Source,
    gradient: &impl Source,
    weight: &[f32],
    sink: &impl Sink,
) -> Vec<f32> {
    let depthwise = depthwise::suits(problem);
    if !depthwise && by_winograd(problem) && winograd::gradients_suit(problem) {
        return winograd::gradients(Level::best(), problem, (input, gradient), weight, sink);
    }
    let of_weight = weight_gradient(problem, input, gradient);
    input_gradient(problem, gradient, weight, sink);
    of_weight
}

/// Parts that the forward pass and the input gradient cut each image into.
pub(crate) fn strips(problem: &Problem) -> (usize, usize) {
    if depthwise::suits(problem) {
        depthwise::strips(problem)
    } else if by_winograd(problem) {
        (
            winograd::strips(problem.batch, problem.output),
            winograd::strips(problem.batch, problem.input),
        )
    } else {
        blocked::strips(problem)
    }
}
