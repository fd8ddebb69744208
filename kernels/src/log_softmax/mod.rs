//! Logarithms of class probabilities.

pub(crate) mod cpu;

use crate::element::Element;
use crate::operand::{require_float, shape_error, slice, unsupported, with_slice};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};

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

impl LogSoftmax {
    fn backward<T: Element>(output: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let classes = output.dims().last().copied().unwrap_or(1);
        let dx = with_slice::<T, _>(OP, "output", output, |output| {
            with_slice(OP, "gradient", gradient, |gradient| {
                Ok(cpu::backward(output, gradient, classes))
            })
        })?;
        Tensor::from_vec(dx, output.shape(), output.device())
    }
}

impl CustomOp1 for LogSoftmax {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let classes = layout.dims().last().copied().unwrap_or(1);
        let output = match storage.dtype() {
            DType::F32 => CpuStorage::F32(cpu::forward(slice(OP, storage, layout)?, classes)),
            DType::F64 => CpuStorage::F64(cpu::forward(slice(OP, storage, layout)?, classes)),
            other => return Err(unsupported(OP, "x", other)),
        };
        Ok((output, layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, output: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        match output.dtype() {
            DType::F32 => Self::backward::<f32>(output, gradient),
            _ => Self::backward::<f64>(output, gradient),
        }
        .map(Some)
    }
}
