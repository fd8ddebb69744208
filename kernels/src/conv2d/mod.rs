//! Two-dimensional convolution with its derivatives.
//!
//! `y[n,k] = b[k] + Σ_c w[k,c] ⋆ x[n,c]` (cross-correlation, as in PyTorch's `conv2d`).
//! Convolution is linear in the input and in the weight, so each of its three passes
//! (forward, input gradient, weight gradient) has the other two as its derivatives:
//! gradients of gradients are right as well where Candle keeps their graph.

mod blocked;
mod convolve;
mod cpu;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod cuda;
mod depthwise;
#[cfg(feature = "cuda")]
mod device;
mod direct;
mod geometry;
mod layout;
pub(crate) mod line;
mod pass;
pub(crate) mod pixel_major;
mod select;
#[cfg(test)]
mod tests;
pub(crate) mod transfer;
mod winograd;

pub use geometry::Conv2dGeometry;
pub use select::{exact, set_exact};

use crate::element::Element;
use crate::operand::{slice, unsupported};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor,
};
pub(crate) use convolve::Convolve;
pub(crate) use cpu::channel_sums;
pub(crate) use geometry::{Problem, check_types};

const OPERATOR: &str = "conv2d";

/// Convolves `input` `[batch, in, H, W]` with `weight` `[out, in/groups, kh, kw]` and adds `bias` `[out]`.
///
/// Returns `[batch, out, Ho, Wo]`, Ho = ⌊(H + 2·padding − dilation·(kh − 1) − 1) / stride⌋ + 1. All
/// tensors are f32 or all are f64. Differentiable in each of them. In f32 the sums are those of
/// the fastest kernel for the shape.
///
/// # Workspace
/// Reused from call to call. A copy of the weight in another order, and at most 1 MiB on each thread. Winograd: the
/// weight at 36 points in place of 9, 4 times its bytes, and 9 KiB for each input and output channel on each thread. The
/// weight's gradient: 9 of its sums (of 4 times its bytes with Winograd); where Winograd has many channels and few
/// tiles, the input and the gradient at 36 points in place of 16, 2.5 times their bytes with the tiles' borders.
///
/// # Errors
/// A [`crate::KernelError`] inside [`candle_core::Error`] if ranks, shapes or types do not fit together.
pub fn conv2d(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: &Conv2dGeometry,
) -> Result<Tensor> {
    let problem = Problem::new(OPERATOR, input, weight, bias, geometry)?;
    let (input, weight) = (input.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => input.apply_op3(&weight, &bias.contiguous()?, Forward(problem)),
        None => input.apply_op2(&weight, Forward(problem)),
    }
}

/// The gradient of [`conv2d`] in its input of shape `input_shape`, from the `gradient` of its output.
///
/// # Errors
/// As for [`conv2d`], and if `gradient` does not have the output's shape.
pub fn conv2d_input_gradient(
    gradient: &Tensor,
    weight: &Tensor,
    input_shape: (usize, usize, usize, usize),
    geometry: &Conv2dGeometry,
) -> Result<Tensor> {
    const OP: &str = "conv2d_input_gradient";
    check_types(OP, "gradient", gradient, &[("weight", Some(weight))])?;
    let input = <[usize; 4]>::from(input_shape);
    let problem = Problem::of_shapes(OP, &input, weight.dims(), geometry)?;
    problem.check_gradient(OP, gradient)?;
    gradient
        .contiguous()?
        .apply_op2(&weight.contiguous()?, InputGradient(problem))
}

/// The gradient of [`conv2d`] in its weight of shape `weight_shape`, from its input and the `gradient` of its output.
///
/// # Errors
/// As for [`conv2d`], and if `gradient` does not have the output's shape.
pub fn conv2d_weight_gradient(
    input: &Tensor,
    gradient: &Tensor,
    weight_shape: (usize, usize, usize, usize),
    geometry: &Conv2dGeometry,
) -> Result<Tensor> {
    const OP: &str = "conv2d_weight_gradient";
    check_types(OP, "input", input, &[("gradient", Some(gradient))])?;
    let weight = <[usize; 4]>::from(weight_shape);
    let problem = Problem::of_shapes(OP, input.dims(), &weight, geometry)?;
    problem.check_gradient(OP, gradient)?;
    input
        .contiguous()?
        .apply_op2(&gradient.contiguous()?, WeightGradient(problem))
}

/// Is the graph of gradients kept? Candle reads this variable to decide the same.
pub(crate) fn keep_gradient_graph() -> bool {
    static KEEP: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *KEEP.get_or_init(|| {
        std::env::var("CANDLE_GRAD_DO_NOT_DETACH").is_ok_and(|v| !v.is_empty() && v != "0")
    })
}

/// Applies a gradient operator, on the tape only if gradients of gradients are wanted.
pub(crate) fn apply_gradient<C: CustomOp2 + Send + Sync + 'static>(
    a: &Tensor,
    b: &Tensor,
    op: C,
) -> Result<Tensor> {
    if keep_gradient_graph() {
        a.contiguous()?.apply_op2(&b.contiguous()?, op)
    } else {
        a.contiguous()?.apply_op2_no_bwd(&b.contiguous()?, &op)
    }
}

/// An operand as Candle hands it over.
pub(crate) type Operand<'a> = (&'a CpuStorage, &'a Layout);

/// One of the three passes.
#[derive(Debug, Clone, Copy)]
enum Pass {
    /// y from (input, weight) and the bias, if there is one.
    Forward,
    /// dx from (gradient of the output, weight).
    InputGradient,
    /// dw from (input, gradient of the output).
    WeightGradient,
}

/// Runs `pass` in the operands' type of number.
fn run(
    pass: Pass,
    problem: &Problem,
    operands: [Operand; 2],
    bias: Option<Operand>,
) -> Result<CpuStorage> {
    match operands[0].0.dtype() {
        DType::F32 => run_as::<f32>(pass, problem, operands, bias),
        DType::F64 => run_as::<f64>(pass, problem, operands, bias),
        other => Err(unsupported(OPERATOR, "input", other)),
    }
}

fn run_as<T: Element + Convolve>(
    pass: Pass,
    problem: &Problem,
    operands: [Operand; 2],
    bias: Option<Operand>,
) -> Result<CpuStorage> {
    let [a, b] = operands;
    let (a, b) = (
        slice::<T>(OPERATOR, a.0, a.1)?,
        slice::<T>(OPERATOR, b.0, b.1)?,
    );
    let values = match pass {
        Pass::Forward => {
            let bias = bias.map(|(s, l)| slice::<T>(OPERATOR, s, l)).transpose()?;
            T::forward(problem, a, b, bias)
        }
        Pass::InputGradient => T::input_gradient(problem, a, b),
        Pass::WeightGradient => T::weight_gradient(problem, a, b),
    };
    Ok(T::to_cpu_storage_owned(values))
}

/// The convolution itself, with two arguments or, with a bias, three.
#[derive(Debug, Clone, Copy)]
struct Forward(Problem);

impl Forward {
    fn gradients(
        &self,
        input: &Tensor,
        weight: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dx = match input.track_op() {
            true => Some(apply_gradient(gradient, weight, InputGradient(self.0))?),
            false => None,
        };
        let dw = match weight.track_op() {
            true => Some(apply_gradient(input, gradient, WeightGradient(self.0))?),
            false => None,
        };
        Ok((dx, dw))
    }
}

impl CustomOp2 for Forward {
    fn name(&self) -> &'static str {
        OPERATOR
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let storage = run(Pass::Forward, &self.0, [(s1, l1), (s2, l2)], None)?;
        Ok((storage, self.0.output_shape().into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let storage = device::forward(&self.0, (s1, l1), (s2, l2), None)?;
        Ok((storage, self.0.output_shape().into()))
    }

    fn bwd(
        &self,
        input: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(input, weight, gradient)
    }
}

impl CustomOp3 for Forward {
    fn name(&self) -> &'static str {
        OPERATOR
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
        let operands = [(s1, l1), (s2, l2)];
        let storage = run(Pass::Forward, &self.0, operands, Some((s3, l3)))?;
        Ok((storage, self.0.output_shape().into()))
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
        let storage = device::forward(&self.0, (s1, l1), (s2, l2), Some((s3, l3)))?;
        Ok((storage, self.0.output_shape().into()))
    }

    fn bwd(
        &self,
        input: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (dx, dw) = self.gradients(input, weight, &gradient)?;
        let db = match bias.track_op() {
            true if keep_gradient_graph() => Some(gradient.apply_op1(ChannelSum)?),
            true => Some(gradient.apply_op1_no_bwd(&ChannelSum)?),
            false => None,
        };
        Ok((dx, dw, db))
    }
}

/// dx from (gradient of the output, weight).
#[derive(Debug, Clone, Copy)]
struct InputGradient(Problem);

impl CustomOp2 for InputGradient {
    fn name(&self) -> &'static str {
        "conv2d-input-gradient"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let storage = run(Pass::InputGradient, &self.0, [(s1, l1), (s2, l2)], None)?;
        Ok((storage, self.0.input_shape().into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let storage = device::input_gradient(&self.0, (s1, l1), (s2, l2))?;
        Ok((storage, self.0.input_shape().into()))
    }

    fn bwd(
        &self,
        gradient: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        upper: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let to_gradient = apply_gradient(upper, weight, Forward(self.0))?;
        let to_weight = apply_gradient(upper, gradient, WeightGradient(self.0))?;
        Ok((Some(to_gradient), Some(to_weight)))
    }
}

/// dw from (input, gradient of the output).
#[derive(Debug, Clone, Copy)]
struct WeightGradient(Problem);

impl CustomOp2 for WeightGradient {
    fn name(&self) -> &'static str {
        "conv2d-weight-gradient"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let storage = run(Pass::WeightGradient, &self.0, [(s1, l1), (s2, l2)], None)?;
        Ok((storage, self.0.weight_shape().into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let storage = device::weight_gradient(&self.0, (s1, l1), (s2, l2))?;
        Ok((storage, self.0.weight_shape().into()))
    }

    fn bwd(
        &self,
        input: &Tensor,
        gradient: &Tensor,
        _: &Tensor,
        upper: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let to_input = apply_gradient(gradient, upper, InputGradient(self.0))?;
        let to_gradient = apply_gradient(input, upper, Forward(self.0))?;
        Ok((Some(to_input), Some(to_gradient)))
    }
}

/// The bias gradient: sums `[batch, channels, H, W]` to `[channels]`.
#[derive(Debug, Clone, Copy)]
struct ChannelSum;

impl CustomOp1 for ChannelSum {
    fn name(&self) -> &'static str {
        "conv2d-bias-gradient"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        const OP: &str = "conv2d bias gradient";
        let (_, channels, height, width) = layout.shape().dims4()?;
        let pixels = height * width;
        let storage = match storage.dtype() {
            DType::F32 => CpuStorage::F32(cpu::channel_sums(
                slice(OP, storage, layout)?,
                channels,
                pixels,
            )),
            DType::F64 => CpuStorage::F64(cpu::channel_sums(
                slice(OP, storage, layout)?,
                channels,
                pixels,
            )),
            other => return Err(unsupported(OP, "gradient", other)),
        };
        Ok((storage, channels.into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (_, channels, _, _) = layout.shape().dims4()?;
        Ok((device::channel_sums(storage, layout)?, channels.into()))
    }

    fn bwd(&self, values: &Tensor, _: &Tensor, upper: &Tensor) -> Result<Option<Tensor>> {
        let channels = upper.dim(0)?;
        Ok(Some(
            upper
                .reshape((1, channels, 1, 1))?
                .broadcast_as(values.shape())?,
        ))
    }
}
