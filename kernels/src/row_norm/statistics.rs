//! Mean and deviation of a run.

use crate::batch_norm::sums::SegmentMoments;
use crate::element::Element;
use crate::vector::Pass;
use candle_core::{Device, Result, Tensor};

/// How a run is normalised: (x − shift) · scale + offset.
///
/// Subtracting first keeps the digits that scale · x + offset would lose where the mean is
/// large; what rounding took from the mean comes back in the offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statistics<T> {
    pub(super) shift: T,
    pub(super) scale: T,
    pub(super) offset: T,
}

impl<T: Element> Statistics<T> {
    /// Of the elements of `row`.
    #[inline(always)]
    pub(super) fn of(row: &[T], eps: f64) -> Self {
        let moments = SegmentMoments(row).run();
        let inverse_deviation = 1.0 / (moments.variance() + eps).sqrt();
        let shift = T::from_f64(moments.mean);
        Self {
            shift,
            scale: T::from_f64(inverse_deviation),
            offset: T::from_f64((shift.to_f64() - moments.mean) * inverse_deviation),
        }
    }

    #[inline(always)]
    pub(super) fn normalise(self, x: T) -> T {
        (x - self.shift) * self.scale + self.offset
    }
}

/// `[runs, 3]`: shift, scale and offset.
pub(super) fn as_tensor<T: Element>(statistics: &[Statistics<T>]) -> Result<Tensor> {
    let values = statistics
        .iter()
        .flat_map(|statistics| [statistics.shift, statistics.scale, statistics.offset])
        .collect();
    Tensor::from_vec(values, (statistics.len(), 3), &Device::Cpu)
}

/// What [`as_tensor`] wrote.
pub(super) fn as_slice<T: Element>(values: &[T]) -> Vec<Statistics<T>> {
    let (triples, _) = values.as_chunks::<3>();
    triples
        .iter()
        .map(|&[shift, scale, offset]| Statistics {
            shift,
            scale,
            offset,
        })
        .collect()
}
