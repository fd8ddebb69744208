//! The geometry of a one-dimensional convolution, and the checks of its arguments.

use crate::conv2d::{Conv2dGeometry, Problem, check_types};
use crate::error::KernelError;
use crate::operand::{require_shape, shape_error, value_error};
use candle_core::{Result, Tensor};

/// How a kernel moves along its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv1dGeometry {
    /// Elements between two positions of the kernel.
    pub stride: usize,
    /// Zeros put before the first and behind the last element.
    pub padding: (usize, usize),
    /// Elements between two taps of the kernel.
    pub dilation: usize,
    /// Channels are cut into this many groups, each convolved with its own filters.
    pub groups: usize,
}

impl Default for Conv1dGeometry {
    fn default() -> Self {
        Self {
            stride: 1,
            padding: (0, 0),
            dilation: 1,
            groups: 1,
        }
    }
}

impl Conv1dGeometry {
    /// The given `stride`, and the same `padding` on both sides.
    pub fn with(stride: usize, padding: usize) -> Self {
        Self {
            stride,
            padding: (padding, padding),
            ..Self::default()
        }
    }

    /// Stride 1 and the padding that keeps the length, PyTorch's `padding="same"`: of an odd number
    /// of zeros the odd one is put behind the end.
    pub fn same(kernel: usize, dilation: usize) -> Self {
        let zeros = dilation.saturating_mul(kernel.saturating_sub(1));
        Self {
            padding: (zeros / 2, zeros - zeros / 2),
            dilation,
            ..Self::default()
        }
    }

    /// Stride 1 and all padding before the first element: no output reads what comes after it.
    pub fn causal(kernel: usize, dilation: usize) -> Self {
        Self {
            padding: (dilation.saturating_mul(kernel.saturating_sub(1)), 0),
            dilation,
            ..Self::default()
        }
    }

    /// This geometry with `groups` groups.
    pub fn grouped(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// Length of the output of a kernel over an input; `None` if the kernel does not fit once.
    pub fn output_length(&self, input: usize, kernel: usize) -> Option<usize> {
        let span = self
            .dilation
            .checked_mul(kernel.checked_sub(1)?)?
            .checked_add(1)?;
        let padded = input
            .checked_add(self.padding.0)?
            .checked_add(self.padding.1)?;
        Some(padded.checked_sub(span)?.checked_div(self.stride)? + 1)
    }
}

/// Stride, dilation and groups, and the zeros before the first element, as kernels for planes take them.
/// Zeros behind the end need no number: they follow from the output's length.
pub(crate) fn plane_geometry(
    stride: usize,
    before: usize,
    dilation: usize,
    groups: usize,
) -> Conv2dGeometry {
    Conv2dGeometry {
        stride: (1, stride),
        padding: (0, before),
        dilation: (1, dilation),
        groups,
    }
}

/// Checks the arguments of a convolution and reads off their sizes, as planes of one row.
pub(super) fn problem(
    op: &'static str,
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: &Conv1dGeometry,
) -> Result<Problem> {
    check_types(
        op,
        "input",
        input,
        &[("weight", Some(weight)), ("bias", bias)],
    )?;
    let problem = problem_of_shapes(
        op,
        ("input", input.dims()),
        ("weight", weight.dims()),
        geometry,
    )?;
    if let Some(bias) = bias {
        require_shape(op, "bias", bias, &[problem.out_channels])?;
    }
    Ok(problem)
}

/// Checks the shapes of an input and a weight.
pub(super) fn problem_of_shapes(
    op: &'static str,
    (input_name, input): (&'static str, &[usize]),
    (weight_name, weight): (&'static str, &[usize]),
    geometry: &Conv1dGeometry,
) -> Result<Problem> {
    let wrong = |argument, found: &[usize], expected: String| KernelError::Shape {
        op,
        argument,
        found: found.to_vec(),
        expected,
    };
    let &[batch, in_channels, length] = input else {
        return Err(wrong(input_name, input, "[batch, in, length]".into()).into());
    };
    let &[out_channels, group_channels, kernel] = weight else {
        return Err(wrong(weight_name, weight, "[out, in/groups, kernel]".into()).into());
    };
    let groups = geometry.groups;
    require_positive(
        op,
        [
            ("geometry.stride", geometry.stride),
            ("geometry.dilation", geometry.dilation),
            ("geometry.groups", groups),
            ("kernel length", kernel),
        ],
    )?;
    if !in_channels.is_multiple_of(groups) || group_channels != in_channels / groups {
        let expected =
            format!("[out, in/groups, kernel] for {in_channels} input channels in {groups} groups");
        return Err(wrong(weight_name, weight, expected).into());
    }
    if !out_channels.is_multiple_of(groups) {
        let expected = format!("a number of output channels that {groups} groups divide");
        return Err(wrong(weight_name, weight, expected).into());
    }
    let output = geometry.output_length(length, kernel).ok_or_else(|| {
        let expected = format!(
            "a kernel that fits into {length} elements with padding {:?} and dilation {}",
            geometry.padding, geometry.dilation
        );
        wrong(weight_name, weight, expected)
    })?;
    Ok(Problem {
        batch,
        in_channels,
        out_channels,
        input: (1, length),
        kernel: (1, kernel),
        output: (1, output),
        geometry: plane_geometry(
            geometry.stride,
            geometry.padding.0,
            geometry.dilation,
            groups,
        ),
    })
}

/// Refuses options that are 0.
pub(crate) fn require_positive(
    op: &'static str,
    options: impl IntoIterator<Item = (&'static str, usize)>,
) -> Result<()> {
    match options.into_iter().find(|(_, value)| *value == 0) {
        Some((argument, value)) => Err(value_error(op, argument, value, "at least 1")),
        None => Ok(()),
    }
}

/// Checks that `gradient` has the output's shape.
pub(super) fn check_gradient(op: &'static str, problem: &Problem, gradient: &Tensor) -> Result<()> {
    let (batch, channels, length) = (problem.batch, problem.out_channels, problem.output.1);
    if gradient.dims() == [batch, channels, length] {
        return Ok(());
    }
    let expected = format!("[{batch}, {channels}, {length}], the output's");
    Err(shape_error(op, "gradient", gradient, expected))
}
