//! Overlapping frames of an axis, and their sum.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;

use crate::copy_strided::{copy_strided, detached_copy};
use crate::element::Element;
use crate::gather::walk::require_axis;
use crate::operand::{require_float, slice, unsupported, value_error};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};

const OP: &str = "unfold";

/// Frames of `size` neighbours along `axis`, one every `step`: that axis counts the frames, a new last axis holds them.
///
/// `y[…, f, …, s] = x[…, f · step + s, …]` with `⌊(length − size) / step⌋ + 1` frames, as
/// `torch.Tensor.unfold`; frames may overlap, as those of a short-time Fourier transform do.
/// `[batch, samples]` → `[batch, frames, size]`. Writes every frame once; the derivative adds the
/// frames back where they overlap, in their order, and reads and writes each element once.
///
/// # Errors
/// If x is neither `f32` nor `f64`, has no such axis, `size` or `step` is 0, or x is shorter than a frame.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[1f32, 2., 3., 4.], &Device::Cpu)?;
/// assert_eq!(taper_kernels::unfold(&x, 0, 2, 1)?.to_vec2::<f32>()?, [[1., 2.], [2., 3.], [3., 4.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn unfold(x: &Tensor, axis: usize, size: usize, step: usize) -> Result<Tensor> {
    require_float(OP, "x", x)?;
    require_axis(OP, x, axis)?;
    let length = x.dims()[axis];
    if size == 0 || size > length {
        let expected = format!("from 1 to {length}, the length of axis {axis}");
        return Err(value_error(OP, "size", size, expected));
    }
    if step == 0 {
        return Err(value_error(OP, "step", step, "at least 1"));
    }
    let frames = Frames {
        axis,
        length,
        size,
        step,
    };
    copy_strided(x)?.apply_op1(frames)
}

#[derive(Clone, Copy)]
struct Frames {
    axis: usize,
    /// The length of x along the axis.
    length: usize,
    size: usize,
    step: usize,
}

impl Frames {
    fn count(&self) -> usize {
        (self.length - self.size) / self.step + 1
    }

    /// Frames are a view of what they are cut from.
    fn view(&self, layout: &Layout) -> Layout {
        let (mut dims, mut strides) = (layout.dims().to_vec(), layout.stride().to_vec());
        dims.push(self.size);
        strides.push(strides[self.axis]);
        dims[self.axis] = self.count();
        strides[self.axis] *= self.step;
        Layout::new(Shape::from(dims), strides, layout.start_offset())
    }
}

impl CustomOp1 for Frames {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        use crate::copy_strided::cpu::copy;
        let view = self.view(layout);
        let frames = match storage {
            CpuStorage::F32(values) => CpuStorage::F32(copy(values, &view)),
            CpuStorage::F64(values) => CpuStorage::F64(copy(values, &view)),
            other => return Err(unsupported(OP, "x", other.dtype())),
        };
        Ok((frames, view.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        use crate::copy_strided::cuda::copy;
        let view = self.view(layout);
        let source = crate::cuda::View::strided(storage, &view);
        let frames = copy(storage.device(), source, view.dims(), view.stride())?;
        Ok((frames, view.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        // The frames' axis beside their elements': lines of frames, one after another.
        let last = x.rank() - 1;
        let moved = |tensor: &Tensor, from: usize, to: usize| {
            let mut axes: Vec<usize> = (0..tensor.rank()).collect();
            let axis = axes.remove(from);
            axes.insert(to, axis);
            tensor.permute(axes)
        };
        let lines = detached_copy(&moved(gradient, self.axis, last)?)?;
        let folded = lines.apply_op1_no_bwd(&Fold(*self))?;
        detached_copy(&moved(&folded, last, self.axis)?).map(Some)
    }
}

/// `[…, frames, size]` → `[…, length]`: frames added where they overlap.
struct Fold(Frames);

impl Fold {
    /// The shape of the lines.
    fn output(&self, layout: &Layout) -> Shape {
        let mut dims = layout.dims().to_vec();
        dims.truncate(dims.len() - 2);
        dims.push(self.0.length);
        Shape::from(dims)
    }

    fn run<T: Element>(&self, storage: &CpuStorage, layout: &Layout) -> Result<CpuStorage> {
        let frames = slice::<T>(OP, storage, layout)?;
        Ok(T::to_cpu_storage_owned(cpu::fold(frames, &self.0)))
    }
}

impl CustomOp1 for Fold {
    fn name(&self) -> &'static str {
        "unfold_gradient"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let folded = match storage.dtype() {
            DType::F32 => self.run::<f32>(storage, layout)?,
            DType::F64 => self.run::<f64>(storage, layout)?,
            other => return Err(unsupported(OP, "gradient", other)),
        };
        Ok((folded, self.output(layout)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let frames = crate::cuda::View::of(OP, "gradient", storage, layout)?;
        let folded = cuda::fold(storage.device(), frames, &self.0)?;
        Ok((folded, self.output(layout)))
    }
}
