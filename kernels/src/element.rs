//! The number types of the kernels: `f32` is the fast path, `f64` the specification.

use crate::math;
use crate::operand::unsupported;
use candle_core::{CpuStorage, Result, WithDType};

/// `f32` or `f64`.
pub(crate) trait Element: WithDType {
    fn exp(self) -> Self;
    /// ln(1 + x), for x of 0 or more.
    fn ln_1p(self) -> Self;
    fn sqrt(self) -> Self;
    fn tanh(self) -> Self;
    /// 1 / (1 + e⁻ˣ)
    fn sigmoid(self) -> Self;
    /// The standard normal distribution's function and density.
    fn normal(self) -> (Self, Self);
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
        math::exp(self)
    }
    #[inline(always)]
    fn ln_1p(self) -> Self {
        math::ln_1p(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        math::tanh(self)
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        math::sigmoid(self)
    }
    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        math::normal(self)
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
    fn ln_1p(self) -> Self {
        f64::ln_1p(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn tanh(self) -> Self {
        f64::tanh(self)
    }
    #[inline(always)]
    fn sigmoid(self) -> Self {
        1.0 / (1.0 + (-self).exp())
    }
    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        use std::f64::consts::{PI, SQRT_2};
        let function = 0.5 * candle_core::cpu::erf::erfc_f64(-self / SQRT_2);
        (function, (-0.5 * self * self).exp() / (2.0 * PI).sqrt())
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
