//! Optimiser steps in place, one pass a parameter, and the norms that clipping needs.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;
#[cfg(feature = "cuda")]
mod device;

use crate::element::Element;
use crate::operand::{
    require_dtype, require_float, require_separate, require_shape, unsupported, value_error,
    with_slice, with_slice_mut,
};
use candle_core::{DType, Result, Tensor, Var};

/// The numbers of [`sgd_step`], named as in `torch.optim.SGD`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SgdHyper {
    /// Learning rate.
    pub lr: f64,
    /// What remains of the velocity after a step; 0 for plain gradient descent.
    pub momentum: f64,
    /// How much of a new gradient the velocity leaves out.
    pub dampening: f64,
    /// Whether to step along the velocity the next step will have.
    pub nesterov: bool,
    /// Factor of the parameter that is added to its gradient.
    pub weight_decay: f64,
}

/// The numbers of [`adamw_step`], named as in `torch.optim.AdamW`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWHyper {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the average gradient.
    pub beta1: f64,
    /// Decay of the average squared gradient.
    pub beta2: f64,
    /// Added to the root of the average square.
    pub eps: f64,
    /// Decoupled weight decay: the parameter shrinks by `lr · weight_decay` a step.
    pub weight_decay: f64,
}

impl Default for AdamWHyper {
    /// PyTorch's defaults.
    fn default() -> Self {
        Self {
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 1e-2,
        }
    }
}

/// One step of stochastic gradient descent, in place, by PyTorch's rule (Sutskever et al. 2013, rescaled).
///
/// `g ← gradient + weight_decay · p`; `v ← g` on the `first` step, else
/// `v ← momentum · v + (1 − dampening) · g`; `p ← p − lr · v`, or with Nesterov
/// `p ← p − lr · (g + momentum · v)`. Without momentum the velocity is left alone.
/// `param`, `gradient` and `velocity` have one shape. Reads three tensors, writes two.
///
/// # Errors
/// If shapes or types differ, tensors share storage, or one to be changed is not contiguous.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use taper_kernels::{SgdHyper, sgd_step};
/// let param = Var::new(&[1f32], &Device::Cpu)?;
/// let (gradient, velocity) = (Tensor::new(&[0.5f32], &Device::Cpu)?, Tensor::zeros(1, candle_core::DType::F32, &Device::Cpu)?);
/// let hyper = SgdHyper { lr: 1.0, momentum: 0.5, ..SgdHyper::default() };
/// sgd_step(&param, &gradient, &velocity, &hyper, true)?;
/// sgd_step(&param, &gradient, &velocity, &hyper, false)?;
/// assert_eq!(param.to_vec1::<f32>()?, [-0.25]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn sgd_step(
    param: &Var,
    grad: &Tensor,
    velocity: &Tensor,
    hyper: &SgdHyper,
    first: bool,
) -> Result<()> {
    const OP: &str = "sgd_step";
    let param = param.as_tensor();
    check(
        OP,
        ("param", param),
        [("grad", grad), ("velocity", velocity)],
        [("velocity", velocity)],
    )?;
    fn step<T: Element>(
        param: &Tensor,
        grad: &Tensor,
        velocity: &Tensor,
        hyper: &SgdHyper,
        first: bool,
    ) -> Result<()> {
        with_slice_mut::<T, _>(OP, "param", param, |param| {
            with_slice_mut(OP, "velocity", velocity, |velocity| {
                with_slice(OP, "grad", grad, |grad| {
                    cpu::sgd(param, grad, velocity, hyper, first);
                    Ok(())
                })
            })
        })
    }
    #[cfg(feature = "cuda")]
    if param.device().is_cuda() {
        return device::sgd(param, grad, velocity, hyper, first);
    }
    match param.dtype() {
        DType::F32 => step::<f32>(param, grad, velocity, hyper, first),
        _ => step::<f64>(param, grad, velocity, hyper, first),
    }
}

/// One step of AdamW, in place, by PyTorch's rule (Loshchilov and Hutter 2019, algorithm 2).
///
/// `p ← p · (1 − lr · weight_decay)`; `m ← β₁ m + (1 − β₁) g`; `s ← β₂ s + (1 − β₂) g²`;
/// `p ← p − lr / (1 − β₁ᵗ) · m / (√s / √(1 − β₂ᵗ) + eps)`, where t is `step`, 1 at the
/// first step. All tensors have one shape. Reads four, writes three.
///
/// # Errors
/// If `step` is 0, shapes or types differ, tensors share storage, or one to be changed is not contiguous.
///
/// ```
/// use candle_core::{DType, Device, Tensor, Var};
/// use taper_kernels::{AdamWHyper, adamw_step};
/// let param = Var::new(&[1f32], &Device::Cpu)?;
/// let zeros = || Tensor::zeros(1, DType::F32, &Device::Cpu);
/// let hyper = AdamWHyper { lr: 0.5, eps: 0.0, weight_decay: 0.0, ..AdamWHyper::default() };
/// adamw_step(&param, &Tensor::new(&[3f32], &Device::Cpu)?, &zeros()?, &zeros()?, &hyper, 1)?;
/// assert!((param.to_vec1::<f32>()?[0] - 0.5).abs() < 1e-6); // the first step is lr long
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn adamw_step(
    param: &Var,
    grad: &Tensor,
    exp_avg: &Tensor,
    exp_avg_sq: &Tensor,
    hyper: &AdamWHyper,
    step: u64,
) -> Result<()> {
    const OP: &str = "adamw_step";
    let param = param.as_tensor();
    let averages = [("exp_avg", exp_avg), ("exp_avg_sq", exp_avg_sq)];
    check(
        OP,
        ("param", param),
        [("grad", grad), averages[0], averages[1]],
        averages,
    )?;
    require_separate(OP, averages[0], averages[1])?;
    if step == 0 {
        return Err(value_error(OP, "step", step, "at least 1"));
    }
    fn run<T: Element>(
        param: &Tensor,
        grad: &Tensor,
        averages: [&Tensor; 2],
        hyper: &AdamWHyper,
        step: u64,
    ) -> Result<()> {
        with_slice_mut::<T, _>(OP, "param", param, |param| {
            with_slice_mut(OP, "exp_avg", averages[0], |average| {
                with_slice_mut(OP, "exp_avg_sq", averages[1], |square| {
                    with_slice(OP, "grad", grad, |grad| {
                        cpu::adamw(param, grad, average, square, hyper, step);
                        Ok(())
                    })
                })
            })
        })
    }
    #[cfg(feature = "cuda")]
    if param.device().is_cuda() {
        return device::adamw(param, grad, [exp_avg, exp_avg_sq], hyper, step);
    }
    match param.dtype() {
        DType::F32 => run::<f32>(param, grad, [exp_avg, exp_avg_sq], hyper, step),
        _ => run::<f64>(param, grad, [exp_avg, exp_avg_sq], hyper, step),
    }
}

/// `average ← decay · average + (1 − decay) · param`, in place; one shape.
///
/// # Errors
/// If shapes or types differ, the tensors share storage (an average must be a copy:
/// `detach` and `clone` are not), or the average is not contiguous.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let (average, param) = (Tensor::new(&[0f32], &Device::Cpu)?, Tensor::new(&[4f32], &Device::Cpu)?);
/// taper_kernels::ema_step(&average, &param, 0.75)?;
/// assert_eq!(average.to_vec1::<f32>()?, [1.0]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn ema_step(average: &Tensor, param: &Tensor, decay: f64) -> Result<()> {
    const OP: &str = "ema_step";
    check(OP, ("average", average), [("param", param)], [])?;
    fn step<T: Element>(average: &Tensor, param: &Tensor, decay: f64) -> Result<()> {
        with_slice_mut::<T, _>(OP, "average", average, |average| {
            with_slice(OP, "param", param, |param| {
                cpu::ema(average, param, decay);
                Ok(())
            })
        })
    }
    #[cfg(feature = "cuda")]
    if average.device().is_cuda() {
        return device::ema(average, param, decay);
    }
    match average.dtype() {
        DType::F32 => step::<f32>(average, param, decay),
        _ => step::<f64>(average, param, decay),
    }
}

/// The sum of all squared elements, in `f64` over fixed chunks; the root over all
/// gradients' sums is the norm that clipping compares.
///
/// # Errors
/// If the tensor is neither `f32` nor `f64`, or not on the CPU.
///
/// ```
/// use candle_core::{Device, Tensor};
/// assert_eq!(taper_kernels::squared_norm(&Tensor::new(&[3f32, 4.], &Device::Cpu)?)?, 25.0);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn squared_norm(tensor: &Tensor) -> Result<f64> {
    const OP: &str = "squared_norm";
    #[cfg(feature = "cuda")]
    if tensor.device().is_cuda() {
        return device::squared_norm(tensor);
    }
    match tensor.dtype() {
        DType::F32 => {
            with_slice::<f32, _>(OP, "tensor", tensor, |values| Ok(cpu::squared_norm(values)))
        }
        DType::F64 => {
            with_slice::<f64, _>(OP, "tensor", tensor, |values| Ok(cpu::squared_norm(values)))
        }
        other => Err(unsupported(OP, "tensor", other)),
    }
}

/// All `others` have the shape and type of the first tensor and storage of their own,
/// and none of them is `changed` while it is read as another.
fn check<const N: usize, const M: usize>(
    op: &'static str,
    first: (&'static str, &Tensor),
    others: [(&'static str, &Tensor); N],
    changed: [(&'static str, &Tensor); M],
) -> Result<()> {
    require_float(op, first.0, first.1)?;
    for (argument, tensor) in others {
        require_dtype(op, argument, tensor, first.1.dtype())?;
        require_shape(op, argument, tensor, first.1.dims())?;
        require_separate(op, first, (argument, tensor))?;
    }
    for state in changed {
        for other in others.into_iter().filter(|other| other.0 != state.0) {
            require_separate(op, state, other)?;
        }
    }
    Ok(())
}
