//! Candle's operators around the passes.

#[cfg(feature = "cuda")]
use super::cuda;
use super::statistics::{Statistics, as_slice, as_tensor};
use super::{by_channel, by_element};
#[cfg(feature = "cuda")]
use crate::cuda::View;
use crate::element::Element;
use crate::operand::{slice, unsupported, with_slice};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, Storage};
use std::sync::OnceLock;

/// A tensor as runs that are normalised each by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) count: usize,
    /// Elements of a run.
    pub(super) size: usize,
    pub(super) affine: Affine,
}

/// Which weight and bias an element of a run takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Affine {
    /// Those of its place in the run.
    Element,
    /// Those of its channel.
    Channel {
        /// Of an image.
        channels: usize,
        groups: usize,
        /// Elements of a channel of an image.
        plane: usize,
    },
}

/// What one pass reads and computes with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) rows: Rows,
    pub(super) eps: f64,
    /// Whether the silu function follows.
    pub(super) silu: bool,
}

/// x, weight and bias to the result; the statistics of every run are kept for the derivative.
pub(super) struct RowNorm {
    op: &'static str,
    options: Options,
    statistics: OnceLock<Tensor>,
}

impl RowNorm {
    pub(super) fn new(op: &'static str, rows: Rows, eps: f64, silu: bool) -> Self {
        Self {
            op,
            options: Options { rows, eps, silu },
            statistics: OnceLock::new(),
        }
    }

    fn forward<T: Element>(
        &self,
        (x, x_layout): (&CpuStorage, &Layout),
        (weight, weight_layout): (&CpuStorage, &Layout),
        (bias, bias_layout): (&CpuStorage, &Layout),
    ) -> Result<CpuStorage> {
        let x = slice::<T>(self.op, x, x_layout)?;
        let weight = slice(self.op, weight, weight_layout)?;
        let bias = slice(self.op, bias, bias_layout)?;
        let (output, statistics) = match self.options.rows.affine {
            Affine::Element => by_element::forward(x, weight, bias, self.options),
            Affine::Channel { .. } => by_channel::forward(x, weight, bias, self.options),
        };
        let statistics = as_tensor(&statistics)?;
        self.statistics.get_or_init(|| statistics);
        Ok(T::to_cpu_storage_owned(output))
    }
}

impl CustomOp3 for RowNorm {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (weight, bias) = ((weight, weight_layout), (bias, bias_layout));
        let output = match x.dtype() {
            DType::F32 => self.forward::<f32>((x, x_layout), weight, bias)?,
            DType::F64 => self.forward::<f64>((x, x_layout), weight, bias)?,
            other => return Err(unsupported(self.op, "x", other)),
        };
        Ok((output, x_layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let operands = [
            View::of(self.op, "x", x, x_layout)?,
            View::of(self.op, "weight", weight, weight_layout)?,
            View::of(self.op, "bias", bias, bias_layout)?,
        ];
        let (y, statistics) = cuda::forward(x.device(), self.op, operands, self.options)?;
        let statistics = crate::cuda::tensor(statistics, (self.options.rows.count, 3));
        self.statistics.get_or_init(|| statistics);
        Ok((y, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(statistics) = self.statistics.get() else {
            return Ok((None, None, None));
        };
        let operator = Gradient {
            op: self.op,
            options: self.options,
            statistics: statistics.clone(),
            bias: bias.detach(),
        };
        let found = x.apply_op3_no_bwd(weight, &gradient.contiguous()?, &operator)?;
        let (elements, parameters) = (x.elem_count(), weight.elem_count());
        let part = |of: &Tensor, start: usize, length: usize| {
            of.track_op()
                .then(|| found.narrow(0, start, length)?.reshape(of.shape()))
                .transpose()
        };
        Ok((
            part(x, 0, elements)?,
            part(weight, elements, parameters)?,
            part(bias, elements + parameters, parameters)?,
        ))
    }
}

/// x, weight and the result's gradient to the gradients of x, weight and bias, one after the other.
struct Gradient {
    op: &'static str,
    options: Options,
    statistics: Tensor,
    bias: Tensor,
}

impl Gradient {
    fn compute<T: Element>(
        &self,
        (x, x_layout): (&CpuStorage, &Layout),
        (weight, weight_layout): (&CpuStorage, &Layout),
        (gradient, gradient_layout): (&CpuStorage, &Layout),
    ) -> Result<CpuStorage> {
        let found = with_slice(self.op, "statistics", &self.statistics, |statistics| {
            with_slice(self.op, "bias", &self.bias, |bias| {
                let operands = Backward {
                    x: slice::<T>(self.op, x, x_layout)?,
                    weight: slice(self.op, weight, weight_layout)?,
                    bias,
                    gradient: slice(self.op, gradient, gradient_layout)?,
                    statistics: &as_slice(statistics),
                    options: self.options,
                };
                Ok(match self.options.rows.affine {
                    Affine::Element => by_element::backward(&operands),
                    Affine::Channel { .. } => by_channel::backward(&operands),
                })
            })
        })?;
        Ok(T::to_cpu_storage_owned(found))
    }
}

/// What the backward pass reads.
pub(super) struct Backward<'a, T> {
    pub(super) x: &'a [T],
    pub(super) weight: &'a [T],
    pub(super) bias: &'a [T],
    pub(super) gradient: &'a [T],
    pub(super) statistics: &'a [Statistics<T>],
    pub(super) options: Options,
}

impl CustomOp3 for Gradient {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (weight, gradient) = ((weight, weight_layout), (gradient, gradient_layout));
        let found = match x.dtype() {
            DType::F32 => self.compute::<f32>((x, x_layout), weight, gradient)?,
            DType::F64 => self.compute::<f64>((x, x_layout), weight, gradient)?,
            other => return Err(unsupported(self.op, "x", other)),
        };
        let length = x_layout.shape().elem_count() + 2 * weight_layout.shape().elem_count();
        Ok((found, Shape::from(length)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
        gradient: &CudaStorage,
        gradient_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (statistics, statistics_layout) = self.statistics.storage_and_layout();
        let (bias, bias_layout) = self.bias.storage_and_layout();
        let (Storage::Cuda(statistics), Storage::Cuda(bias)) = (&*statistics, &*bias) else {
            candle_core::bail!("{}: the forward pass ran on another device", self.op);
        };
        let operands = [
            View::of(self.op, "x", x, x_layout)?,
            View::of(self.op, "weight", weight, weight_layout)?,
            View::of(self.op, "bias", bias, bias_layout)?,
            View::of(self.op, "gradient", gradient, gradient_layout)?,
        ];
        let statistics = View::of(self.op, "statistics", statistics, statistics_layout)?;
        let found = cuda::backward(x.device(), self.op, operands, statistics, self.options)?;
        let length = x_layout.shape().elem_count() + 2 * weight_layout.shape().elem_count();
        Ok((found, Shape::from(length)))
    }
}
