//! The feature loss of NORM (Liu et al. 2023, arXiv:2305.13803): every slice of the student against the teacher.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;

#[cfg(feature = "cuda")]
use crate::cuda::{View, tensor};
use crate::element::Element;
use crate::operand::{
    require_dtype, require_float, shape_error, slice, unsupported, value_error, with_slice,
};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor};
use std::sync::OnceLock;
#[cfg(feature = "cuda")]
use std::sync::atomic::{AtomicBool, Ordering};

const OP: &str = "segment_match";

/// `N · mean((E − tile_N(F_t))²)`, a scalar: the sum over the N slices of E of their mean squared distance from the teacher.
///
/// * `expanded` E: `[batch, slices · channels, height, width]`, channel j of every slice matched to channel j of
/// * `teacher` F_t: `[batch, channels, height, width]`
///
/// The teacher is never tiled: each piece of it is read once and compared with all
/// slices while it lies in the nearest cache. Squares are added in runs of 8 a vector
/// lane, the runs and pieces in `f64`; both are fixed by the shape.
/// Where E is tracked the same pass writes its gradient
/// `2 / (batch · channels · height · width) · (E_i − F_t)`; where the teacher is tracked
/// its gradient is minus the sum of those over the slices.
///
/// # Errors
/// If `slices` is 0, or a shape or type does not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let expanded = Tensor::new(&[1f32, 3.], &Device::Cpu)?.reshape((1, 2, 1, 1))?;
/// let teacher = Tensor::new(&[1f32], &Device::Cpu)?.reshape((1, 1, 1, 1))?;
/// assert_eq!(taper_kernels::segment_match(&expanded, &teacher, 2)?.to_scalar::<f32>()?, 4.0);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn segment_match(expanded: &Tensor, teacher: &Tensor, slices: usize) -> Result<Tensor> {
    require_float(OP, "expanded", expanded)?;
    require_dtype(OP, "teacher", teacher, expanded.dtype())?;
    if slices == 0 {
        return Err(value_error(OP, "slices", slices, "at least 1"));
    }
    let [batch, channels, height, width] = *teacher.dims() else {
        return Err(shape_error(
            OP,
            "teacher",
            teacher,
            "[batch, channels, height, width]",
        ));
    };
    if expanded.dims() != [batch, slices * channels, height, width] {
        let expected = [batch, slices * channels, height, width];
        return Err(shape_error(
            OP,
            "expanded",
            expanded,
            format!("{expected:?} ({slices} slices of the teacher's {channels} channels)"),
        ));
    }
    let shape = Segments {
        batch,
        slices,
        image: channels * height * width,
    };
    let op = SegmentMatch::new(shape, expanded.track_op(), teacher.track_op());
    expanded.contiguous()?.apply_op2(&teacher.contiguous()?, op)
}

/// A teacher of `batch · image` elements, an E of `slices` times as many.
#[derive(Clone, Copy)]
struct Segments {
    batch: usize,
    slices: usize,
    image: usize,
}

struct SegmentMatch {
    shape: Segments,
    /// The gradients of the loss, where a backward pass may ask.
    of_expanded: Option<OnceLock<Tensor>>,
    of_teacher: Option<OnceLock<Tensor>>,
    /// Whether a backward pass on a GPU has taken them, to change in place.
    #[cfg(feature = "cuda")]
    handed_out: AtomicBool,
}

impl SegmentMatch {
    fn new(shape: Segments, of_expanded: bool, of_teacher: bool) -> Self {
        Self {
            shape,
            of_expanded: of_expanded.then(OnceLock::new),
            of_teacher: of_teacher.then(OnceLock::new),
            #[cfg(feature = "cuda")]
            handed_out: AtomicBool::new(false),
        }
    }

    fn forward<T: Element>(
        &self,
        expanded: (&CpuStorage, &Layout),
        teacher: (&CpuStorage, &Layout),
    ) -> Result<CpuStorage> {
        let found = cpu::forward(
            slice::<T>(OP, expanded.0, expanded.1)?,
            slice::<T>(OP, teacher.0, teacher.1)?,
            self.shape,
            self.of_expanded.is_some(),
            self.of_teacher.is_some(),
        );
        let kept = [
            (&self.of_expanded, found.of_expanded, expanded.1),
            (&self.of_teacher, found.of_teacher, teacher.1),
        ];
        for (slot, gradient, layout) in kept {
            if let (Some(slot), Some(gradient)) = (slot, gradient) {
                let gradient =
                    Tensor::from_vec(gradient, layout.shape(), &candle_core::Device::Cpu)?;
                slot.get_or_init(|| gradient);
            }
        }
        Ok(T::to_cpu_storage_owned(vec![T::from_f64(found.loss)]))
    }
}

/// The gradient kept in `slot` times `factor`.
fn scaled(slot: &Option<OnceLock<Tensor>>, factor: f64) -> Result<Option<Tensor>> {
    fn scale<T: Element>(kept: &Tensor, factor: f64) -> Result<Tensor> {
        let factor = T::from_f64(factor);
        let values = with_slice::<T, _>(OP, "gradient", kept, |kept| {
            Ok(crate::elementwise::map(kept, |value| value * factor))
        })?;
        Tensor::from_vec(values, kept.shape(), kept.device())
    }
    let Some(kept) = slot.as_ref().and_then(OnceLock::get) else {
        return Ok(None);
    };
    match kept.dtype() {
        _ if factor == 1.0 => Ok(kept.clone()),
        DType::F32 => scale::<f32>(kept, factor),
        _ => scale::<f64>(kept, factor),
    }
    .map(Some)
}

impl CustomOp2 for SegmentMatch {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        expanded: &CpuStorage,
        expanded_layout: &Layout,
        teacher: &CpuStorage,
        teacher_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let loss = match expanded.dtype() {
            DType::F32 => {
                self.forward::<f32>((expanded, expanded_layout), (teacher, teacher_layout))?
            }
            DType::F64 => {
                self.forward::<f64>((expanded, expanded_layout), (teacher, teacher_layout))?
            }
            other => return Err(unsupported(OP, "expanded", other)),
        };
        Ok((loss, Shape::from(())))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        expanded: &CudaStorage,
        expanded_layout: &Layout,
        teacher: &CudaStorage,
        teacher_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let found = cuda::forward(
            expanded.device(),
            View::of(OP, "expanded", expanded, expanded_layout)?,
            View::of(OP, "teacher", teacher, teacher_layout)?,
            self.shape,
            self.of_expanded.is_some(),
            self.of_teacher.is_some(),
        )?;
        let kept = [
            (&self.of_expanded, found.of_expanded, expanded_layout),
            (&self.of_teacher, found.of_teacher, teacher_layout),
        ];
        for (slot, gradient, layout) in kept {
            if let (Some(slot), Some(gradient)) = (slot, gradient) {
                slot.get_or_init(|| tensor(gradient, layout.shape()));
            }
        }
        Ok((found.loss, Shape::from(())))
    }

    fn bwd(
        &self,
        expanded: &Tensor,
        teacher: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        #[cfg(feature = "cuda")]
        if gradient.device().is_cuda() {
            return self.backward_on_device(expanded, teacher, gradient);
        }
        #[cfg(not(feature = "cuda"))]
        let _ = (expanded, teacher);
        let factor = gradient.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        Ok((
            scaled(&self.of_expanded, factor)?,
            scaled(&self.of_teacher, factor)?,
        ))
    }
}

#[cfg(feature = "cuda")]
impl SegmentMatch {
    /// The gradients times the loss's, which stays on the device: reading it would make the host wait.
    ///
    /// They are scaled in place, which costs nothing where the loss's gradient is 1; so the
    /// first call hands out what the forward pass wrote, and later ones write it anew.
    fn backward_on_device(
        &self,
        expanded: &Tensor,
        teacher: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let again;
        let kept = match self.handed_out.swap(true, Ordering::Relaxed) {
            false => self,
            true => {
                again = Self::new(
                    self.shape,
                    self.of_expanded.is_some(),
                    self.of_teacher.is_some(),
                );
                expanded
                    .contiguous()?
                    .apply_op2_no_bwd(&teacher.contiguous()?, &again)?;
                &again
            }
        };
        let scaled = |slot: &Option<OnceLock<Tensor>>| {
            let Some(kept) = slot.as_ref().and_then(OnceLock::get) else {
                return Ok(None);
            };
            kept.inplace_op2(gradient, &ScaleInPlace)?;
            Ok::<_, candle_core::Error>(Some(kept.clone()))
        };
        Ok((scaled(&kept.of_expanded)?, scaled(&kept.of_teacher)?))
    }
}

/// `values ← values · factor` for a factor on the same device.
#[cfg(feature = "cuda")]
struct ScaleInPlace;

#[cfg(feature = "cuda")]
impl candle_core::InplaceOp2 for ScaleInPlace {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        candle_core::bail!("{OP}: gradients on the CPU are not scaled in place")
    }

    fn cuda_fwd(
        &self,
        values: &mut CudaStorage,
        layout: &Layout,
        factor: &CudaStorage,
        factor_layout: &Layout,
    ) -> Result<()> {
        let device = values.device().clone();
        let form = (values.dtype(), layout.shape().elem_count());
        let factor = View::of(OP, "gradient", factor, factor_layout)?;
        cuda::scale_in_place(&device, values, form, factor)
    }
}
