//! The passes on tensors of a CUDA device.

use super::cuda::{self, Finish};
use super::{OPERATOR, Problem};
use crate::activation::Activation;
use crate::cuda::View;
use candle_core::{CudaStorage, Layout, Result};

/// An operand as Candle hands it over.
type Operand<'a> = (&'a CudaStorage, &'a Layout);

fn view<'a>(argument: &'static str, operand: Operand<'a>) -> Result<View<'a, CudaStorage>> {
    View::of(OPERATOR, argument, operand.0, operand.1)
}

pub(super) fn forward(
    problem: &Problem,
    input: Operand,
    weight: Operand,
    bias: Option<Operand>,
) -> Result<CudaStorage> {
    let finish = Finish {
        bias: bias.map(|bias| view("bias", bias)).transpose()?,
        residual: None,
        activation: Activation::None,
    };
    let (x, w) = (view("input", input)?, view("weight", weight)?);
    cuda::forward(&input.0.device, problem, x, w, &finish)
}

pub(super) fn input_gradient(
    problem: &Problem,
    gradient: Operand,
    weight: Operand,
) -> Result<CudaStorage> {
    let (dy, w) = (view("gradient", gradient)?, view("weight", weight)?);
    cuda::input_gradient(&gradient.0.device, problem, dy, w)
}

pub(super) fn weight_gradient(
    problem: &Problem,
    input: Operand,
    gradient: Operand,
) -> Result<CudaStorage> {
    let (x, dy) = (view("input", input)?, view("gradient", gradient)?);
    cuda::weight_gradient(&input.0.device, problem, x, dy)
}

pub(super) fn channel_sums(gradient: &CudaStorage, layout: &Layout) -> Result<CudaStorage> {
    let (batch, channels, height, width) = layout.shape().dims4()?;
    let values = view("gradient", (gradient, layout))?;
    let shape = [batch, channels, height * width];
    cuda::channel_sums(&gradient.device, values, shape)
}
