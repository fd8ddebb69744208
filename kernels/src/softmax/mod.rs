//! Class probabilities and their logarithms.

mod columns;
mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;
pub(crate) mod rows;

use crate::axis::Axis;
#[cfg(feature = "cuda")]
use crate::cuda::View;
use crate::operand::{require_float, slice, unsupported};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::shape::Dim;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};

/// `exp x / Σ exp x` over dimension `dim`; any shape of rank 1 or more.
///
/// The largest element is subtracted first, so no exponential overflows. Reads x once from
/// memory and writes the result once; the derivative `y (g − Σ g y)` reads the result y and
/// its gradient g.
///
/// # Errors
/// If x has no such dimension, or is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{D, Device, Tensor};
/// let x = Tensor::new(&[[1000f64, 1000.]], &Device::Cpu)?;
/// assert_eq!(taper_kernels::softmax(&x, D::Minus1)?.to_vec2::<f64>()?, [[0.5; 2]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn softmax(x: &Tensor, dim: impl Dim) -> Result<Tensor> {
    apply("softmax", false, x, dim)
}

/// `x − ln Σ exp x` over dimension `dim`; any shape of rank 1 or more.
///
/// The largest element is subtracted first, so no exponential overflows. Reads x once from
/// memory and writes the result once; the derivative `g − exp y · Σ g` reads the result y and
/// its gradient g.
///
/// # Errors
/// If x has no such dimension, or is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1000f64, 1000.]], &Device::Cpu)?;
/// assert_eq!(taper_kernels::log_softmax(&x, 1)?.to_vec2::<f64>()?, [[-(2f64.ln()); 2]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn log_softmax(x: &Tensor, dim: impl Dim) -> Result<Tensor> {
    apply("log_softmax", true, x, dim)
}

fn apply(op: &'static str, log: bool, x: &Tensor, dim: impl Dim) -> Result<Tensor> {
    require_float(op, "x", x)?;
    let (axis, _) = Axis::of(op, x, dim)?;
    x.contiguous()?.apply_op1(Softmax { op, log, axis })
}

#[derive(Clone, Copy)]
struct Softmax {
    op: &'static str,
    /// Whether logarithms are wanted.
    log: bool,
    axis: Axis,
}

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (axis, log) = (self.axis, self.log);
        let output = match x.dtype() {
            DType::F32 => CpuStorage::F32(cpu::forward(slice(self.op, x, layout)?, axis, log)),
            DType::F64 => CpuStorage::F64(cpu::forward(slice(self.op, x, layout)?, axis, log)),
            other => return Err(unsupported(self.op, "x", other)),
        };
        Ok((output, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let view = View::of(self.op, "x", x, layout)?;
        let y = cuda::forward(x.device(), view, self.axis, self.log)?;
        Ok((y, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        result
            .apply_op2_no_bwd(&gradient.contiguous()?, &Gradient(*self))
            .map(Some)
    }
}

/// The gradient of x from the result and its gradient.
struct Gradient(Softmax);

impl CustomOp2 for Gradient {
    fn name(&self) -> &'static str {
        self.0.op
    }

    fn cpu_fwd(
        &self,
        y: &CpuStorage,
        y_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Softmax { op, log, axis } = self.0;
        let dx = match y.dtype() {
            DType::F32 => CpuStorage::F32(cpu::backward(
                slice(op, y, y_layout)?,
                slice(op, gradient, gradient_layout)?,
                axis,
                log,
            )),
            DType::F64 => CpuStorage::F64(cpu::backward(
                slice(op, y, y_layout)?,
                slice(op, gradient, gradient_layout)?,
                axis,
                log,
            )),
            other => return Err(unsupported(op, "x", other)),
        };
        Ok((dx, y_layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        y: &CudaStorage,
        y_layout: &Layout,
        gradient: &CudaStorage,
        gradient_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let Softmax { op, log, axis } = self.0;
        let gradient = View::of(op, "gradient", gradient, gradient_layout)?;
        let view = View::of(op, "x", y, y_layout)?;
        let dx = cuda::backward(y.device(), view, gradient, axis, log)?;
        Ok((dx, y_layout.shape().clone()))
    }
}
