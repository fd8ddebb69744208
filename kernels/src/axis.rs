//! A tensor seen along one of its dimensions.

use crate::operand::shape_error;
use candle_core::shape::Dim;
use candle_core::{Result, Tensor};

/// A contiguous tensor as `[outer, size, inner]`, `size` being the dimension of interest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub(crate) outer: usize,
    pub(crate) size: usize,
    pub(crate) inner: usize,
}

impl Axis {
    /// Dimension `dim` of `x`, and its index.
    pub(crate) fn of(op: &'static str, x: &Tensor, dim: impl Dim) -> Result<(Self, usize)> {
        let index = dim
            .to_index(x.shape(), op)
            .map_err(|_| shape_error(op, "x", x, "a tensor that has dimension `dim`"))?;
        let dims = x.dims();
        let axis = Self {
            outer: dims[..index].iter().product(),
            size: dims[index],
            inner: dims[index + 1..].iter().product(),
        };
        Ok((axis, index))
    }
}
