//! Inference: a batch norm folded into its convolution, and the rest of the block in the same operator.

use super::{Operand, check_residual};
use crate::activation::Activation;
#[cfg(feature = "cuda")]
use crate::conv2d::cuda as gpu;
use crate::conv2d::{Conv2dGeometry, Convolve, Problem};
#[cfg(feature = "cuda")]
use crate::cuda::View;
use crate::element::{Element, positive};
use crate::operand::{require_shape, slice, unsupported};
use crate::threads::for_each_chunk;
use crate::vector::{self, Pass};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor};

const OP: &str = "conv_bias_act";

/// `act(input ⋆ weight + bias + residual)`, for inference: arguments as for [`conv2d`](crate::conv2d()),
/// `residual` of the output's shape.
///
/// It has no derivative: `backward` through it is an error, never a missing gradient. Workspace: as
/// [`conv2d`](crate::conv2d()), and weight and bias in one tensor.
///
/// # Errors
/// If a shape or type does not fit.
pub fn conv_bias_act(
    input: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    residual: Option<&Tensor>,
    geometry: &Conv2dGeometry,
    activation: Activation,
) -> Result<Tensor> {
    let problem = Problem::new(OP, input, weight, Some(bias), geometry)?;
    check_residual(OP, &problem, input, residual)?;
    let packed = Tensor::cat(&[&weight.flatten_all()?, bias], 0)?;
    let op = ConvBiasAct {
        problem,
        activation,
    };
    let input = input.contiguous()?;
    match residual {
        None => input.apply_op2(&packed, op),
        Some(residual) => input.apply_op3(&packed, &residual.contiguous()?, op),
    }
}

/// Weight and bias of the convolution that equals `weight` (and `bias`) followed by a batch norm in
/// evaluation mode: w · gamma / √(variance + eps), (b − mean) · gamma / √(variance + eps) + beta.
///
/// `weight` is `[out, in/groups, kh, kw]`, all others `[out]`. Computed in `f64`; no gradient flows.
///
/// # Errors
/// If a shape does not fit.
pub fn fold_batch_norm(
    weight: &Tensor,
    bias: Option<&Tensor>,
    gamma: &Tensor,
    beta: &Tensor,
    (mean, variance): (&Tensor, &Tensor),
    eps: f64,
) -> Result<(Tensor, Tensor)> {
    let channels = weight.dim(0)?;
    let wide = |argument, tensor: &Tensor| {
        require_shape("fold_batch_norm", argument, tensor, &[channels])?;
        tensor.detach().to_dtype(DType::F64)
    };
    let scale = (wide("gamma", gamma)? / (wide("variance", variance)? + eps)?.sqrt()?)?;
    let shift = match bias {
        Some(bias) => (wide("bias", bias)? - wide("mean", mean)?)?,
        None => wide("mean", mean)?.neg()?,
    };
    let folded_bias = ((shift * &scale)? + wide("beta", beta)?)?;
    let folded = weight
        .detach()
        .to_dtype(DType::F64)?
        .broadcast_mul(&scale.reshape((channels, 1, 1, 1))?)?;
    Ok((
        folded.to_dtype(weight.dtype())?,
        folded_bias.to_dtype(weight.dtype())?,
    ))
}

struct ConvBiasAct {
    problem: Problem,
    activation: Activation,
}

impl ConvBiasAct {
    fn forward(
        &self,
        x: Operand,
        packed: Operand,
        residual: Option<Operand>,
    ) -> Result<(CpuStorage, Shape)> {
        let output = match x.0.dtype() {
            DType::F32 => self.forward_as::<f32>(x, packed, residual)?,
            DType::F64 => self.forward_as::<f64>(x, packed, residual)?,
            other => return Err(unsupported(OP, "input", other)),
        };
        Ok((output, self.problem.output_shape().into()))
    }

    fn forward_as<T: Element + Convolve>(
        &self,
        x: Operand,
        packed: Operand,
        residual: Option<Operand>,
    ) -> Result<CpuStorage> {
        let x = slice::<T>(OP, x.0, x.1)?;
        let packed = slice::<T>(OP, packed.0, packed.1)?;
        let residual = residual
            .map(|(storage, layout)| slice::<T>(OP, storage, layout))
            .transpose()?;
        let (weight, bias) = packed.split_at(packed.len() - self.problem.out_channels);
        let mut output = T::forward(&self.problem, x, weight, Some(bias));
        if residual.is_some() || self.activation != Activation::None {
            let len = self.problem.output_pixels();
            for_each_chunk(&mut output, len, |index, values| {
                let residual = residual.map(|residual| &residual[index * len..(index + 1) * len]);
                vector::run(Finish {
                    values,
                    residual,
                    activation: self.activation,
                });
            });
        }
        Ok(T::to_cpu_storage_owned(output))
    }
}

/// Adds the residual to a plane and applies the activation.
struct Finish<'a, T> {
    values: &'a mut [T],
    residual: Option<&'a [T]>,
    activation: Activation,
}

impl<T: Element> Pass for Finish<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        if let Some(residual) = self.residual {
            for (value, &residual) in self.values.iter_mut().zip(residual) {
                *value += residual;
            }
        }
        if self.activation == Activation::Relu {
            for value in self.values.iter_mut() {
                *value = positive(*value);
            }
        }
    }
}

impl CustomOp2 for ConvBiasAct {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((s1, l1), (s2, l2), None)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.forward_on_device((s1, l1), (s2, l2), None)
    }
}

impl CustomOp3 for ConvBiasAct {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((s1, l1), (s2, l2), Some((s3, l3)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
        s3: &CudaStorage,
        l3: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.forward_on_device((s1, l1), (s2, l2), Some((s3, l3)))
    }
}

#[cfg(feature = "cuda")]
impl ConvBiasAct {
    /// Bias, residual and activation are part of the convolution's kernel.
    fn forward_on_device(
        &self,
        x: (&CudaStorage, &Layout),
        packed: (&CudaStorage, &Layout),
        residual: Option<(&CudaStorage, &Layout)>,
    ) -> Result<(CudaStorage, Shape)> {
        let view = |argument, (storage, layout)| View::of(OP, argument, storage, layout);
        let packed = view("weight", packed)?;
        let weights = packed.length - self.problem.out_channels;
        let finish = gpu::Finish {
            bias: Some(packed.narrow(weights, self.problem.out_channels)),
            residual: residual
                .map(|operand| view("residual", operand))
                .transpose()?,
            activation: self.activation,
        };
        let (input, weight) = (view("input", x)?, packed.narrow(0, weights));
        let y = gpu::forward(&x.0.device, &self.problem, input, weight, &finish)?;
        Ok((y, self.problem.output_shape().into()))
    }
}
