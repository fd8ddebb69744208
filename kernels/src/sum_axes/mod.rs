//! Sums over any axes.

pub(crate) mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;

use crate::copy_strided::{copy_strided, detached_copy};
use crate::element::Element;
use crate::operand::{require_float, slice, unsupported, value_error};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};

const OP: &str = "sum_axes";

/// The sum over `axes`, which the result no longer has; over no axes, `x` itself.
///
/// Added in runs of at most 256 in the tensor's own type, the runs in `f64`, in an order that
/// the shape fixes. Reads x once and writes the sums; the derivative writes each sum's gradient
/// to its terms. Workspace: at most an eighth of x's bytes, where the sums are so few that their
/// terms are shared out among tasks.
///
/// # Errors
/// If x is neither `f32` nor `f64`, or an axis is missing or named twice.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// assert_eq!(taper_kernels::sum_axes(&x, &[0])?.to_vec1::<f32>()?, [4., 6.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn sum_axes(x: &Tensor, axes: &[usize]) -> Result<Tensor> {
    require_float(OP, "x", x)?;
    let mut summed = vec![false; x.rank()];
    for &axis in axes {
        match summed.get_mut(axis) {
            Some(seen) if !*seen => *seen = true,
            _ => {
                return Err(value_error(
                    OP,
                    "axes",
                    format!("{axes:?}"),
                    format!("different axes below {}", x.rank()),
                ));
            }
        }
    }
    let x = copy_strided(x)?;
    if axes.is_empty() {
        return Ok(x);
    }
    x.apply_op1(SumAxes { summed })
}

struct SumAxes {
    /// Whether an axis is summed over.
    summed: Vec<bool>,
}

impl SumAxes {
    /// The shape of the sums.
    fn output(&self, layout: &Layout) -> Shape {
        let axes = layout.dims().iter().zip(&self.summed);
        let kept: Vec<usize> = axes
            .filter(|(_, summed)| !**summed)
            .map(|(&length, _)| length)
            .collect();
        Shape::from(kept)
    }

    fn forward<T: Element>(&self, storage: &CpuStorage, layout: &Layout) -> Result<CpuStorage> {
        let x = slice::<T>(OP, storage, layout)?;
        Ok(T::to_cpu_storage_owned(cpu::sum(
            x,
            layout.dims(),
            &self.summed,
        )))
    }
}

impl CustomOp1 for SumAxes {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let sums = match storage.dtype() {
            DType::F32 => self.forward::<f32>(storage, layout)?,
            DType::F64 => self.forward::<f64>(storage, layout)?,
            other => return Err(unsupported(OP, "x", other)),
        };
        Ok((sums, self.output(layout)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let x = crate::cuda::View::of(OP, "x", storage, layout)?;
        let sums = cuda::sum(storage.device(), x, layout.dims(), &self.summed)?;
        Ok((sums, self.output(layout)))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let dims: Vec<usize> = x
            .dims()
            .iter()
            .zip(&self.summed)
            .map(|(&length, &summed)| if summed { 1 } else { length })
            .collect();
        let gradient = gradient.reshape(dims)?.broadcast_as(x.shape())?;
        detached_copy(&gradient).map(Some)
    }
}
