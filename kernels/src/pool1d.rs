//! One-dimensional pooling: that of images of one row.

use crate::operand::{require_float, shape_error};
use crate::pool2d::Pool2dGeometry;
use crate::{adaptive_avg_pool2d, avg_pool2d, max_pool2d};
use candle_core::{Result, Tensor};

/// Window, stride and padding of a pooling operator along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool1dGeometry {
    /// Elements of the window.
    pub window: usize,
    /// Steps from one window to the next.
    pub stride: usize,
    /// Elements added on each side: −∞ for the maximum, 0 for the average. At most half the window.
    pub padding: usize,
    /// Whether a window that reaches past the end still counts, if it starts before the end.
    pub ceil_mode: bool,
}

impl Pool1dGeometry {
    /// The given window, stride and padding, `ceil_mode` off.
    pub fn with(window: usize, stride: usize, padding: usize) -> Self {
        Self {
            window,
            stride,
            padding,
            ceil_mode: false,
        }
    }

    /// The same windows over the columns of an image, each one row high.
    fn of_rows(self) -> Pool2dGeometry {
        Pool2dGeometry {
            window: (1, self.window),
            stride: (1, self.stride),
            padding: (0, self.padding),
            ceil_mode: self.ceil_mode,
        }
    }
}

/// The largest element of every window: `[batch, channels, length]` → `[batch, channels, windows]`, as [`max_pool2d()`].
///
/// # Errors
/// If x is not a `[batch, channels, length]` tensor of `f32` or `f64`, or the geometry does not fit it.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use taper_kernels::{Pool1dGeometry, max_pool1d};
/// let x = Tensor::new(&[[[1f32, 5., 3., 2.]]], &Device::Cpu)?;
/// let y = max_pool1d(&x, &Pool1dGeometry::with(2, 2, 0))?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [5., 3.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn max_pool1d(x: &Tensor, geometry: &Pool1dGeometry) -> Result<Tensor> {
    let geometry = geometry.of_rows();
    let rows = rows("max_pool1d", x)?;
    geometry.axis("max_pool1d", rows.dim(3)?, 1)?;
    max_pool2d(&rows, &geometry)?.squeeze(2)
}

/// The mean of every window: `[batch, channels, length]` → `[batch, channels, windows]`, as [`avg_pool2d()`].
///
/// # Errors
/// If x is not a `[batch, channels, length]` tensor of `f32` or `f64`, or the geometry does not fit it.
pub fn avg_pool1d(
    x: &Tensor,
    geometry: &Pool1dGeometry,
    count_include_pad: bool,
) -> Result<Tensor> {
    let geometry = geometry.of_rows();
    let rows = rows("avg_pool1d", x)?;
    geometry.axis("avg_pool1d", rows.dim(3)?, 1)?;
    avg_pool2d(&rows, &geometry, count_include_pad)?.squeeze(2)
}

/// The mean of `size` windows that cover x: `[batch, channels, length]` → `[batch, channels, size]`, as [`adaptive_avg_pool2d()`].
///
/// # Errors
/// If x is not a `[batch, channels, length]` tensor of `f32` or `f64`, or its length or `size` is 0.
pub fn adaptive_avg_pool1d(x: &Tensor, size: usize) -> Result<Tensor> {
    let rows = rows("adaptive_avg_pool1d", x)?;
    adaptive_avg_pool2d(&rows, (1, size))?.squeeze(2)
}

/// x as images of one row.
fn rows(op: &'static str, x: &Tensor) -> Result<Tensor> {
    require_float(op, "x", x)?;
    match x.dims() {
        [_, _, _] => x.unsqueeze(2),
        _ => Err(shape_error(op, "x", x, "[batch, channels, length]")),
    }
}
