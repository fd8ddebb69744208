//! Logarithms of class probabilities.

pub(crate) mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;

#[cfg(feature = "cuda")]
use crate::cuda::View;
use crate::operand::{require_float, shape_error, slice, unsupported};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};

const OP: &str = "log_softmax";

/// `x − ln Σ exp x` over the last dimension; any shape of rank 1 or more.
///
/// The largest element is subtracted first, so no exponential overflows.
/// Reads x once from memory and writes the result once; the derivative
/// `g − softmax · Σ g` reads the result and its gradient.
///
/// # Errors
/// If x is a scalar, or neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1000f64, 1000.]], &Device::Cpu)?;
/// assert_eq!(taper_kernels::log_softmax(&x)?.to_vec2::<f64>()?, [[-(2f64.ln()); 2]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    require_float(OP, "x", x)?;
    if x.rank() == 0 {
        return Err(shape_error(OP, "x", x, "[…, classes]"));
    }
    x.contiguous()?.apply_op1(LogSoftmax)
}

struct LogSoftmax;

impl CustomOp1 for LogSoftmax {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let classes = classes(layout);
        let output = match storage.dtype() {
            DType::F32 => CpuStorage::F32(cpu::forward(slice(OP, storage, layout)?, classes)),
            DType::F64 => CpuStorage::F64(cpu::forward(slice(OP, storage, layout)?, classes)),
            other => return Err(unsupported(OP, "x", other)),
        };
        Ok((output, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let x = View::of(OP, "x", storage, layout)?;
        let y = cuda::forward(&storage.device, x, classes(layout))?;
        Ok((y, layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, output: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        output
            .apply_op2_no_bwd(&gradient.contiguous()?, &LogSoftmaxGradient)
            .map(Some)
    }
}

/// Elements of a row.
fn classes(layout: &Layout) -> usize {
    layout.dims().last().copied().unwrap_or(1)
}

/// dx from (output, its gradient).
struct LogSoftmaxGradient;

impl CustomOp2 for LogSoftmaxGradient {
    fn name(&self) -> &'static str {
        "log_softmax-gradient"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let classes = classes(l1);
        let dx = match s1.dtype() {
            DType::F32 => {
                let (output, gradient) = (slice(OP, s1, l1)?, slice(OP, s2, l2)?);
                CpuStorage::F32(cpu::backward(output, gradient, classes))
            }
            DType::F64 => {
                let (output, gradient) = (slice(OP, s1, l1)?, slice(OP, s2, l2)?);
                CpuStorage::F64(cpu::backward(output, gradient, classes))
            }
            other => return Err(unsupported(OP, "output", other)),
        };
        Ok((dx, l1.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (output, gradient) = (
            View::of(OP, "output", s1, l1)?,
            View::of(OP, "gradient", s2, l2)?,
        );
        let dx = cuda::backward(&s1.device, output, gradient, classes(l1))?;
        Ok((dx, l1.shape().clone()))
    }
}
