//! The geometry of a convolution, and the sizes of one call.

use crate::error::KernelError;
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
    /// Checks the arguments of operator `op` and reads off their sizes.
    pub(crate) fn new(
        op: &'static str,
        input: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        geometry: &Conv2dGeometry,
    ) -> Result<Self, KernelError> {
        check_types(
            op,
            "input",
            input,
            &[("weight", Some(weight)), ("bias", bias)],
        )?;
        let problem = Self::of_shapes(op, input.dims(), weight.dims(), geometry)?;
        match bias {
            Some(bias) if bias.dims() != [problem.out_channels] => Err(shape(
                op,
                "bias",
                bias.dims(),
                format!("[{}]", problem.out_channels),
            )),
            _ => Ok(problem),
        }
    }

    /// Checks the shapes of an input and a weight.
    pub(crate) fn of_shapes(
        op: &'static str,
        input: &[usize],
        weight: &[usize],
        geometry: &Conv2dGeometry,
    ) -> Result<Self, KernelError> {
        let &[batch, in_channels, height, width] = input else {
            return Err(shape(
                op,
                "input",
                input,
                "rank 4: [batch, in, height, width]".into(),
            ));
        };
        let &[out_channels, group_channels, kernel_height, kernel_width] = weight else {
            return Err(shape(
                op,
                "weight",
                weight,
                "rank 4: [out, in/groups, kh, kw]".into(),
            ));
        };
        let groups = geometry.groups;
        for (argument, found) in [
            ("geometry.stride", geometry.stride),
            ("geometry.dilation", geometry.dilation),
            ("geometry.groups", (groups, groups)),
            ("kernel size", (kernel_height, kernel_width)),
        ] {
            if found.0 == 0 || found.1 == 0 {
                let (found, expected) = (format!("{found:?}"), "at least 1".into());
                return Err(KernelError::Value {
                    op,
                    argument,
                    found,
                    expected,
                });
            }
        }
        if !in_channels.is_multiple_of(groups) || group_channels != in_channels / groups {
            let expected = format!(
                "[out, in/groups, kh, kw] for {in_channels} input channels in {groups} groups"
            );
            return Err(shape(op, "weight", weight, expected));
        }
        if !out_channels.is_multiple_of(groups) {
            let expected = format!("a number of output channels that {groups} groups divide");
            return Err(shape(op, "weight", weight, expected));
        }
        let (input, kernel) = ((height, width), (kernel_height, kernel_width));
        let output = geometry.output_size(input, kernel).ok_or_else(|| {
            let expected = format!(
                "a kernel that fits into {height} x {width} pixels with padding {:?} and dilation {:?}",
                geometry.padding, geometry.dilation
            );
            shape(op, "weight", weight, expected)
        })?;
        Ok(Self {
            batch,
            in_channels,
            out_channels,
            input,
            kernel,
            output,
            geometry: *geometry,
        })
    }

    /// Checks that `gradient` has the output's shape.
    pub(crate) fn check_gradient(
        &self,
        op: &'static str,
        gradient: &Tensor,
    ) -> Result<(), KernelError> {
        let (n, k, height, width) = self.output_shape();
        match gradient.dims() == [n, k, height, width] {
            true => Ok(()),
            false => {
                let expected = format!("[{n}, {k}, {height}, {width}], the output's");
                Err(shape(op, "gradient", gradient.dims(), expected))
            }
        }
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

/// The error for an argument of the wrong shape.
fn shape(
    op: &'static str,
    argument: &'static str,
    found: &[usize],
    expected: String,
) -> KernelError {
    KernelError::Shape {
        op,
        argument,
        found: found.to_vec(),
        expected,
    }
}

/// All tensors must be f32, or all f64; on a GPU also all of a floating point type of 16 bits.
pub(crate) fn check_types(
    op: &'static str,
    argument: &'static str,
    first: &Tensor,
    others: &[(&'static str, Option<&Tensor>)],
) -> Result<(), KernelError> {
    let dtype = first.dtype();
    let on_gpu = first.device().is_cuda() && matches!(dtype, DType::F16 | DType::BF16);
    if !matches!(dtype, DType::F32 | DType::F64) && !on_gpu {
        return Err(KernelError::DType {
            op,
            argument,
            found: dtype,
            expected: "F32 or F64".into(),
        });
    }
    for &(argument, tensor) in others {
        if let Some(tensor) = tensor
            && tensor.dtype() != dtype
        {
            let expected = format!("{dtype:?}, as the first argument");
            return Err(KernelError::DType {
                op,
                argument,
                found: tensor.dtype(),
                expected,
            });
        }
    }
    Ok(())
}
