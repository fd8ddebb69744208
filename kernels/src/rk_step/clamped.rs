//! The sampler's step whose estimate of the data is clamped.

#[cfg(feature = "cuda")]
use super::cuda;
use super::{cpu, stacked, unstack};
#[cfg(feature = "cuda")]
use crate::cuda::View;
use crate::element::Element;
use crate::operand::{slice, unsupported};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor};

const OP: &str = "sampler_update";

/// Next state and, if wanted, the estimate: `[1 or 2, …]`; the third operand is the velocity before.
#[derive(Clone, Copy)]
pub(super) struct Clamped {
    pub(super) h: f64,
    pub(super) t: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) estimate: bool,
}

type Operand<'a> = (&'a CpuStorage, &'a Layout);

impl Clamped {
    fn forward(
        &self,
        x: Operand<'_>,
        v: Operand<'_>,
        previous: Option<Operand<'_>>,
    ) -> Result<(CpuStorage, Shape)> {
        fn run<T: Element>(
            op: &Clamped,
            (x, x_layout): Operand<'_>,
            (v, v_layout): Operand<'_>,
            previous: Option<Operand<'_>>,
        ) -> Result<CpuStorage> {
            let previous = previous
                .map(|(storage, layout)| slice(OP, storage, layout))
                .transpose()?;
            let (x, v) = (slice::<T>(OP, x, x_layout)?, slice(OP, v, v_layout)?);
            Ok(T::to_cpu_storage_owned(cpu::clamped(x, v, previous, op)))
        }
        let found = match x.0.dtype() {
            DType::F32 => run::<f32>(self, x, v, previous)?,
            DType::F64 => run::<f64>(self, x, v, previous)?,
            other => return Err(unsupported(OP, "x", other)),
        };
        Ok((found, stacked(1 + usize::from(self.estimate), x.1)))
    }

    /// The gradients of x and v.
    fn backward(
        &self,
        x: &Tensor,
        v: &Tensor,
        gradient: &Tensor,
        two_steps: bool,
    ) -> Result<Vec<Tensor>> {
        let op = ClampedGradient {
            step: *self,
            two_steps,
        };
        let found = gradient.contiguous()?.apply_op3_no_bwd(x, v, &op)?;
        unstack(&found, 2)
    }
}

impl CustomOp2 for Clamped {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((x, x_layout), (v, v_layout), None)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        v: &CudaStorage,
        v_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (of_x, of_v) = (
            View::of(OP, "x", x, x_layout)?,
            View::of(OP, "v", v, v_layout)?,
        );
        let next = cuda::clamped(x.device(), of_x, of_v, None, self)?;
        Ok((next, stacked(1 + usize::from(self.estimate), x_layout)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        v: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let mut found = self.backward(x, v, gradient, false)?.into_iter();
        Ok((found.next(), found.next()))
    }
}

impl CustomOp3 for Clamped {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
        previous: &CpuStorage,
        previous_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let previous = Some((previous, previous_layout));
        self.forward((x, x_layout), (v, v_layout), previous)
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        v: &CudaStorage,
        v_layout: &Layout,
        previous: &CudaStorage,
        previous_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (of_x, of_v) = (
            View::of(OP, "x", x, x_layout)?,
            View::of(OP, "v", v, v_layout)?,
        );
        let previous = View::of(OP, "previous", previous, previous_layout)?;
        let next = cuda::clamped(x.device(), of_x, of_v, Some(previous), self)?;
        Ok((next, stacked(1 + usize::from(self.estimate), x_layout)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        v: &Tensor,
        previous: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let of_previous = previous
            .track_op()
            .then(|| gradient.get(0)?.affine(0.5 * self.h, 0.0))
            .transpose()?;
        if !x.track_op() && !v.track_op() {
            return Ok((None, None, of_previous));
        }
        let mut found = self.backward(x, v, gradient, true)?.into_iter();
        Ok((found.next(), found.next(), of_previous))
    }
}

/// From the gradients of the results (first operand), x and v: dx and dv, `[2, …]`.
pub(super) struct ClampedGradient {
    pub(super) step: Clamped,
    /// Whether v enters with the factor 3/2 of the rule of two steps.
    pub(super) two_steps: bool,
}

impl ClampedGradient {
    /// How far the next state moves toward the estimate.
    pub(super) fn share(&self) -> f64 {
        let share = self.step.h / self.step.t;
        if self.two_steps { 1.5 * share } else { share }
    }
}

impl CustomOp3 for ClampedGradient {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let found = match x.dtype() {
            DType::F32 => CpuStorage::F32(cpu::clamped_gradient(
                slice(OP, gradient, gradient_layout)?,
                slice(OP, x, x_layout)?,
                slice(OP, v, v_layout)?,
                self,
            )),
            _ => CpuStorage::F64(cpu::clamped_gradient(
                slice(OP, gradient, gradient_layout)?,
                slice(OP, x, x_layout)?,
                slice(OP, v, v_layout)?,
                self,
            )),
        };
        Ok((found, stacked(2, x_layout)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        gradient: &CudaStorage,
        gradient_layout: &Layout,
        x: &CudaStorage,
        x_layout: &Layout,
        v: &CudaStorage,
        v_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let gradient = View::of(OP, "gradient", gradient, gradient_layout)?;
        let (of_x, of_v) = (
            View::of(OP, "x", x, x_layout)?,
            View::of(OP, "v", v, v_layout)?,
        );
        let found = cuda::clamped_gradients(x.device(), gradient, of_x, of_v, self)?;
        Ok((found, stacked(2, x_layout)))
    }
}
