//! The three passes as Candle operators: each has the other two as its derivatives.

use super::convolve::Convolve1d;
#[cfg(feature = "cuda")]
use super::cuda;
use crate::conv2d::{Operand, Problem, apply_gradient, channel_sums, keep_gradient_graph};
#[cfg(feature = "cuda")]
use crate::cuda::View;
use crate::operand::{slice, unsupported};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor,
};

/// One of the three passes.
#[derive(Debug, Clone, Copy)]
enum Pass {
    /// y from (input, weight) and the bias, if there is one.
    Forward,
    /// dx from (gradient of the output, weight) and the bias, if there is one.
    InputGradient,
    /// dw from (input, gradient of the output).
    WeightGradient,
}

impl Pass {
    /// The shape of what the pass returns.
    fn shape(self, problem: &Problem) -> Shape {
        let p = problem;
        match self {
            Self::Forward => (p.batch, p.out_channels, p.output.1),
            Self::InputGradient => (p.batch, p.in_channels, p.input.1),
            Self::WeightGradient => (p.out_channels, p.group_in(), p.kernel.1),
        }
        .into()
    }
}

/// Runs `pass` in the operands' type of number.
fn run(
    op: &'static str,
    pass: Pass,
    problem: &Problem,
    operands: [Operand; 2],
    bias: Option<Operand>,
) -> Result<(CpuStorage, Shape)> {
    let storage = match operands[0].0.dtype() {
        DType::F32 => run_as::<f32>(op, pass, problem, operands, bias),
        DType::F64 => run_as::<f64>(op, pass, problem, operands, bias),
        other => Err(unsupported(op, "input", other)),
    }?;
    Ok((storage, pass.shape(problem)))
}

fn run_as<T: Convolve1d>(
    op: &'static str,
    pass: Pass,
    problem: &Problem,
    [a, b]: [Operand; 2],
    bias: Option<Operand>,
) -> Result<CpuStorage> {
    let (a, b) = (slice::<T>(op, a.0, a.1)?, slice::<T>(op, b.0, b.1)?);
    let bias = bias.map(|(s, l)| slice::<T>(op, s, l)).transpose()?;
    Ok(T::to_cpu_storage_owned(match pass {
        Pass::Forward => T::forward(problem, a, b, bias),
        Pass::InputGradient => T::input_gradient(problem, a, b, bias),
        Pass::WeightGradient => T::weight_gradient(problem, a, b),
    }))
}

/// Runs `pass` on the GPU that holds the operands.
#[cfg(feature = "cuda")]
fn run_cuda(
    op: &'static str,
    pass: Pass,
    problem: &Problem,
    [(a, a_layout), (b, b_layout)]: [(&CudaStorage, &Layout); 2],
    bias: Option<(&CudaStorage, &Layout)>,
) -> Result<(CudaStorage, Shape)> {
    let gpu = a.device();
    let view = |name, storage, layout| View::of(op, name, storage, layout);
    let bias = bias.map(|(s, l)| view("bias", s, l)).transpose()?;
    let (a, b) = (view("input", a, a_layout)?, view("weight", b, b_layout)?);
    let storage = match pass {
        Pass::Forward => cuda::forward(gpu, problem, a, b, bias),
        Pass::InputGradient => cuda::input_gradient(gpu, problem, a, b, bias),
        Pass::WeightGradient => cuda::weight_gradient(gpu, problem, a, b),
    }?;
    Ok((storage, pass.shape(problem)))
}

/// `gradient` summed over batch and positions.
fn bias_gradient(bias: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
    if !bias.track_op() {
        return Ok(None);
    }
    let gradient = gradient.contiguous()?;
    match keep_gradient_graph() {
        true => gradient.apply_op1(ChannelSum),
        false => gradient.apply_op1_no_bwd(&ChannelSum),
    }
    .map(Some)
}

/// `a` and `b` through a gradient operator, if `argument` wants a gradient.
fn wanted<C: CustomOp2 + Send + Sync + 'static>(
    argument: &Tensor,
    a: &Tensor,
    b: &Tensor,
    op: C,
) -> Result<Option<Tensor>> {
    match argument.track_op() {
        true => apply_gradient(a, b, op).map(Some),
        false => Ok(None),
    }
}

/// The convolution itself, with two arguments or, with a bias, three.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forward(pub(super) Problem);

impl Forward {
    fn gradients(
        &self,
        input: &Tensor,
        weight: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((
            wanted(input, gradient, weight, InputGradient::of_conv1d(self.0))?,
            wanted(weight, input, gradient, WeightGradient(self.0))?,
        ))
    }
}

impl CustomOp2 for Forward {
    fn name(&self) -> &'static str {
        "conv1d"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let operands = [(s1, l1), (s2, l2)];
        run("conv1d", Pass::Forward, &self.0, operands, None)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let operands = [(s1, l1), (s2, l2)];
        run_cuda("conv1d", Pass::Forward, &self.0, operands, None)
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
        "conv1d"
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
        run("conv1d", Pass::Forward, &self.0, operands, Some((s3, l3)))
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
        let (operands, bias) = ([(s1, l1), (s2, l2)], Some((s3, l3)));
        run_cuda("conv1d", Pass::Forward, &self.0, operands, bias)
    }

    fn bwd(
        &self,
        input: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = self.gradients(input, weight, gradient)?;
        Ok((dx, dw, bias_gradient(bias, gradient)?))
    }
}

/// dx from (gradient of the output, weight): with a bias as third argument, a transposed convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InputGradient {
    op: &'static str,
    problem: Problem,
}

impl InputGradient {
    pub(super) fn of_conv1d(problem: Problem) -> Self {
        let op = "conv1d-input-gradient";
        Self { op, problem }
    }

    /// The transposed convolution that is the input gradient of `problem`.
    pub(crate) fn transposed(op: &'static str, problem: Problem) -> Self {
        Self { op, problem }
    }

    fn gradients(
        &self,
        source: &Tensor,
        weight: &Tensor,
        upper: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((
            wanted(source, upper, weight, Forward(self.problem))?,
            wanted(weight, upper, source, WeightGradient(self.problem))?,
        ))
    }
}

impl CustomOp2 for InputGradient {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let operands = [(s1, l1), (s2, l2)];
        run(self.op, Pass::InputGradient, &self.problem, operands, None)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let operands = [(s1, l1), (s2, l2)];
        run_cuda(self.op, Pass::InputGradient, &self.problem, operands, None)
    }

    fn bwd(
        &self,
        source: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        upper: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        self.gradients(source, weight, upper)
    }
}

impl CustomOp3 for InputGradient {
    fn name(&self) -> &'static str {
        self.op
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
        let (operands, bias) = ([(s1, l1), (s2, l2)], Some((s3, l3)));
        run(self.op, Pass::InputGradient, &self.problem, operands, bias)
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
        let (operands, bias) = ([(s1, l1), (s2, l2)], Some((s3, l3)));
        run_cuda(self.op, Pass::InputGradient, &self.problem, operands, bias)
    }

    fn bwd(
        &self,
        source: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        upper: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, dw) = self.gradients(source, weight, upper)?;
        Ok((dx, dw, bias_gradient(bias, upper)?))
    }
}

/// dw from (input, gradient of the output).
#[derive(Debug, Clone, Copy)]
pub(super) struct WeightGradient(pub(super) Problem);

impl CustomOp2 for WeightGradient {
    fn name(&self) -> &'static str {
        "conv1d-weight-gradient"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let operands = [(s1, l1), (s2, l2)];
        run(self.name(), Pass::WeightGradient, &self.0, operands, None)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let operands = [(s1, l1), (s2, l2)];
        run_cuda(self.name(), Pass::WeightGradient, &self.0, operands, None)
    }

    fn bwd(
        &self,
        input: &Tensor,
        gradient: &Tensor,
        _: &Tensor,
        upper: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((
            wanted(input, gradient, upper, InputGradient::of_conv1d(self.0))?,
            wanted(gradient, input, upper, Forward(self.0))?,
        ))
    }
}

/// The bias gradient: sums `[batch, channels, length]` to `[channels]`.
#[derive(Debug, Clone, Copy)]
struct ChannelSum;

impl CustomOp1 for ChannelSum {
    fn name(&self) -> &'static str {
        "conv1d-bias-gradient"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, channels, length) = layout.shape().dims3()?;
        let sums = match storage.dtype() {
            DType::F32 => {
                let values = slice(self.name(), storage, layout)?;
                CpuStorage::F32(channel_sums(values, channels, length))
            }
            DType::F64 => {
                let values = slice(self.name(), storage, layout)?;
                CpuStorage::F64(channel_sums(values, channels, length))
            }
            other => return Err(unsupported(self.name(), "gradient", other)),
        };
        Ok((sums, channels.into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let shape = layout.shape().dims3()?;
        let values = View::of(self.name(), "gradient", storage, layout)?;
        let sums = cuda::channel_sums(storage.device(), values, shape)?;
        Ok((sums, shape.1.into()))
    }

    fn bwd(&self, values: &Tensor, _: &Tensor, upper: &Tensor) -> Result<Option<Tensor>> {
        let channels = upper.dim(0)?;
        let sums = upper.reshape((1, channels, 1))?;
        Ok(Some(sums.broadcast_as(values.shape())?))
    }
}
