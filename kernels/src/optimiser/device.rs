//! The update rules on tensors of a CUDA device.

use super::{AdamWHyper, SgdHyper, cuda};
use crate::cuda::{hold, tensor, with_storage_mut};
use candle_core::{Result, Tensor};

pub(super) fn sgd(
    param: &Tensor,
    grad: &Tensor,
    velocity: &Tensor,
    hyper: &SgdHyper,
    first: bool,
) -> Result<()> {
    const OP: &str = "sgd_step";
    let grad = grad.contiguous()?;
    let grad = hold(OP, "grad", &grad);
    with_storage_mut(OP, "param", param, |param| {
        with_storage_mut(OP, "velocity", velocity, |velocity| {
            cuda::sgd(grad.device()?, param, grad.view()?, velocity, hyper, first)
        })
    })
}

pub(super) fn adamw(
    param: &Tensor,
    grad: &Tensor,
    [average, square]: [&Tensor; 2],
    hyper: &AdamWHyper,
    step: u64,
) -> Result<()> {
    const OP: &str = "adamw_step";
    let grad = grad.contiguous()?;
    let grad = hold(OP, "grad", &grad);
    with_storage_mut(OP, "param", param, |param| {
        with_storage_mut(OP, "exp_avg", average, |average| {
            with_storage_mut(OP, "exp_avg_sq", square, |square| {
                let (device, view) = (grad.device()?, grad.view()?);
                cuda::adamw(device, param, view, [average, square], hyper, step)
            })
        })
    })
}

pub(super) fn ema(average: &Tensor, param: &Tensor, decay: f64) -> Result<()> {
    const OP: &str = "ema_step";
    let param = param.contiguous()?;
    let param = hold(OP, "param", &param);
    with_storage_mut(OP, "average", average, |average| {
        cuda::ema(param.device()?, average, param.view()?, decay)
    })
}

pub(super) fn squared_norm(values: &Tensor) -> Result<f64> {
    let values = values.contiguous()?;
    let values = hold("squared_norm", "tensor", &values);
    let norm = cuda::squared_norm(values.device()?, values.view()?)?;
    tensor(norm, ()).to_scalar::<f64>()
}
