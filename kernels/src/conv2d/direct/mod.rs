//! Direct convolution by shifted planes, lanes = output pixels: any kernel, stride, padding, dilation.
//!
//! An output plane is flat, p = y·width + x. For each source channel and column shift the source plane
//! is copied, shifted and filled with zeros, so that a tap becomes a mere offset:
//! out[k][p] = Σ_t A[t][k] · B[offset(t) + p], a matrix product whose right side is copied once a
//! column of the kernel, not once a tap.

mod panel;
mod plan;
mod planes;
mod product;
mod weight_gradient;

use super::geometry::Problem;
use super::pass::{Channels, Pass};
use crate::simd::Level;

pub(super) use weight_gradient::{
    compute as weight_gradient, compute_from as weight_gradient_from,
};

/// The forward pass.
pub(super) fn forward(
    level: Level,
    problem: &Problem,
    input: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let (pass, channels) = (Pass::forward(problem), Channels::forward(problem));
    product::compute(level, &pass, &channels, problem.batch, input, weight, bias)
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
    product::compute(
        level,
        &pass,
        &channels,
        problem.batch,
        gradient,
        weight,
        None,
    )
}
