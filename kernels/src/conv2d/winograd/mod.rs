//! Winograd's F(4×4, 3×3) for 3×3 convolutions of stride 1: a quarter of the multiplications.
//!
//! - Forward: Y = Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A over 6×6 tiles d of the input (arXiv:1509.09308, equation 12).
//! - Input gradient: the same function of dY, filters turned by 180°, channels exchanged.
//! - Weight gradient: Gᵀ[Σ_tiles (Bᵀ d B) ⊙ (A dY Aᵀ)]G, the transpose of the forward pass.
//!
//! Lanes are channels, in blocks of 16. The elementwise products, summed over channels or over
//! tiles, are 36 small matrix products. One Inf or NaN spoils the 4×4 outputs of its tile.

mod filters;
mod gradients;
mod grid;
mod output;
mod transform;
mod weight_gradient;

use super::geometry::Problem;
use super::transfer::{Sink, Source};
use crate::simd::{BLOCK, Level};
pub(super) use gradients::{compute as gradients, suits as gradients_suit};
pub(super) use weight_gradient::compute as weight_gradient;

/// May this convolution go through Winograd, and does it pay?
///
/// Rounding a map up to whole tiles may cost half again as much, not more.
pub(super) fn suits(problem: &Problem) -> bool {
    let g = &problem.geometry;
    let rounded = problem.output.0.next_multiple_of(4) * problem.output.1.next_multiple_of(4);
    problem.kernel == (3, 3)
        && g.stride == (1, 1)
        && g.dilation == (1, 1)
        && g.groups == 1
        && g.padding.0 <= 2
        && g.padding.1 <= 2
        && problem.in_channels > 0
        && problem.out_channels > 0
        && problem.in_channels.is_multiple_of(BLOCK)
        && problem.out_channels.is_multiple_of(BLOCK)
        && 2 * rounded <= 3 * problem.output_pixels()
        && u32::try_from((problem.input_pixels() + rounded) * 4 * BLOCK).is_ok()
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
    let shape = filters::Shape {
        outputs: problem.out_channels,
        inputs: problem.in_channels,
        turned: false,
    };
    let filters = filters::transform(level, weight, shape);
    let sides = output::Sides {
        batch: problem.batch,
        source: (problem.in_channels, problem.input),
        target: (problem.out_channels, problem.output),
        padding: problem.geometry.padding,
    };
    output::convolve(level, &sides, source, &filters, bias, sink);
}

/// The input gradient: a convolution of the output's gradient with padding 2 − p.
pub(super) fn input_gradient(
    level: Level,
    problem: &Problem,
    gradient: &impl Source,
    weight: &[f32],
    sink: &impl Sink,
) {
    let shape = filters::Shape {
        outputs: problem.in_channels,
        inputs: problem.out_channels,
        turned: true,
    };
    let filters = filters::transform(level, weight, shape);
    let padding = problem.geometry.padding;
    let sides = output::Sides {
        batch: problem.batch,
        source: (problem.out_channels, problem.output),
        target: (problem.in_channels, problem.input),
        padding: (2 - padding.0, 2 - padding.1),
    };
    output::convolve(level, &sides, gradient, &filters, &[], sink);
}

/// Parts that a pass cuts each image of `target` pixels into.
pub(super) fn strips(batch: usize, target: (usize, usize)) -> usize {
    grid::Grid::new(batch, target).strips()
}
