//! The largest element along an axis.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;

use crate::copy_strided::copy_strided;
use crate::element::Element;
use crate::gather::{gather, walk::require_axis};
use crate::operand::{require_float, shape_error, slice, unsupported};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};

const OP: &str = "max_axis";

/// The largest element along `axis`, which the result no longer has.
///
/// The values of `torch.max(x, axis)`: NaN wins, and the first of equal elements gets the whole
/// gradient. Reads x once and writes the maxima and their positions (4 bytes each), with which the
/// derivative scatters.
///
/// # Errors
/// If x is neither `f32` nor `f64`, has no such axis, or the axis is empty.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f32, 5.], [3., 2.]], &Device::Cpu)?;
/// assert_eq!(taper_kernels::max_axis(&x, 0)?.to_vec1::<f32>()?, [3., 5.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn max_axis(x: &Tensor, axis: usize) -> Result<Tensor> {
    require_float(OP, "x", x)?;
    require_axis(OP, x, axis)?;
    if x.dims()[axis] == 0 || u32::try_from(x.dims()[axis]).is_err() {
        return Err(shape_error(
            OP,
            "x",
            x,
            format!("from 1 to 2³² − 1 elements along axis {axis}"),
        ));
    }
    let x = copy_strided(x)?;
    let positions = x.apply_op1_no_bwd(&FirstMaximum { axis })?;
    gather(&x, axis, &positions)?.squeeze(axis)
}

/// Where along the axis the first largest element stands; the axis has length 1 in the result.
struct FirstMaximum {
    axis: usize,
}

impl FirstMaximum {
    fn run<T: Element>(&self, storage: &CpuStorage, layout: &Layout) -> Result<Vec<u32>> {
        let (length, inner) = self.line(layout);
        let x = slice::<T>(OP, storage, layout)?;
        Ok(cpu::first_maxima(x, length, inner))
    }

    /// Elements of a line, and how far apart they lie.
    fn line(&self, layout: &Layout) -> (usize, usize) {
        let dims = layout.dims();
        (dims[self.axis], dims[self.axis + 1..].iter().product())
    }

    /// The shape of the positions.
    fn output(&self, layout: &Layout) -> Shape {
        let mut dims = layout.dims().to_vec();
        dims[self.axis] = 1;
        Shape::from(dims)
    }
}

impl CustomOp1 for FirstMaximum {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let positions = match storage.dtype() {
            DType::F32 => self.run::<f32>(storage, layout)?,
            DType::F64 => self.run::<f64>(storage, layout)?,
            other => return Err(unsupported(OP, "x", other)),
        };
        Ok((CpuStorage::U32(positions), self.output(layout)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (length, inner) = self.line(layout);
        let x = crate::cuda::View::of(OP, "x", storage, layout)?;
        let positions = cuda::first_maxima(storage.device(), x, length, inner)?;
        Ok((positions, self.output(layout)))
    }
}
