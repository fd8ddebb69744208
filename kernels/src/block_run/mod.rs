//! A run of convolutions, batch norms, activations and additions as one operator with one derivative.
//!
//! A residual block, or a stage of them. Inside, tensors lie in blocks of 16 channels, pixel by
//! pixel, so that no convolution turns its input or output; a norm whose result convolutions alone
//! read is applied while these load it; moments and sums are taken while a result lies in the
//! cache; gradients are added in place. Only the input and the result are seen by Candle.

mod backward;
mod blocks;
mod composed;
mod form;
mod forward;
mod graph;
mod norm;
mod sink;
#[cfg(test)]
mod tests;
mod weights;

use crate::activation::Activation;
use crate::batch_norm::BatchStatistics;
use crate::conv2d::Conv2dGeometry;
use crate::operand::{require_float, slice, value_error, with_slice};
use candle_core::{CpuStorage, CustomOp2, DType, Device, Layout, Result, Shape, Tensor};
use graph::Graph;
use std::sync::{Arc, OnceLock};

pub(crate) const OP: &str = "block_run";

/// A value of a run. Value 0 is the run's input, value i the output of unit i − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// As it comes out of the convolution (and the addition behind that).
    Raw(usize),
    /// Behind its norm, residual and activation.
    Normed(usize),
}

/// Batch norm over a value: `act(gamma · (z − mean) / √(variance + eps) + beta + residual)`.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// `[channels]`
    pub gamma: &'a Tensor,
    /// `[channels]`
    pub beta: &'a Tensor,
    /// Added to the variance.
    pub eps: f64,
    /// Added before the activation: an earlier value of the same shape.
    pub residual: Option<View>,
    /// Applied last.
    pub activation: Activation,
}

/// A convolution without bias of an earlier value, another earlier value added to it, and its norm.
#[derive(Debug, Clone, Copy)]
pub struct Unit<'a> {
    /// What is convolved.
    pub input: View,
    /// `[out, in/groups, kh, kw]`
    pub weight: &'a Tensor,
    /// Stride, padding, dilation, groups.
    pub geometry: Conv2dGeometry,
    /// Added to the convolution's output, before the norm: an earlier value of its shape.
    pub add: Option<View>,
    /// The norm, if there is one.
    pub norm: Option<Norm<'a>>,
}

/// Runs `units` in order on `input` `[batch, channels, height, width]` and returns the last one's value
/// (normed, if it has a norm), `[batch, out, height', width']`.
///
/// Also returned: the batch statistics of the input's norm and of each unit's, `None` where there is no norm.
/// Differentiable in the input and in all parameters, once. Results and gradients are those of
/// [`conv2d`](crate::conv2d()), [`batch_norm_train`](crate::batch_norm_train) and additions one by one,
/// up to rounding; in `f64`, and where channels in groups do not fill blocks of 16, they are just that.
///
/// Kept for the derivative: each unit's raw output, each normed value with a residual, and the result. Workspace:
/// the gradients of the values that are still to be visited, and what the convolutions need.
///
/// # Errors
/// If a view names a value that is not there (yet) or has no norm, a shape or type does not fit, or a
/// channel has fewer than two values where there is a norm.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use taper_kernels::{Activation, BlockNorm, BlockUnit, BlockView, Conv2dGeometry, block_run};
/// let x = Tensor::new(&[[[[1f32, 3.]]]], &Device::Cpu)?;
/// let (one, zero) = (Tensor::ones(1, DType::F32, &Device::Cpu)?, Tensor::zeros(1, DType::F32, &Device::Cpu)?);
/// let weight = Tensor::ones((1, 1, 1, 1), DType::F32, &Device::Cpu)?;
/// // relu(norm(w ⋆ x) + x)
/// let norm = BlockNorm { gamma: &one, beta: &zero, eps: 0.0, residual: Some(BlockView::Raw(0)), activation: Activation::Relu };
/// let unit = BlockUnit { input: BlockView::Raw(0), weight: &weight, geometry: Conv2dGeometry::default(), add: None, norm: Some(norm) };
/// let (y, statistics) = block_run(&x, None, &[unit])?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [0.0, 4.0]);
/// assert!(statistics[0].is_none() && statistics[1].is_some());
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn block_run(
    input: &Tensor,
    input_norm: Option<&Norm>,
    units: &[Unit],
) -> Result<(Tensor, Vec<Option<BatchStatistics>>)> {
    require_float(OP, "input", input)?;
    if units.is_empty() {
        return Err(value_error(OP, "units", "empty", "at least one unit"));
    }
    let graph = Graph::new(input, input_norm, units)?;
    let fused = input.dtype() == DType::F32 && matches!(input.device(), Device::Cpu);
    if !fused || !graph.suits_blocks() {
        return composed::run(input, input_norm, units);
    }
    let packed = pack(input_norm, units)?;
    let saved = Arc::new(OnceLock::new());
    let op = BlockRun {
        graph: Arc::new(graph),
        tracked: input.track_op() || packed.track_op(),
        saved: saved.clone(),
    };
    let graph = op.graph.clone();
    let output = input.contiguous()?.apply_op2(&packed, op)?;
    let Some(Saved { statistics, .. }) = saved.get() else {
        candle_core::bail!("{OP}: the forward pass left no statistics");
    };
    let as_tensor = |values: &[f64]| {
        Tensor::from_slice(values, values.len(), input.device())?.to_dtype(input.dtype())
    };
    let statistics = statistics
        .iter()
        .zip(&graph.nodes)
        .map(|(found, node)| {
            let statistics = |(mean, variance): &(Vec<f64>, Vec<f64>)| {
                Ok(BatchStatistics {
                    mean: as_tensor(mean)?,
                    variance: as_tensor(variance)?,
                    count: node.shape.count(),
                })
            };
            found.as_ref().map(statistics).transpose()
        })
        .collect::<Result<_>>()?;
    Ok((output, statistics))
}

/// All parameters in one tensor: an operator has at most three operands, and Candle's derivative of the
/// concatenation hands each its part of the gradient.
fn pack(input_norm: Option<&Norm>, units: &[Unit]) -> Result<Tensor> {
    let mut parts = Vec::new();
    let norm = |parts: &mut Vec<Tensor>, norm: Option<&Norm>| {
        if let Some(norm) = norm {
            parts.push(norm.gamma.clone());
            parts.push(norm.beta.clone());
        }
    };
    norm(&mut parts, input_norm);
    for unit in units {
        parts.push(unit.weight.flatten_all()?);
        norm(&mut parts, unit.norm.as_ref());
    }
    Tensor::cat(&parts, 0)
}

/// What the forward pass leaves.
struct Saved {
    /// Mean and variance of each value.
    statistics: Vec<Option<(Vec<f64>, Vec<f64>)>>,
    /// What the derivative needs, unless none can be asked for.
    values: Option<forward::Values>,
}

struct BlockRun {
    graph: Arc<Graph>,
    tracked: bool,
    saved: Arc<OnceLock<Saved>>,
}

impl CustomOp2 for BlockRun {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        input_layout: &Layout,
        packed: &CpuStorage,
        packed_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let input = slice::<f32>(OP, input, input_layout)?;
        let packed = slice::<f32>(OP, packed, packed_layout)?;
        let (output, values) = forward::run(&self.graph, input, packed);
        let moments = |value: &forward::Value| {
            let norm = value.norm.as_ref();
            norm.map(|(found, _)| (found.mean.clone(), found.variance.clone()))
        };
        let statistics = values.0.iter().map(moments).collect();
        // An operator object serves one call; of two, the first to come would be kept.
        let _ = self.saved.set(Saved {
            statistics,
            values: self.tracked.then_some(values),
        });
        let shape = self.graph.nodes.last().map(|node| node.shape);
        let shape = shape.map_or((0, 0, 0, 0), |shape| {
            (shape.batch, shape.channels, shape.size.0, shape.size.1)
        });
        Ok((CpuStorage::F32(output), shape.into()))
    }

    fn bwd(
        &self,
        input: &Tensor,
        packed: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(Saved {
            values: Some(values),
            ..
        }) = self.saved.get()
        else {
            candle_core::bail!("{OP}: the forward pass kept nothing for a gradient");
        };
        let wanted = (input.track_op(), packed.track_op());
        let found = with_slice::<f32, _>(OP, "parameters", packed, |parameters| {
            with_slice::<f32, _>(OP, "gradient", gradient, |gradient| {
                Ok(backward::run(
                    &self.graph,
                    values,
                    parameters,
                    gradient,
                    wanted,
                ))
            })
        })?;
        let tensor = |values: Option<Vec<f32>>, like: &Tensor| {
            values
                .map(|values| Tensor::from_vec(values, like.shape(), like.device()))
                .transpose()
        };
        Ok((tensor(found.input, input)?, tensor(found.packed, packed)?))
    }
}
