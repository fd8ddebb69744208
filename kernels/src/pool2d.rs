//! The windows of two-dimensional pooling.

use crate::operand::{require_float, shape_error, value_error};
use candle_core::{Result, Tensor};
use std::ops::Range;

/// Window, stride and padding of a pooling operator, each `(height, width)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool2dGeometry {
    /// Rows and columns of the window.
    pub window: (usize, usize),
    /// Steps from one window to the next.
    pub stride: (usize, usize),
    /// Rows and columns added on each side: −∞ for the maximum, 0 for the average. At most half the window.
    pub padding: (usize, usize),
    /// Whether a window that reaches past the end still counts, if it starts before the end.
    pub ceil_mode: bool,
}

impl Pool2dGeometry {
    /// The same window, stride and padding for both axes, `ceil_mode` off.
    pub fn square(window: usize, stride: usize, padding: usize) -> Self {
        Self {
            window: (window, window),
            stride: (stride, stride),
            padding: (padding, padding),
            ceil_mode: false,
        }
    }

    /// Height and width of the result, as PyTorch computes them.
    ///
    /// # Errors
    /// If the geometry is unusable or the input has no place for one window.
    pub fn output_size(&self, (height, width): (usize, usize)) -> Result<(usize, usize)> {
        Ok((
            self.axis("pool2d", height, 0)?.len(),
            self.axis("pool2d", width, 1)?.len(),
        ))
    }

    /// The windows along one axis (0 rows, 1 columns) of `length` elements.
    pub(crate) fn axis(&self, op: &'static str, length: usize, axis: usize) -> Result<Axis> {
        let pick = |pair: (usize, usize)| if axis == 0 { pair.0 } else { pair.1 };
        let (window, stride, padding) = (pick(self.window), pick(self.stride), pick(self.padding));
        if window == 0 || stride == 0 {
            let (argument, found) = if window == 0 {
                ("window", self.window)
            } else {
                ("stride", self.stride)
            };
            return Err(value_error(
                op,
                argument,
                format!("{found:?}"),
                "at least 1 on each axis",
            ));
        }
        if padding > window / 2 {
            let expected = format!("at most half the window {:?}", self.window);
            return Err(value_error(
                op,
                "padding",
                format!("{:?}", self.padding),
                expected,
            ));
        }
        let padded = padding
            .checked_mul(2)
            .and_then(|both| both.checked_add(length))
            .unwrap_or(0);
        if length == 0 || padded < window {
            let expected = format!(
                "at least 1 and, with its padding {padding} on each side, at least the window {window}"
            );
            return Err(value_error(
                op,
                if axis == 0 { "x's height" } else { "x's width" },
                length,
                expected,
            ));
        }
        let room = padded - window;
        let mut count = if self.ceil_mode {
            room.div_ceil(stride)
        } else {
            room / stride
        } + 1;
        if (count - 1) * stride >= length + padding {
            count -= 1; // a window that would start in the padding behind the end
        }
        let windows = (0..count)
            .map(|index| {
                let (start, end) = (
                    index * stride,
                    (index * stride).saturating_add(window).min(padded),
                );
                Window {
                    inside: start.saturating_sub(padding)..(end - padding).min(length),
                    with_padding: end - start,
                }
            })
            .collect();
        Ok(Axis {
            windows,
            stride,
            window,
            padding,
        })
    }
}

/// The windows along one axis.
pub(crate) struct Axis {
    pub(crate) windows: Vec<Window>,
    pub(crate) stride: usize,
    pub(crate) window: usize,
    pub(crate) padding: usize,
}

/// One window along one axis.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// The input elements it covers.
    pub(crate) inside: Range<usize>,
    /// How many it covers with the padding.
    pub(crate) with_padding: usize,
}

impl Axis {
    pub(crate) fn len(&self) -> usize {
        self.windows.len()
    }

    /// The outputs whose window has an input element at `offset`, and the first of those elements.
    pub(crate) fn outputs_at(&self, offset: usize, length: usize) -> (Range<usize>, usize) {
        let first = self.padding.saturating_sub(offset).div_ceil(self.stride);
        let end = match (length + self.padding).checked_sub(offset + 1) {
            Some(last) => (last / self.stride + 1).min(self.len()),
            None => first,
        };
        (
            first..end.max(first),
            (first * self.stride + offset).saturating_sub(self.padding),
        )
    }
}

/// The dimensions of an image tensor `[batch, channels, height, width]` of floating point numbers.
pub(crate) fn image_dims(op: &'static str, x: &Tensor) -> Result<(usize, usize, usize, usize)> {
    require_float(op, "x", x)?;
    match *x.dims() {
        [batch, channels, height, width] => Ok((batch, channels, height, width)),
        _ => Err(shape_error(op, "x", x, "[batch, channels, height, width]")),
    }
}
