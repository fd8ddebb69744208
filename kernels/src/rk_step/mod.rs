//! The arithmetic of Catch-Up Distillation (Shao et al. 2023, arXiv:2305.10769) and of its samplers.
//!
//! Data x lie at time 0, noise z at time 1, x_t = t z + (1 − t) x between them; a network
//! v(x, t) is the velocity dx/dt, and every step goes toward the data:
//! x_{t−h} ≈ x_t − h v. Times and steps differ from sample to sample, so a scalar `[batch]`
//! multiplies all elements of its sample. Each function passes over memory once.

mod clamped;
mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;
mod interpolate;
mod loss;
mod rule;
mod sampler;
mod states;
#[cfg(feature = "cuda")]
mod views;

pub use interpolate::{interpolate, interpolate_state};
pub use loss::{CatchUpWeights, catchup_loss};
pub use rule::{Stage, StageRule};
pub use sampler::{SamplerStep, sampler_update, sampler_update_with_estimate};
pub use states::{rk_stage, rk_step};

use crate::operand::{require_dtype, require_float, require_shape, shape_error};
use candle_core::{DType, Layout, Result, Shape, Tensor};
use std::ops::Range;

/// `batch` samples of `image` elements, one after the other.
#[derive(Clone, Copy, Debug)]
struct Samples {
    batch: usize,
    image: usize,
}

impl Samples {
    /// The samples of x: `[batch, …]`.
    fn of(op: &'static str, argument: &'static str, x: &Tensor) -> Result<Self> {
        require_float(op, argument, x)?;
        match *x.dims() {
            [batch, ref image @ ..] => Ok(Self {
                batch,
                image: image.iter().product(),
            }),
            [] => Err(shape_error(op, argument, x, "[batch, …]")),
        }
    }

    /// Refuses a tensor that does not have one number a sample.
    fn require_scalars(
        self,
        op: &'static str,
        argument: &'static str,
        scalars: &Tensor,
        x: &Tensor,
    ) -> Result<()> {
        require_shape(op, argument, scalars, &[self.batch])?;
        require_dtype(op, argument, scalars, scalar_dtype(x))
    }

    fn len(self) -> usize {
        self.batch * self.image
    }

    /// Cuts `range` where samples end and into pieces of at most `most` elements.
    #[inline(always)]
    fn pieces(self, range: Range<usize>, most: usize) -> Pieces {
        Pieces {
            image: self.image,
            most,
            rest: range,
        }
    }
}

/// The type of the numbers that each sample has one of: never narrower than `f32`.
fn scalar_dtype(x: &Tensor) -> DType {
    match x.dtype() {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}

/// Pieces of one sample each, with the sample's index.
struct Pieces {
    image: usize,
    most: usize,
    rest: Range<usize>,
}

impl Iterator for Pieces {
    type Item = (usize, Range<usize>);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let start = self.rest.start;
        let sample = start / self.image;
        let end = self
            .rest
            .end
            .min((sample + 1) * self.image)
            .min(start.saturating_add(self.most));
        self.rest.start = end;
        Some((sample, start..end))
    }
}

/// Refuses tensors that differ from x in shape or type.
fn require_like<'a>(
    op: &'static str,
    x: &Tensor,
    others: impl IntoIterator<Item = (&'static str, &'a Tensor)>,
) -> Result<()> {
    for (argument, other) in others {
        require_dtype(op, argument, other, x.dtype())?;
        require_shape(op, argument, other, x.dims())?;
    }
    Ok(())
}

/// The shape of `parts` tensors of the layout's shape in one.
fn stacked(parts: usize, layout: &Layout) -> Shape {
    let dims: Vec<usize> = std::iter::once(parts)
        .chain(layout.dims().iter().copied())
        .collect();
    Shape::from(dims)
}

/// The parts of a tensor `[parts, …]`.
fn unstack(packed: &Tensor, parts: usize) -> Result<Vec<Tensor>> {
    (0..parts).map(|part| packed.get(part)).collect()
}

#[cfg(test)]
mod tests {
    use super::Samples;

    #[test]
    fn pieces_cover_a_range_and_never_cross_a_sample() {
        for (batch, image, most) in [(3, 7, 4), (5, 1, 8), (2, 100, 16), (1, 33, 1)] {
            let samples = Samples { batch, image };
            for start in 0..samples.len() {
                for end in start..=samples.len() {
                    let mut at = start;
                    for (sample, piece) in samples.pieces(start..end, most) {
                        assert!(piece.start == at && piece.len() <= most && !piece.is_empty());
                        assert_eq!(piece.start / image, sample);
                        assert_eq!((piece.end - 1) / image, sample);
                        at = piece.end;
                    }
                    assert_eq!(at, end);
                }
            }
        }
    }
}
