//! Contiguous copies of strided views: transposes, permutations, narrowed and broadcast tensors.

pub(crate) mod cpu;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod cuda;

use crate::operand::{unsupported, value_error};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

const OP: &str = "copy_strided";

/// A contiguous tensor with the elements of `x`; `x` itself where it is contiguous already.
///
/// Differentiable: the gradient is handed on. Any shape and any strides; reads and writes
/// each element once. Where the elements that lie together in memory are those of another
/// axis than the last (a transpose, NCHW to NHWC), squares of 16 × 16 are turned in registers.
///
/// # Errors
/// If the type is none of `u8`, `u32`, `i64`, `bf16`, `f16`, `f32` and `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// let columns = taper_kernels::copy_strided(&x.t()?)?;
/// assert!(columns.is_contiguous());
/// assert_eq!(columns.to_vec2::<f32>()?, [[1., 3.], [2., 4.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn copy_strided(x: &Tensor) -> Result<Tensor> {
    if is_plain(x) {
        return Ok(x.clone());
    }
    x.apply_op1(CopyStrided)
}

/// A contiguous tensor whose axis `i` is axis `axes[i]` of `x`; differentiable, see [`copy_strided`].
///
/// # Errors
/// If `axes` does not name every axis of `x` once, or the type is not one of [`copy_strided`]'s.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// let images = Tensor::zeros((2, 3, 4, 5), DType::F32, &Device::Cpu)?;
/// assert_eq!(taper_kernels::permute(&images, &[0, 2, 3, 1])?.dims(), [2, 4, 5, 3]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn permute(x: &Tensor, axes: &[usize]) -> Result<Tensor> {
    let mut sorted = axes.to_vec();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..x.rank()) {
        return Err(value_error(
            "permute",
            "axes",
            format!("{axes:?}"),
            format!("each of the {} axes once", x.rank()),
        ));
    }
    copy_strided(&x.permute(axes)?)
}

/// [`copy_strided`] without a place on the tape.
pub(crate) fn detached_copy(x: &Tensor) -> Result<Tensor> {
    if is_plain(x) {
        return Ok(x.clone());
    }
    x.apply_op1_no_bwd(&CopyStrided)
}

/// Whether there is nothing to copy. An empty view that begins behind the end of its storage, which Candle's
/// operators fail on, is made anew.
fn is_plain(x: &Tensor) -> bool {
    x.is_contiguous() && (x.elem_count() > 0 || x.layout().start_offset() == 0)
}

struct CopyStrided;

impl CustomOp1 for CopyStrided {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let copied = match storage {
            CpuStorage::U8(values) => CpuStorage::U8(cpu::copy(values, layout)),
            CpuStorage::U32(values) => CpuStorage::U32(cpu::copy(values, layout)),
            CpuStorage::I64(values) => CpuStorage::I64(cpu::copy(values, layout)),
            CpuStorage::BF16(values) => CpuStorage::BF16(cpu::copy(values, layout)),
            CpuStorage::F16(values) => CpuStorage::F16(cpu::copy(values, layout)),
            CpuStorage::F32(values) => CpuStorage::F32(cpu::copy(values, layout)),
            CpuStorage::F64(values) => CpuStorage::F64(cpu::copy(values, layout)),
            other => return Err(unsupported(OP, "x", other.dtype())),
        };
        Ok((copied, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let view = crate::cuda::View::strided(storage, layout);
        let copied = cuda::copy(storage.device(), view, layout.dims(), layout.stride())?;
        Ok((copied, layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(gradient.clone()))
    }
}
