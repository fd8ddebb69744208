//! Candle's operators around the table: one pass each, read the operands, write the result.

#[cfg(feature = "cuda")]
use super::cuda;
use super::function::{Function, Visitor};
#[cfg(feature = "cuda")]
use crate::cuda::View;
use crate::element::{Element, positive};
use crate::elementwise::{map, zip};
use crate::operand::{slice, unsupported};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};

/// f(x).
pub(super) struct Elementwise(pub(super) Function);

/// g · f′(x), from what the function saves and g.
struct Gradient(Function);

/// max(a + b, 0).
pub(super) struct AddRelu;

pub(super) struct Values<'a, T>(pub(super) &'a [T]);

impl<T: Element> Visitor<T> for Values<'_, T> {
    fn visit(
        self,
        value: impl Fn(T) -> T + Copy + Sync,
        _: impl Fn(T, T) -> T + Copy + Sync,
    ) -> Vec<T> {
        map(self.0, value)
    }
}

pub(super) struct Gradients<'a, T>(pub(super) &'a [T], pub(super) &'a [T]);

impl<T: Element> Visitor<T> for Gradients<'_, T> {
    fn visit(
        self,
        _: impl Fn(T) -> T + Copy + Sync,
        gradient: impl Fn(T, T) -> T + Copy + Sync,
    ) -> Vec<T> {
        zip(self.0, self.1, gradient)
    }
}

impl CustomOp1 for Elementwise {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (function, name) = (self.0, self.0.name());
        let output = match x.dtype() {
            DType::F32 => CpuStorage::F32(function.visit(Values(slice(name, x, layout)?))),
            DType::F64 => CpuStorage::F64(function.visit(Values(slice(name, x, layout)?))),
            other => return Err(unsupported(name, "x", other)),
        };
        Ok((output, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let view = View::of(self.0.name(), "x", x, layout)?;
        let y = cuda::values(x.device(), self.0, view)?;
        Ok((y, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        let saved = if self.0.saves_result() { result } else { x };
        backward(self.0, saved, gradient).map(Some)
    }
}

fn backward(function: Function, saved: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    saved.apply_op2_no_bwd(&gradient.contiguous()?, &Gradient(function))
}

impl CustomOp2 for Gradient {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(
        &self,
        saved: &CpuStorage,
        saved_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (function, name) = (self.0, self.0.name());
        let dx = match saved.dtype() {
            DType::F32 => CpuStorage::F32(function.visit(Gradients(
                slice(name, saved, saved_layout)?,
                slice(name, gradient, gradient_layout)?,
            ))),
            DType::F64 => CpuStorage::F64(function.visit(Gradients(
                slice(name, saved, saved_layout)?,
                slice(name, gradient, gradient_layout)?,
            ))),
            other => return Err(unsupported(name, "x", other)),
        };
        Ok((dx, saved_layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        saved: &CudaStorage,
        saved_layout: &Layout,
        gradient: &CudaStorage,
        gradient_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let name = self.0.name();
        let dx = cuda::gradients(
            saved.device(),
            self.0,
            View::of(name, "x", saved, saved_layout)?,
            View::of(name, "gradient", gradient, gradient_layout)?,
        )?;
        Ok((dx, saved_layout.shape().clone()))
    }
}

impl CustomOp2 for AddRelu {
    fn name(&self) -> &'static str {
        "add_relu"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        fn compute<T: Element>(
            (a, a_layout): (&CpuStorage, &Layout),
            (b, b_layout): (&CpuStorage, &Layout),
        ) -> Result<CpuStorage> {
            let a = slice::<T>("add_relu", a, a_layout)?;
            let b = slice::<T>("add_relu", b, b_layout)?;
            Ok(T::to_cpu_storage_owned(zip(a, b, |a, b| positive(a + b))))
        }
        let output = match a.dtype() {
            DType::F32 => compute::<f32>((a, a_layout), (b, b_layout))?,
            DType::F64 => compute::<f64>((a, a_layout), (b, b_layout))?,
            other => return Err(unsupported("add_relu", "a", other)),
        };
        Ok((output, a_layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        a: &CudaStorage,
        a_layout: &Layout,
        b: &CudaStorage,
        b_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let y = cuda::add_relu(
            a.device(),
            View::of("add_relu", "a", a, a_layout)?,
            View::of("add_relu", "b", b, b_layout)?,
        )?;
        Ok((y, a_layout.shape().clone()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = backward(Function::Relu, result, gradient)?;
        // Candle adds what it is handed into a fresh tensor, so one tensor serves both.
        Ok((
            a.track_op().then(|| gradient.clone()),
            b.track_op().then_some(gradient),
        ))
    }
}
