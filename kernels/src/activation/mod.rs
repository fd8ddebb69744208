//! The rectifier, alone and after an addition.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;

#[cfg(feature = "cuda")]
use crate::cuda::View;
use crate::operand::{require_dtype, require_float, require_shape, slice, unsupported};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor, WithDType,
};

/// What an operator applies to its result before it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// max(x, 0), derivative 0 at 0.
    Relu,
}

/// `max(x, 0)` for every element; any shape.
///
/// As PyTorch has it: the derivative at 0 is 0, NaN stays NaN. Reads x once,
/// writes the result once; the derivative reads the result and its gradient.
///
/// # Errors
/// If x is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[-1f32, 0., 2.], &Device::Cpu)?;
/// assert_eq!(taper_kernels::relu(&x)?.to_vec1::<f32>()?, [0., 0., 2.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn relu(x: &Tensor) -> Result<Tensor> {
    require_float("relu", "x", x)?;
    x.contiguous()?.apply_op1(Relu)
}

/// `max(a + b, 0)` for every element, in one pass; `a` and `b` of one shape.
///
/// # Errors
/// If the shapes or types differ, or the type is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let a = Tensor::new(&[-1f32, 1.], &Device::Cpu)?;
/// let b = Tensor::new(&[-2f32, 2.], &Device::Cpu)?;
/// assert_eq!(taper_kernels::add_relu(&a, &b)?.to_vec1::<f32>()?, [0., 3.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn add_relu(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    require_float("add_relu", "a", a)?;
    require_dtype("add_relu", "b", b, a.dtype())?;
    require_shape("add_relu", "b", b, a.dims())?;
    a.contiguous()?.apply_op2(&b.contiguous()?, AddRelu)
}

struct Relu;

impl CustomOp1 for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let output = match storage.dtype() {
            DType::F32 => {
                f32::to_cpu_storage_owned(cpu::relu::<f32>(slice("relu", storage, layout)?))
            }
            DType::F64 => {
                f64::to_cpu_storage_owned(cpu::relu::<f64>(slice("relu", storage, layout)?))
            }
            other => return Err(unsupported("relu", "x", other)),
        };
        Ok((output, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let y = cuda::relu(storage.device(), View::of("relu", "x", storage, layout)?)?;
        Ok((y, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, output: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        masked_gradient("relu", output, gradient).map(Some)
    }
}

struct AddRelu;

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
        let output = match a.dtype() {
            DType::F32 => CpuStorage::F32(cpu::add_relu(
                slice("add_relu", a, a_layout)?,
                slice("add_relu", b, b_layout)?,
            )),
            DType::F64 => CpuStorage::F64(cpu::add_relu(
                slice("add_relu", a, a_layout)?,
                slice("add_relu", b, b_layout)?,
            )),
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
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = masked_gradient("add_relu", output, gradient)?;
        // Candle adds what it is handed into a fresh tensor, so one tensor serves both.
        Ok((
            a.track_op().then(|| gradient.clone()),
            b.track_op().then_some(gradient),
        ))
    }
}

/// The gradient where the output is positive, 0 elsewhere.
fn masked_gradient(op: &'static str, output: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    output.apply_op2_no_bwd(&gradient.contiguous()?, &MaskedGradient(op))
}

struct MaskedGradient(&'static str);

impl CustomOp2 for MaskedGradient {
    fn name(&self) -> &'static str {
        self.0
    }

    fn cpu_fwd(
        &self,
        output: &CpuStorage,
        layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let dx = match output.dtype() {
            DType::F32 => CpuStorage::F32(cpu::masked_gradient(
                slice(self.0, output, layout)?,
                slice(self.0, gradient, gradient_layout)?,
            )),
            DType::F64 => CpuStorage::F64(cpu::masked_gradient(
                slice(self.0, output, layout)?,
                slice(self.0, gradient, gradient_layout)?,
            )),
            other => return Err(unsupported(self.0, "output", other)),
        };
        Ok((dx, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        output: &CudaStorage,
        layout: &Layout,
        gradient: &CudaStorage,
        gradient_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let dx = cuda::masked_gradient(
            output.device(),
            View::of(self.0, "output", output, layout)?,
            View::of(self.0, "gradient", gradient, gradient_layout)?,
        )?;
        Ok((dx, layout.shape().clone()))
    }
}
