//! Normalisation of runs of elements to mean 0 and variance 1: layer norm and group norm.

mod by_channel;
mod by_element;
#[cfg(any(feature = "cuda", test))]
mod cuda;
mod op;
mod statistics;

use crate::operand::{require_dtype, require_float, require_shape, shape_error, value_error};
use candle_core::{Result, Tensor};
use op::{Affine, RowNorm, Rows};

/// `(x − mean) / √(variance + eps) · weight + bias`, mean and variance over the last dimensions.
///
/// * `x`: `[…, shape]`
/// * `shape`: the sizes of the dimensions that are normalised together, PyTorch's `normalized_shape`
/// * `weight`, `bias`: `shape`; 1 and 0 where they are left out
///
/// Differentiable in x, `weight` and `bias` (Ba et al. 2016; variance biased). Reads x once
/// from memory (a run stays in the cache for its second reading, the mean comes first, so a mean far above the
/// deviation costs no accuracy) and writes the result once; the backward pass reads x and the
/// gradient once and writes dx once. Workspace: three numbers a run, and in the backward
/// pass at most 128 times `shape`.
///
/// # Errors
/// If a shape or type does not fit, or eps is negative.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f32, 3.], [5., 5.]], &Device::Cpu)?;
/// let y = taper_kernels::layer_norm(&x, &[2], None, None, 1e-12)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[-1., 1.], [0., 0.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn layer_norm(
    x: &Tensor,
    shape: &[usize],
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    const OP: &str = "layer_norm";
    require_float(OP, "x", x)?;
    if shape.is_empty() || !x.dims().ends_with(shape) {
        return Err(shape_error(OP, "x", x, format!("[…, {shape:?}]")));
    }
    let size: usize = shape.iter().product();
    let rows = Rows {
        count: x.dims()[..x.rank() - shape.len()].iter().product(),
        size,
        affine: Affine::Element,
    };
    apply(OP, x, shape, (weight, bias), eps, rows, false)
}

/// `(x − mean) / √(variance + eps) · weight + bias`, mean and variance over each group of channels of each image.
///
/// * `x`: `[batch, channels, …]`
/// * `groups`: a divisor of the channels; neighbouring channels form a group
/// * `weight`, `bias`: `[channels]`; 1 and 0 where they are left out
///
/// Differentiable in x, `weight` and `bias` (Wu and He 2018; variance biased). Reads x once
/// from memory (a group stays in the cache for its second reading) and writes the result once; the
/// backward pass reads x and the gradient once and writes dx once. Workspace: three numbers a
/// group, and in the backward pass two a channel of each image.
///
/// # Errors
/// If a shape or type does not fit, the groups do not divide the channels, or eps is negative.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f32, 3., 7., 7.]], &Device::Cpu)?;
/// let y = taper_kernels::group_norm(&x, 2, None, None, 1e-12)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[-1., 1., 0., 0.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn group_norm(
    x: &Tensor,
    groups: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    grouped("group_norm", x, groups, (weight, bias), eps, false)
}

/// [`silu`](crate::silu) of [`group_norm`], in the same passes over memory.
///
/// # Errors
/// As [`group_norm`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f64, 3.]], &Device::Cpu)?;
/// let normed = taper_kernels::group_norm(&x, 1, None, None, 1e-5)?;
/// let y = taper_kernels::group_norm_silu(&x, 1, None, None, 1e-5)?;
/// assert_eq!(y.to_vec2::<f64>()?, taper_kernels::silu(&normed)?.to_vec2::<f64>()?);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn group_norm_silu(
    x: &Tensor,
    groups: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> Result<Tensor> {
    grouped("group_norm_silu", x, groups, (weight, bias), eps, true)
}

fn grouped(
    op: &'static str,
    x: &Tensor,
    groups: usize,
    parameters: (Option<&Tensor>, Option<&Tensor>),
    eps: f64,
    silu: bool,
) -> Result<Tensor> {
    require_float(op, "x", x)?;
    let [batch, channels, ref spatial @ ..] = *x.dims() else {
        return Err(shape_error(op, "x", x, "[batch, channels, …]"));
    };
    if groups == 0 || !channels.is_multiple_of(groups) {
        let expected = format!("a divisor of the {channels} channels");
        return Err(value_error(op, "groups", groups, expected));
    }
    let plane: usize = spatial.iter().product();
    let rows = Rows {
        count: batch * groups,
        size: channels / groups * plane,
        affine: Affine::Channel {
            channels,
            groups,
            plane,
        },
    };
    apply(op, x, &[channels], parameters, eps, rows, silu)
}

fn apply(
    op: &'static str,
    x: &Tensor,
    shape: &[usize],
    (weight, bias): (Option<&Tensor>, Option<&Tensor>),
    eps: f64,
    rows: Rows,
    silu: bool,
) -> Result<Tensor> {
    if eps.is_nan() || eps < 0.0 {
        return Err(value_error(op, "eps", eps, "a number of at least 0"));
    }
    for (argument, tensor) in [("weight", weight), ("bias", bias)] {
        if let Some(tensor) = tensor {
            require_shape(op, argument, tensor, shape)?;
            require_dtype(op, argument, tensor, x.dtype())?;
        }
    }
    let weight = match weight {
        Some(weight) => weight.contiguous()?,
        None => Tensor::ones(shape, x.dtype(), x.device())?,
    };
    let bias = match bias {
        Some(bias) => bias.contiguous()?,
        None => Tensor::zeros(shape, x.dtype(), x.device())?,
    };
    let norm = RowNorm::new(op, rows, eps, silu);
    x.contiguous()?.apply_op3(&weight, &bias, norm)
}
