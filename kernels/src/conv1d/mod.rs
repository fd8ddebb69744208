//! One-dimensional convolution with its derivatives, and what transposed convolution shares with it.
//!
//! `y[n,k] = b[k] + Σ_c w[k,c] ⋆ x[n,c]` (cross-correlation, as in PyTorch's `conv1d`). Dense
//! convolutions are those of planes of one row; depthwise ones have kernels of their own.

mod convolve;
#[cfg(any(feature = "cuda", test))]
mod cuda;
mod geometry;
mod operators;

pub use geometry::Conv1dGeometry;

use crate::conv2d::check_types;
use candle_core::{Result, Tensor};
pub(crate) use geometry::{plane_geometry, require_positive};
pub(crate) use operators::InputGradient;
use operators::{Forward, WeightGradient};

/// Convolves `input` `[batch, in, length]` with `weight` `[out, in/groups, kernel]` and adds `bias` `[out]`.
///
/// Returns `[batch, out, L]`, L = ⌊(length + padding − dilation·(kernel − 1) − 1) / stride⌋ + 1 with
/// the padding of both sides together. All tensors are f32 or all are f64. Differentiable in each of
/// them. The working memory of the fast f32 kernels is a copy of the input and the weight at most.
///
/// # Errors
/// A [`crate::KernelError`] inside [`candle_core::Error`] if ranks, shapes or types do not fit together.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use taper_kernels::{Conv1dGeometry, conv1d};
/// let x = Tensor::new(&[[[1f32, 2., 4., 8.]]], &Device::Cpu)?;
/// let difference = Tensor::new(&[[[-1f32, 1.]]], &Device::Cpu)?;
/// let y = conv1d(&x, &difference, None, &Conv1dGeometry::default())?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.0, 2.0, 4.0]);
/// let y = conv1d(&x, &difference, None, &Conv1dGeometry::causal(2, 1))?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.0, 1.0, 2.0, 4.0]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn conv1d(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: &Conv1dGeometry,
) -> Result<Tensor> {
    let problem = geometry::problem("conv1d", input, weight, bias, geometry)?;
    let (input, weight) = (input.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => input.apply_op3(&weight, &bias.contiguous()?, Forward(problem)),
        None => input.apply_op2(&weight, Forward(problem)),
    }
}

/// The gradient of [`conv1d`] in its input of shape `input_shape`, from the `gradient` of its output.
///
/// # Errors
/// As for [`conv1d`], and if `gradient` does not have the output's shape.
pub fn conv1d_input_gradient(
    gradient: &Tensor,
    weight: &Tensor,
    input_shape: (usize, usize, usize),
    geometry: &Conv1dGeometry,
) -> Result<Tensor> {
    const OP: &str = "conv1d_input_gradient";
    check_types(OP, "gradient", gradient, &[("weight", Some(weight))])?;
    let input = <[usize; 3]>::from(input_shape);
    let problem = geometry::problem_of_shapes(
        OP,
        ("input_shape", &input),
        ("weight", weight.dims()),
        geometry,
    )?;
    geometry::check_gradient(OP, &problem, gradient)?;
    gradient
        .contiguous()?
        .apply_op2(&weight.contiguous()?, InputGradient::of_conv1d(problem))
}

/// The gradient of [`conv1d`] in its weight of shape `weight_shape`, from its input and the `gradient` of its output.
///
/// # Errors
/// As for [`conv1d`], and if `gradient` does not have the output's shape.
pub fn conv1d_weight_gradient(
    input: &Tensor,
    gradient: &Tensor,
    weight_shape: (usize, usize, usize),
    geometry: &Conv1dGeometry,
) -> Result<Tensor> {
    const OP: &str = "conv1d_weight_gradient";
    check_types(OP, "input", input, &[("gradient", Some(gradient))])?;
    let weight = <[usize; 3]>::from(weight_shape);
    let problem = geometry::problem_of_shapes(
        OP,
        ("input", input.dims()),
        ("weight_shape", &weight),
        geometry,
    )?;
    geometry::check_gradient(OP, &problem, gradient)?;
    input
        .contiguous()?
        .apply_op2(&gradient.contiguous()?, WeightGradient(problem))
}
