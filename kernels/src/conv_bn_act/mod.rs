//! Convolution, batch norm, residual addition and activation as one operator with one derivative.
//!
//! Between separate operators every value is written, read again and, on the way back, has
//! its gradient added to zeros by Candle. Fused, only the result reaches the tape; the
//! convolution's output is kept inside the operator for the derivative.

mod inference;
mod pass;

pub use inference::{conv_bias_act, fold_batch_norm};

use crate::activation::Activation;
use crate::batch_norm::BatchStatistics;
use crate::batch_norm::grid::Grid;
use crate::conv2d::{Conv2dGeometry, Operand, Problem};
use crate::operand::{require_dtype, require_shape, shape_error, unsupported, value_error};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor};
use std::sync::{Arc, OnceLock};

const OP: &str = "conv_bn_act";

/// `act(gamma · (z − mean) / √(variance + eps) + beta + residual)` with z = `input` ⋆ `weight`, mean and
/// variance of z over the batch.
///
/// * `input`: `[batch, in, H, W]`, `weight`: `[out, in/groups, kh, kw]`, as for [`conv2d`](crate::conv2d())
/// * `gamma`, `beta`: `[out]`
/// * `residual`: `[batch, out, Ho, Wo]`
///
/// Returns the result and the statistics of z, as [`batch_norm_train`](crate::batch_norm_train) does
/// after a `conv2d` without bias, and the same gradients, once: a gradient of this operator's gradients
/// is not recorded; for those use the two operators.
///
/// # Workspace
/// As [`conv2d`](crate::conv2d()), and z, which is kept for the backward pass; there the gradient of z.
///
/// # Errors
/// If a shape or type does not fit, or a channel has fewer than two values.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use taper_kernels::{Activation, Conv2dGeometry, conv_bn_act};
/// let x = Tensor::new(&[[[[1f32, 3.]]]], &Device::Cpu)?;
/// let w = Tensor::ones((1, 1, 1, 1), DType::F32, &Device::Cpu)?;
/// let (one, zero) = (Tensor::ones(1, DType::F32, &Device::Cpu)?, Tensor::zeros(1, DType::F32, &Device::Cpu)?);
/// let geometry = Conv2dGeometry::default();
/// let (y, statistics) = conv_bn_act(&x, &w, &one, &zero, None, &geometry, 0.0, Activation::Relu)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [0.0, 1.0]);
/// assert_eq!(statistics.mean.to_vec1::<f32>()?, [2.0]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[allow(clippy::too_many_arguments)]
pub fn conv_bn_act(
    input: &Tensor,
    weight: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    residual: Option<&Tensor>,
    geometry: &Conv2dGeometry,
    eps: f64,
    activation: Activation,
) -> Result<(Tensor, BatchStatistics)> {
    let problem = Problem::new(OP, input, weight, None, geometry)?;
    for (argument, tensor) in [("gamma", gamma), ("beta", beta)] {
        require_shape(OP, argument, tensor, &[problem.out_channels])?;
        require_dtype(OP, argument, tensor, input.dtype())?;
    }
    check_residual(OP, &problem, input, residual)?;
    if eps.is_nan() || eps < 0.0 {
        return Err(value_error(OP, "eps", eps, "a number of at least 0"));
    }
    let grid = Grid::new(problem.batch, problem.out_channels, problem.output_pixels());
    if grid.count() < 2 {
        return Err(shape_error(
            OP,
            "input",
            input,
            "more than one output value per channel",
        ));
    }
    if input.device().is_cuda() {
        // There the convolution's output goes through memory once in either case.
        let z = crate::conv2d(input, weight, None, geometry)?;
        return crate::batch_norm_train(&z, gamma, beta, residual, eps, activation);
    }
    // Candle's operators have at most three operands: the parameters go in as one, and Candle's own
    // derivative of the concatenation hands each its part of the gradient.
    let packed = Tensor::cat(&[&weight.flatten_all()?, gamma, beta], 0)?;
    let count = grid.count();
    let tracked = input.track_op() || packed.track_op() || residual.is_some_and(Tensor::track_op);
    let saved = Arc::new(OnceLock::new());
    let op = ConvBnAct {
        problem,
        grid,
        eps,
        activation,
        tracked,
        saved: saved.clone(),
    };
    let input = input.contiguous()?;
    let output = match residual {
        None => input.apply_op2(&packed, op)?,
        Some(residual) => input.apply_op3(&packed, &residual.contiguous()?, op)?,
    };
    let Some(saved) = saved.get() else {
        candle_core::bail!("{OP}: the forward pass left no statistics");
    };
    let as_tensor = |values: &[f64]| {
        Tensor::from_slice(values, values.len(), input.device())?.to_dtype(input.dtype())
    };
    let statistics = BatchStatistics {
        mean: as_tensor(&saved.mean)?,
        variance: as_tensor(&saved.variance)?,
        count,
    };
    Ok((output, statistics))
}

/// The residual must have the output's shape and type.
fn check_residual(
    op: &'static str,
    problem: &Problem,
    input: &Tensor,
    residual: Option<&Tensor>,
) -> Result<()> {
    if let Some(residual) = residual {
        require_shape(
            op,
            "residual",
            residual,
            &<[usize; 4]>::from(problem.output_shape()),
        )?;
        require_dtype(op, "residual", residual, input.dtype())?;
    }
    Ok(())
}

/// What the forward pass leaves for the derivative and the caller.
struct Saved {
    /// The convolution's output, unless no gradient can be asked for.
    z: Option<CpuStorage>,
    mean: Vec<f64>,
    variance: Vec<f64>,
}

struct ConvBnAct {
    problem: Problem,
    grid: Grid,
    eps: f64,
    activation: Activation,
    tracked: bool,
    saved: Arc<OnceLock<Saved>>,
}

impl ConvBnAct {
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
}

impl CustomOp2 for ConvBnAct {
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

    fn bwd(
        &self,
        x: &Tensor,
        packed: &Tensor,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradients = self.backward(x, packed, None, output, gradient)?;
        Ok((gradients.x, gradients.packed))
    }
}

impl CustomOp3 for ConvBnAct {
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

    fn bwd(
        &self,
        x: &Tensor,
        packed: &Tensor,
        residual: &Tensor,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradients = self.backward(x, packed, Some(residual), output, gradient)?;
        Ok((gradients.x, gradients.packed, gradients.residual))
    }
}
