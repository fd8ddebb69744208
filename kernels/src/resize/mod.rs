//! Images resized to any size: bilinear and nearest, with their exact derivatives.

mod axis;
mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;

use crate::conv2d::keep_gradient_graph;
#[cfg(feature = "cuda")]
use crate::cuda::View;
use crate::element::Element;
use crate::operand::{require_float, shape_error, slice, unsupported, value_error};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};

/// Blends the four nearest elements: `[batch, channels, height, width]` → `[batch, channels, rows, columns]`.
///
/// PyTorch's `interpolate(x, size=(rows, columns), mode="bilinear", align_corners=…)`. Output i of n along
/// an axis of L elements reads at i·(L−1)/(n−1) if `align_corners`, else at max(0, (i + ½)·L/n − ½), with
/// weights linear in the distance to the elements on both sides. Reads x once (in f32, coordinates are f32
/// too) and writes the result once; the derivative likewise. Working memory: two rows a task.
///
/// # Errors
/// If x is not an image tensor of `f32` or `f64`, or a side or output size is 0.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[[1f32, 3.]]]], &Device::Cpu)?;
/// let y = taper_kernels::resize_bilinear2d(&x, (1, 3), true)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1., 2., 3.]);
/// let y = taper_kernels::resize_bilinear2d(&x, (1, 4), false)?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1., 1.5, 2.5, 3.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn resize_bilinear2d(x: &Tensor, size: (usize, usize), align_corners: bool) -> Result<Tensor> {
    resize(
        "resize_bilinear2d",
        x,
        size,
        Method::Bilinear { align_corners },
    )
}

/// Copies the nearest element: `[batch, channels, height, width]` → `[batch, channels, rows, columns]`.
///
/// PyTorch's `interpolate(x, size=(rows, columns), mode="nearest")`: output i of n along an axis of L
/// elements copies element ⌊i·L/n⌋. Reads x once and writes the result once; the derivative likewise.
///
/// # Errors
/// If x is not an image tensor of `f32` or `f64`, or a side or output size is 0.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[[1f32, 3.]]]], &Device::Cpu)?;
/// let y = taper_kernels::resize_nearest2d(&x, (1, 4))?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [1., 1., 3., 3.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn resize_nearest2d(x: &Tensor, size: (usize, usize)) -> Result<Tensor> {
    resize("resize_nearest2d", x, size, Method::Nearest)
}

/// Copies the nearest element: `[batch, channels, length]` → `[batch, channels, size]`, as [`resize_nearest2d`].
///
/// # Errors
/// If x is not a `[batch, channels, length]` tensor of `f32` or `f64`, or `length` or `size` is 0.
pub fn resize_nearest1d(x: &Tensor, size: usize) -> Result<Tensor> {
    const OP: &str = "resize_nearest1d";
    require_float(OP, "x", x)?;
    let &[_, _, _] = x.dims() else {
        return Err(shape_error(OP, "x", x, "[batch, channels, length]"));
    };
    resize(OP, &x.unsqueeze(2)?, (1, size), Method::Nearest)?.squeeze(2)
}

/// How an output is made of inputs.
#[derive(Debug, Clone, Copy)]
enum Method {
    Bilinear { align_corners: bool },
    Nearest,
}

/// The images of one channel each.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    planes: usize,
    /// Rows and columns.
    input: (usize, usize),
    output: (usize, usize),
}

fn resize(op: &'static str, x: &Tensor, size: (usize, usize), method: Method) -> Result<Tensor> {
    let (batch, channels, height, width) = crate::pool2d::image_dims(op, x)?;
    for (argument, size) in [
        ("x's height", height),
        ("x's width", width),
        ("output height", size.0),
        ("output width", size.1),
    ] {
        // Tables hold coordinates in 32 bits.
        if size == 0 || u32::try_from(size).is_err() {
            return Err(value_error(op, argument, size, "at least 1, below 2³²"));
        }
    }
    let sizes = Sizes {
        planes: batch * channels,
        input: (height, width),
        output: size,
    };
    x.contiguous()?.apply_op1(Resize {
        op,
        method,
        sizes,
        images: (batch, channels),
    })
}

/// The resize itself.
#[derive(Debug, Clone, Copy)]
struct Resize {
    op: &'static str,
    method: Method,
    sizes: Sizes,
    /// Batch and channels.
    images: (usize, usize),
}

impl Resize {
    fn forward<T: Element>(&self, x: &[T]) -> CpuStorage {
        T::to_cpu_storage_owned(match self.method {
            Method::Bilinear { align_corners } => cpu::bilinear(x, &self.sizes, align_corners),
            Method::Nearest => cpu::nearest(x, &self.sizes),
        })
    }

    fn backward<T: Element>(&self, gradient: &[T]) -> CpuStorage {
        T::to_cpu_storage_owned(match self.method {
            Method::Bilinear { align_corners } => {
                cpu::bilinear_backward(gradient, &self.sizes, align_corners)
            }
            Method::Nearest => cpu::nearest_backward(gradient, &self.sizes),
        })
    }

    fn shape(&self, (rows, columns): (usize, usize)) -> Shape {
        (self.images.0, self.images.1, rows, columns).into()
    }
}

impl CustomOp1 for Resize {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let output = match storage.dtype() {
            DType::F32 => self.forward::<f32>(slice(self.op, storage, layout)?),
            DType::F64 => self.forward::<f64>(slice(self.op, storage, layout)?),
            other => return Err(unsupported(self.op, "x", other)),
        };
        Ok((output, self.shape(self.sizes.output)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let x = View::of(self.op, "x", storage, layout)?;
        let y = cuda::forward(storage.device(), self.op, x, &self.sizes, self.method)?;
        Ok((y, self.shape(self.sizes.output)))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        apply(gradient, Gradient(*self))
    }
}

/// The derivative: dx from the result's gradient.
#[derive(Debug, Clone, Copy)]
struct Gradient(Resize);

impl CustomOp1 for Gradient {
    fn name(&self) -> &'static str {
        "resize-gradient"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let op = self.0.op;
        let dx = match storage.dtype() {
            DType::F32 => self.0.backward::<f32>(slice(op, storage, layout)?),
            DType::F64 => self.0.backward::<f64>(slice(op, storage, layout)?),
            other => return Err(unsupported(op, "gradient", other)),
        };
        Ok((dx, self.0.shape(self.0.sizes.input)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let Resize {
            op, method, sizes, ..
        } = self.0;
        let gradient = View::of(op, "gradient", storage, layout)?;
        let dx = cuda::backward(storage.device(), op, gradient, &sizes, method)?;
        Ok((dx, self.0.shape(sizes.input)))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, upper: &Tensor) -> Result<Option<Tensor>> {
        apply(upper, self.0)
    }
}

/// Applies a gradient operator, on the tape only if gradients of gradients are wanted.
fn apply(x: &Tensor, op: impl CustomOp1 + Send + Sync + 'static) -> Result<Option<Tensor>> {
    let x = x.contiguous()?;
    match keep_gradient_graph() {
        true => x.apply_op1(op),
        false => x.apply_op1_no_bwd(&op),
    }
    .map(Some)
}
