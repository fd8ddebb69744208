//! Transposed one-dimensional convolution: the input gradient of a [`crate::conv1d()`], as an operator of its own.

use crate::conv1d::{InputGradient, plane_geometry, require_positive};
use crate::conv2d::{Problem, check_types};
use crate::operand::{require_shape, shape_error, value_error};
use candle_core::{Result, Tensor};

const OP: &str = "conv_transpose1d";

/// How a transposed kernel moves along its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConvTranspose1dGeometry {
    /// Output elements between the places of two input elements.
    pub stride: usize,
    /// Elements cut off each end of the full result.
    pub padding: usize,
    /// Elements added behind the end: smaller than the stride or the dilation.
    pub output_padding: usize,
    /// Output elements between two taps of the kernel.
    pub dilation: usize,
    /// Channels are cut into this many groups, each convolved with its own filters.
    pub groups: usize,
}

impl Default for ConvTranspose1dGeometry {
    fn default() -> Self {
        Self {
            stride: 1,
            padding: 0,
            output_padding: 0,
            dilation: 1,
            groups: 1,
        }
    }
}

impl ConvTranspose1dGeometry {
    /// The given `stride` and `padding`.
    pub fn with(stride: usize, padding: usize) -> Self {
        Self {
            stride,
            padding,
            ..Self::default()
        }
    }

    /// Length of the output; `None` if nothing is left of it.
    pub fn output_length(&self, input: usize, kernel: usize) -> Option<usize> {
        let places = input.checked_sub(1)?.checked_mul(self.stride)?;
        let span = self.dilation.checked_mul(kernel.checked_sub(1)?)?;
        places
            .checked_add(span)?
            .checked_add(self.output_padding)?
            .checked_add(1)?
            .checked_sub(self.padding.checked_mul(2)?)
            .filter(|&length| length > 0)
    }
}

/// Convolves `input` `[batch, in, length]`, transposed, with `weight` `[in, out/groups, kernel]` and adds `bias` `[out]`.
///
/// Returns `[batch, out, L]`, L = (length − 1)·stride − 2·padding + dilation·(kernel − 1) + output_padding + 1:
/// `y[n,k]` at position p is `b[k]` + Σ `w[c,k,t]·x[n,c,i]` over all c, i, t with i·stride + t·dilation − padding = p,
/// as in PyTorch. All tensors are f32 or all are f64. Differentiable in each of them.
///
/// # Errors
/// A [`crate::KernelError`] inside [`candle_core::Error`] if ranks, shapes, types or options do not fit together.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use taper_kernels::{ConvTranspose1dGeometry, conv_transpose1d};
/// let x = Tensor::new(&[[[1f32, 2., 4.]]], &Device::Cpu)?;
/// let weight = Tensor::new(&[[[1f32, 1.]]], &Device::Cpu)?;
/// let y = conv_transpose1d(&x, &weight, None, &ConvTranspose1dGeometry::with(2, 0))?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1., 1., 2., 2., 4., 4.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn conv_transpose1d(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: &ConvTranspose1dGeometry,
) -> Result<Tensor> {
    let op = InputGradient::transposed(OP, problem(input, weight, bias, geometry)?);
    let (input, weight) = (input.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => input.apply_op3(&weight, &bias.contiguous()?, op),
        None => input.apply_op2(&weight, op),
    }
}

/// The convolution whose input gradient the arguments ask for: it reads what we write.
fn problem(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: &ConvTranspose1dGeometry,
) -> Result<Problem> {
    check_types(
        OP,
        "input",
        input,
        &[("weight", Some(weight)), ("bias", bias)],
    )?;
    let &[batch, channels, length] = input.dims() else {
        return Err(shape_error(OP, "input", input, "[batch, in, length]"));
    };
    let &[weight_channels, group_out, kernel] = weight.dims() else {
        return Err(shape_error(
            OP,
            "weight",
            weight,
            "[in, out/groups, kernel]",
        ));
    };
    require_positive(
        OP,
        [
            ("geometry.stride", geometry.stride),
            ("geometry.dilation", geometry.dilation),
            ("geometry.groups", geometry.groups),
            ("kernel length", kernel),
        ],
    )?;
    if weight_channels != channels || !channels.is_multiple_of(geometry.groups) {
        let expected = format!(
            "[in, out/groups, kernel] for {channels} input channels in {} groups",
            geometry.groups
        );
        return Err(shape_error(OP, "weight", weight, expected));
    }
    let allowed = geometry.stride.max(geometry.dilation);
    if geometry.output_padding >= allowed {
        return Err(value_error(
            OP,
            "geometry.output_padding",
            geometry.output_padding,
            format!("below {allowed}, the larger of stride and dilation"),
        ));
    }
    let output = geometry.output_length(length, kernel).ok_or_else(|| {
        let expected = format!("at least one output element with {geometry:?} and kernel {kernel}");
        shape_error(OP, "input", input, expected)
    })?;
    let out_channels = group_out * geometry.groups;
    if let Some(bias) = bias {
        require_shape(OP, "bias", bias, &[out_channels])?;
    }
    Ok(Problem {
        batch,
        in_channels: out_channels,
        out_channels: channels,
        input: (1, output),
        kernel: (1, kernel),
        output: (1, length),
        geometry: plane_geometry(
            geometry.stride,
            geometry.padding,
            geometry.dilation,
            geometry.groups,
        ),
    })
}
