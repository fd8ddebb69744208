//! The gated linear unit.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;

use crate::axis::Axis;
#[cfg(feature = "cuda")]
use crate::cuda::View;
use crate::operand::{require_float, shape_error, slice, unsupported};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::shape::Dim;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};

const OP: &str = "glu";

/// `a · sigmoid(b)` with a and b the first and second half of x along dimension `dim`.
///
/// The result has half of x's size there (Dauphin et al. 2017, equation 1 after its linear maps). Reads x
/// once and writes the result once; the derivative reads x and the result's gradient.
///
/// # Errors
/// If x has no such dimension, its size is odd, or x is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{D, Device, Tensor};
/// let x = Tensor::new(&[[2f32, 3., 0., 0.]], &Device::Cpu)?;
/// assert_eq!(taper_kernels::glu(&x, D::Minus1)?.to_vec2::<f32>()?, [[1., 1.5]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn glu(x: &Tensor, dim: impl Dim) -> Result<Tensor> {
    require_float(OP, "x", x)?;
    let (axis, dim) = Axis::of(OP, x, dim)?;
    if !axis.size.is_multiple_of(2) {
        return Err(shape_error(OP, "x", x, "an even size of dimension `dim`"));
    }
    x.contiguous()?.apply_op1(Glu { axis, dim })
}

struct Glu {
    axis: Axis,
    dim: usize,
}

impl Glu {
    /// Elements of a half that lie together.
    fn run(&self) -> usize {
        self.axis.size / 2 * self.axis.inner
    }

    /// The result's shape.
    fn halved(&self, layout: &Layout) -> Shape {
        let mut dims = layout.dims().to_vec();
        dims[self.dim] /= 2;
        Shape::from(dims)
    }
}

impl CustomOp1 for Glu {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let output = match x.dtype() {
            DType::F32 => CpuStorage::F32(cpu::forward(slice(OP, x, layout)?, self.run())),
            DType::F64 => CpuStorage::F64(cpu::forward(slice(OP, x, layout)?, self.run())),
            other => return Err(unsupported(OP, "x", other)),
        };
        Ok((output, self.halved(layout)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let y = cuda::forward(x.device(), View::of(OP, "x", x, layout)?, self.run())?;
        Ok((y, self.halved(layout)))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        x.apply_op2_no_bwd(&gradient.contiguous()?, &Gradient { run: self.run() })
            .map(Some)
    }
}

/// x and the result's gradient to that of x.
struct Gradient {
    run: usize,
}

impl CustomOp2 for Gradient {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let dx = match x.dtype() {
            DType::F32 => CpuStorage::F32(cpu::backward(
                slice(OP, x, x_layout)?,
                slice(OP, gradient, gradient_layout)?,
                self.run,
            )),
            DType::F64 => CpuStorage::F64(cpu::backward(
                slice(OP, x, x_layout)?,
                slice(OP, gradient, gradient_layout)?,
                self.run,
            )),
            other => return Err(unsupported(OP, "x", other)),
        };
        Ok((dx, x_layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        gradient: &CudaStorage,
        gradient_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let gradient = View::of(OP, "gradient", gradient, gradient_layout)?;
        let view = View::of(OP, "x", x, x_layout)?;
        let dx = cuda::backward(x.device(), view, gradient, self.run)?;
        Ok((dx, x_layout.shape().clone()))
    }
}
