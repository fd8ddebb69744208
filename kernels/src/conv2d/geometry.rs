//! The geometry of a convolution, and the sizes of one call.

use super::error::Conv2dError;
use candle_core::{DType, Tensor};

/// How a kernel moves over its input; each pair is (vertical, horizontal).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2dGeometry {
    /// Pixels between two positions of the kernel.
    pub stride: (usize, usize),
    /// Rows and columns of zeros put on each side of the input.
    pub padding: (usize, usize),
    /// Pixels between two taps of the kernel.
    pub dilation: (usize, usize),
    /// Channels are cut into this many groups, each convolved with its own filters.
    pub groups: usize,
}

impl Default for Conv2dGeometry {
    fn default() -> Self {
        Self {
            stride: (1, 1),
            padding: (0, 0),
            dilation: (1, 1),
            groups: 1,
        }
    }
}

impl Conv2dGeometry {
    /// Stride 1 and the padding that keeps height and width with an odd square `kernel`.
    pub fn same(kernel: usize) -> Self {
        Self::with(1, kernel / 2)
    }

    /// The same `stride` and `padding` along both axes.
    pub fn with(stride: usize, padding: usize) -> Self {
        Self {
            stride: (stride, stride),
            padding: (padding, padding),
            ..Self::default()
        }
    }

    /// This geometry with `groups` groups.
    pub fn grouped(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// Height and width of the output of a kernel over an input; `None` if the kernel does not fit once.
    pub fn output_size(
        &self,
        input: (usize, usize),
        kernel: (usize, usize),
    ) -> Option<(usize, usize)> {
        let along = |size: usize, kernel: usize, stride: usize, padding: usize, dilation: usize| {
            let span = dilation
                .checked_mul(kernel.checked_sub(1)?)?
                .checked_add(1)?;
            let padded = size.checked_add(padding.checked_mul(2)?)?;
            Some(padded.checked_sub(span)?.checked_div(stride)? + 1)
        };
        Some((
            along(
                input.0,
                kernel.0,
                self.stride.0,
                self.padding.0,
                self.dilation.0,
            )?,
            along(
                input.1,
                kernel.1,
                self.stride.1,
                self.padding.1,
                self.dilation.1,
            )?,
        ))
    }
}

/// The sizes of one call: what every kernel works from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Problem {
    pub batch: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    /// Height and width of the input.
    pub input: (usize, usize),
    pub kernel: (usize, usize),
    /// Height and width of the output.
    pub output: (usize, usize),
    pub geometry: Conv2dGeometry,
}

impl Problem {
    /// Checks the arguments of `operator` and reads off their sizes.
    pub(crate) fn new(
        operator: &'static str,
        input: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        geometry: &Conv2dGeometry,
    ) -> Result<Self, Conv2dError> {
        let (batch, in_channels, height, width) = rank4(operator, "input", input)?;
        let (out_channels, group_channels, kernel_height, kernel_width) =
            rank4(operator, "weight", weight)?;
        check_types(operator, input, weight, bias)?;
        for (field, found) in [
            ("stride", geometry.stride),
            ("dilation", geometry.dilation),
            ("groups", (geometry.groups, geometry.groups)),
            ("kernel size", (kernel_height, kernel_width)),
        ] {
            if found.0 == 0 || found.1 == 0 {
                return Err(Conv2dError::Zero {
                    operator,
                    field,
                    found,
                });
            }
        }
        let groups = geometry.groups;
        if !in_channels.is_multiple_of(groups) || group_channels != in_channels / groups {
            return Err(Conv2dError::Shape {
                operator,
                argument: "weight",
                found: weight.shape().clone(),
                expected: format!(
                    "[out, in/groups, kh, kw] for an input of {in_channels} channels in {groups} groups"
                ),
            });
        }
        if !out_channels.is_multiple_of(groups) {
            return Err(Conv2dError::Shape {
                operator,
                argument: "weight",
                found: weight.shape().clone(),
                expected: format!("a number of output channels that {groups} groups divide"),
            });
        }
        if let Some(bias) = bias
            && bias.dims() != [out_channels]
        {
            return Err(Conv2dError::Shape {
                operator,
                argument: "bias",
                found: bias.shape().clone(),
                expected: format!("[{out_channels}]"),
            });
        }
        let kernel = (kernel_height, kernel_width);
        let output =
            geometry
                .output_size((height, width), kernel)
                .ok_or(Conv2dError::KernelTooLarge {
                    operator,
                    span: (
                        geometry
                            .dilation
                            .0
                            .saturating_mul(kernel.0 - 1)
                            .saturating_add(1),
                        geometry
                            .dilation
                            .1
                            .saturating_mul(kernel.1 - 1)
                            .saturating_add(1),
                    ),
                    input: (height, width),
                    padding: geometry.padding,
                })?;
        Ok(Self {
            batch,
            in_channels,
            out_channels,
            input: (height, width),
            kernel,
            output,
            geometry: *geometry,
        })
    }

    /// Input channels of one group.
    pub(crate) fn group_in(&self) -> usize {
        self.in_channels / self.geometry.groups
    }

    /// Output channels of one group.
    pub(crate) fn group_out(&self) -> usize {
        self.out_channels / self.geometry.groups
    }

    /// Pixels of one input plane.
    pub(crate) fn input_pixels(&self) -> usize {
        self.input.0 * self.input.1
    }

    /// Pixels of one output plane.
    pub(crate) fn output_pixels(&self) -> usize {
        self.output.0 * self.output.1
    }

    /// Taps of the kernel.
    pub(crate) fn taps(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }

    /// Elements of the input.
    pub(crate) fn input_len(&self) -> usize {
        self.batch * self.in_channels * self.input_pixels()
    }

    /// Elements of the output.
    pub(crate) fn output_len(&self) -> usize {
        self.batch * self.out_channels * self.output_pixels()
    }

    /// Elements of the weight.
    pub(crate) fn weight_len(&self) -> usize {
        self.out_channels * self.group_in() * self.taps()
    }

    /// Shape of the input.
    pub(crate) fn input_shape(&self) -> (usize, usize, usize, usize) {
        (self.batch, self.in_channels, self.input.0, self.input.1)
    }

    /// Shape of the output.
    pub(crate) fn output_shape(&self) -> (usize, usize, usize, usize) {
        (self.batch, self.out_channels, self.output.0, self.output.1)
    }

    /// Shape of the weight.
    pub(crate) fn weight_shape(&self) -> (usize, usize, usize, usize) {
        (
            self.out_channels,
            self.group_in(),
            self.kernel.0,
            self.kernel.1,
        )
    }
}

/// The four sizes of `tensor`, or the error that names it.
fn rank4(
    operator: &'static str,
    argument: &'static str,
    tensor: &Tensor,
) -> Result<(usize, usize, usize, usize), Conv2dError> {
    tensor.dims4().map_err(|_| Conv2dError::Rank {
        operator,
        argument,
        found: tensor.shape().clone(),
        expected: 4,
    })
}

/// All tensors must be f32, or all f64.
fn check_types(
    operator: &'static str,
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<(), Conv2dError> {
    if !matches!(input.dtype(), DType::F32 | DType::F64) {
        return Err(Conv2dError::DataType {
            operator,
            argument: "input",
            found: input.dtype(),
            expected: "F32 or F64".into(),
        });
    }
    for (argument, tensor) in [("weight", Some(weight)), ("bias", bias)] {
        if let Some(tensor) = tensor
            && tensor.dtype() != input.dtype()
        {
            return Err(Conv2dError::DataType {
                operator,
                argument,
                found: tensor.dtype(),
                expected: format!("{:?}, the input's type", input.dtype()),
            });
        }
    }
    Ok(())
}
