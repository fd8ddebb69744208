//! The number types of the kernels: `f32` is the fast path, `f64` the specification.

use crate::operand::unsupported;
use candle_core::{CpuStorage, Result, WithDType};

/// `f32` or `f64`.
pub(crate) trait Element: WithDType {
    fn exp(self) -> Self;
    fn sqrt(self) -> Self;
    /// The elements of `storage`, to be changed in place.
    fn slice_mut<'a>(
        op: &'static str,
        argument: &'static str,
        storage: &'a mut CpuStorage,
    ) -> Result<&'a mut [Self]>;
}

impl Element for f32 {
    #[inline(always)]
    fn exp(self) -> Self {
        f32::exp(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    fn slice_mut<'a>(
        op: &'static str,
        argument: &'static str,
        storage: &'a mut CpuStorage,
    ) -> Result<&'a mut [Self]> {
        match storage {
            CpuStorage::F32(values) => Ok(values),
            other => Err(unsupported(
                op,
                argument,
                candle_core::backend::BackendStorage::dtype(other),
            )),
        }
    }
}

impl Element for f64 {
    #[inline(always)]
    fn exp(self) -> Self {
        f64::exp(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    fn slice_mut<'a>(
        op: &'static str,
        argument: &'static str,
        storage: &'a mut CpuStorage,
    ) -> Result<&'a mut [Self]> {
        match storage {
            CpuStorage::F64(values) => Ok(values),
            other => Err(unsupported(
                op,
                argument,
                candle_core::backend::BackendStorage::dtype(other),
            )),
        }
    }
}

/// `value` where it is positive or NaN, 0 elsewhere.
#[inline(always)]
pub(crate) fn positive<T: Element>(value: T) -> T {
    masked(value, value)
}

/// `gradient` where `output` is positive or NaN, 0 elsewhere: the derivative of
/// the rectifier in terms of what it returned, as PyTorch has it.
#[inline(always)]
pub(crate) fn masked<T: Element>(output: T, gradient: T) -> T {
    let zero = T::from_f64(0.0);
    if output <= zero { zero } else { gradient }
}
