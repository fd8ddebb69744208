//! The mean of every window: fixed windows, windows fitted to an output size, and one window an image.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;

#[cfg(feature = "cuda")]
use crate::cuda::View;
use crate::operand::{slice, unsupported, value_error};
use crate::pool2d::{Pool2dGeometry, Window, image_dims};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
use std::sync::Arc;

/// The mean of every window: `[batch, channels, height, width]` → `[batch, channels, rows, columns]`.
///
/// As PyTorch has it: with `count_include_pad` the padding's zeros are part of the
/// mean, without it they are not; what a window of `ceil_mode` has beyond the padding
/// never is. Reads x once, writes the result once; the derivative likewise.
///
/// # Errors
/// If x is not an image tensor of `f32` or `f64`, or the geometry does not fit it.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use taper_kernels::{Pool2dGeometry, avg_pool2d};
/// let x = Tensor::new(&[[[[1f32, 5.], [3., 3.]]]], &Device::Cpu)?;
/// let y = avg_pool2d(&x, &Pool2dGeometry::square(2, 2, 0), true)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [3.0]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn avg_pool2d(
    x: &Tensor,
    geometry: &Pool2dGeometry,
    count_include_pad: bool,
) -> Result<Tensor> {
    const OP: &str = "avg_pool2d";
    apply(
        OP,
        x,
        Windows::Given {
            geometry: *geometry,
            count_include_pad,
        },
    )
}

/// The mean of `rows × columns` windows that cover x: `[batch, channels, height, width]` → `[batch, channels, rows, columns]`.
///
/// Window i of n along a side of length L runs from ⌊i·L/n⌋ to ⌈(i+1)·L/n⌉, as in PyTorch.
///
/// # Errors
/// If x is not an image tensor of `f32` or `f64`, or a side or output size is 0.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[[1f32, 2., 3.]]]], &Device::Cpu)?;
/// let y = taper_kernels::adaptive_avg_pool2d(&x, (1, 2))?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1.5, 2.5]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn adaptive_avg_pool2d(x: &Tensor, (rows, columns): (usize, usize)) -> Result<Tensor> {
    const OP: &str = "adaptive_avg_pool2d";
    let (.., height, width) = image_dims(OP, x)?;
    for (argument, size) in [
        ("x's height", height),
        ("x's width", width),
        ("output height", rows),
        ("output width", columns),
    ] {
        if size == 0 {
            return Err(value_error(OP, argument, size, "at least 1"));
        }
    }
    apply(OP, x, Windows::Fitted { rows, columns })
}

/// The mean of every channel of every image: `[batch, channels, height, width]` → `[batch, channels]`.
///
/// # Errors
/// If x is not an image tensor of `f32` or `f64`, or has no element in a channel.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[[1f32, 5.], [3., 3.]]]], &Device::Cpu)?;
/// assert_eq!(taper_kernels::global_avg_pool2d(&x)?.to_vec2::<f32>()?, [[3.0]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn global_avg_pool2d(x: &Tensor) -> Result<Tensor> {
    const OP: &str = "global_avg_pool2d";
    let (batch, channels, height, width) = image_dims(OP, x)?;
    if height * width == 0 {
        return Err(crate::operand::shape_error(
            OP,
            "x",
            x,
            "at least one element in a channel",
        ));
    }
    x.contiguous()?.apply_op1(GlobalMean {
        batch,
        channels,
        plane: height * width,
    })
}

/// Which windows are averaged.
#[derive(Clone, Copy, Debug)]
enum Windows {
    Given {
        geometry: Pool2dGeometry,
        count_include_pad: bool,
    },
    /// As many as there are outputs, over the whole image.
    Fitted { rows: usize, columns: usize },
}

impl Windows {
    /// The windows along an axis (0 rows, 1 columns) of `length` elements.
    fn parts(&self, op: &'static str, length: usize, axis: usize) -> Result<Vec<Part>> {
        match *self {
            Self::Given {
                geometry,
                count_include_pad,
            } => {
                let windows = geometry.axis(op, length, axis)?.windows.into_iter();
                Ok(windows
                    .map(|window| Part::new(window, count_include_pad))
                    .collect())
            }
            Self::Fitted { rows, columns } => {
                let count = if axis == 0 { rows } else { columns };
                let part = |index: usize| {
                    let inside = index * length / count..((index + 1) * length).div_ceil(count);
                    Part {
                        divisor: inside.len() as f64,
                        inside,
                    }
                };
                Ok((0..count).map(part).collect())
            }
        }
    }
}

/// A window along one axis, and what sums along it are divided by.
struct Part {
    inside: std::ops::Range<usize>,
    divisor: f64,
}

impl Part {
    fn new(window: Window, count_include_pad: bool) -> Self {
        let covered = if count_include_pad {
            window.with_padding
        } else {
            window.inside.len()
        };
        Self {
            inside: window.inside,
            divisor: covered as f64,
        }
    }
}

/// The images of one channel each, and their windows.
struct Planes {
    count: usize,
    height: usize,
    width: usize,
    rows: Vec<Part>,
    columns: Vec<Part>,
    /// What `rows` and `columns` were made from.
    #[cfg(any(feature = "cuda", test))]
    windows: Windows,
}

impl Planes {
    fn new(
        op: &'static str,
        count: usize,
        (height, width): (usize, usize),
        windows: Windows,
    ) -> Result<Self> {
        Ok(Self {
            count,
            height,
            width,
            rows: windows.parts(op, height, 0)?,
            columns: windows.parts(op, width, 1)?,
            #[cfg(any(feature = "cuda", test))]
            windows,
        })
    }
}

fn apply(op: &'static str, x: &Tensor, windows: Windows) -> Result<Tensor> {
    let (batch, channels, height, width) = image_dims(op, x)?;
    let planes = Planes::new(op, batch * channels, (height, width), windows)?;
    x.contiguous()?.apply_op1(WindowMean {
        op,
        output: (batch, channels, planes.rows.len(), planes.columns.len()).into(),
        planes: Arc::new(planes),
    })
}

struct WindowMean {
    op: &'static str,
    planes: Arc<Planes>,
    output: Shape,
}

impl CustomOp1 for WindowMean {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let output = match storage.dtype() {
            DType::F32 => CpuStorage::F32(cpu::window_means(
                slice(self.op, storage, layout)?,
                &self.planes,
            )),
            DType::F64 => CpuStorage::F64(cpu::window_means(
                slice(self.op, storage, layout)?,
                &self.planes,
            )),
            other => return Err(unsupported(self.op, "x", other)),
        };
        Ok((output, self.output.clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let x = View::of(self.op, "x", storage, layout)?;
        let y = cuda::window_means(storage.device(), self.op, x, &self.planes)?;
        Ok((y, self.output.clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let op = WindowMeanGradient {
            planes: self.planes.clone(),
            input: x.shape().clone(),
        };
        gradient.contiguous()?.apply_op1_no_bwd(&op).map(Some)
    }
}

/// dx from the gradient of the means.
struct WindowMeanGradient {
    planes: Arc<Planes>,
    input: Shape,
}

impl CustomOp1 for WindowMeanGradient {
    fn name(&self) -> &'static str {
        "avg_pool2d-gradient"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let dx = match storage.dtype() {
            DType::F32 => CpuStorage::F32(cpu::window_means_backward(
                slice(self.name(), storage, layout)?,
                &self.planes,
            )),
            DType::F64 => CpuStorage::F64(cpu::window_means_backward(
                slice(self.name(), storage, layout)?,
                &self.planes,
            )),
            other => return Err(unsupported(self.name(), "gradient", other)),
        };
        Ok((dx, self.input.clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let gradient = View::of(self.name(), "gradient", storage, layout)?;
        let dx = cuda::window_means_backward(storage.device(), gradient, &self.planes)?;
        Ok((dx, self.input.clone()))
    }
}

struct GlobalMean {
    batch: usize,
    channels: usize,
    plane: usize,
}

impl CustomOp1 for GlobalMean {
    fn name(&self) -> &'static str {
        "global_avg_pool2d"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let output = match storage.dtype() {
            DType::F32 => CpuStorage::F32(cpu::global_means(
                slice(self.name(), storage, layout)?,
                self.plane,
            )),
            DType::F64 => CpuStorage::F64(cpu::global_means(
                slice(self.name(), storage, layout)?,
                self.plane,
            )),
            other => return Err(unsupported(self.name(), "x", other)),
        };
        Ok((output, Shape::from((self.batch, self.channels))))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let x = View::of(self.name(), "x", storage, layout)?;
        let y = cuda::global_means(storage.device(), x, self.plane)?;
        Ok((y, Shape::from((self.batch, self.channels))))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let op = GlobalMeanGradient {
            plane: self.plane,
            input: x.shape().clone(),
        };
        gradient.contiguous()?.apply_op1_no_bwd(&op).map(Some)
    }
}

/// dx from the gradient of the means.
struct GlobalMeanGradient {
    plane: usize,
    input: Shape,
}

impl CustomOp1 for GlobalMeanGradient {
    fn name(&self) -> &'static str {
        "global_avg_pool2d-gradient"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let dx = match storage.dtype() {
            DType::F32 => CpuStorage::F32(cpu::global_means_backward(
                slice(self.name(), storage, layout)?,
                self.plane,
            )),
            DType::F64 => CpuStorage::F64(cpu::global_means_backward(
                slice(self.name(), storage, layout)?,
                self.plane,
            )),
            other => return Err(unsupported(self.name(), "gradient", other)),
        };
        Ok((dx, self.input.clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let gradient = View::of(self.name(), "gradient", storage, layout)?;
        let dx = cuda::global_means_backward(storage.device(), gradient, self.plane)?;
        Ok((dx, self.input.clone()))
    }
}
