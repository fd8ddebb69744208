//! The scaled sum of two tensors: the residual sum of diffusion networks.

use crate::element::Element;
use crate::elementwise::{map, zip};
use crate::operand::{require_dtype, require_float, require_shape, slice, unsupported};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};

const OP: &str = "add_scaled";

/// `(a + b) · scale` for every element, in one pass; `a` and `b` of one shape.
///
/// Differentiable in both; their gradient is one pass over the result's. On a GPU the sum and the
/// product are Candle's.
///
/// # Errors
/// If the shapes or types differ, or the type is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let a = Tensor::new(&[1f32, 2.], &Device::Cpu)?;
/// let b = Tensor::new(&[3f32, -2.], &Device::Cpu)?;
/// assert_eq!(taper_kernels::add_scaled(&a, &b, 0.5)?.to_vec1::<f32>()?, [2., 0.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn add_scaled(a: &Tensor, b: &Tensor, scale: f64) -> Result<Tensor> {
    require_float(OP, "a", a)?;
    require_dtype(OP, "b", b, a.dtype())?;
    require_shape(OP, "b", b, a.dims())?;
    if !a.device().is_cpu() {
        return (a + b)? * scale;
    }
    a.contiguous()?
        .apply_op2(&b.contiguous()?, AddScaled(scale))
}

struct AddScaled(f64);

impl CustomOp2 for AddScaled {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        fn sum<T: Element>(
            (a, a_layout): (&CpuStorage, &Layout),
            (b, b_layout): (&CpuStorage, &Layout),
            scale: f64,
        ) -> Result<CpuStorage> {
            let scale = T::from_f64(scale);
            let (a, b) = (slice::<T>(OP, a, a_layout)?, slice::<T>(OP, b, b_layout)?);
            Ok(T::to_cpu_storage_owned(zip(a, b, move |a, b| {
                (a + b) * scale
            })))
        }
        let output = match a.dtype() {
            DType::F32 => sum::<f32>((a, a_layout), (b, b_layout), self.0)?,
            DType::F64 => sum::<f64>((a, a_layout), (b, b_layout), self.0)?,
            other => return Err(unsupported(OP, "a", other)),
        };
        Ok((output, a_layout.shape().clone()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = match self.0 == 1.0 {
            true => gradient.clone(),
            false => gradient.contiguous()?.apply_op1_no_bwd(&Scale(self.0))?,
        };
        // Candle adds what it is handed into a fresh tensor, so one tensor serves both.
        Ok((
            a.track_op().then(|| gradient.clone()),
            b.track_op().then_some(gradient),
        ))
    }
}

struct Scale(f64);

impl CustomOp1 for Scale {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        fn scaled<T: Element>(x: &CpuStorage, layout: &Layout, scale: f64) -> Result<CpuStorage> {
            let scale = T::from_f64(scale);
            let x = slice::<T>(OP, x, layout)?;
            Ok(T::to_cpu_storage_owned(map(x, move |x| x * scale)))
        }
        let output = match x.dtype() {
            DType::F32 => scaled::<f32>(x, layout, self.0)?,
            DType::F64 => scaled::<f64>(x, layout, self.0)?,
            other => return Err(unsupported(OP, "gradient", other)),
        };
        Ok((output, layout.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    /// A linear map: its derivative in each argument is the scale, also where both are one tensor.
    #[test]
    fn derivatives() -> Result<()> {
        let x = Var::new(&[[1f64, -2., 3.]], &Device::Cpu)?;
        let y = Var::new(&[[0.5f64, 7., -1.]], &Device::Cpu)?;
        let weight = Tensor::new(&[[2f64, 3., 4.]], &Device::Cpu)?;
        let sum = add_scaled(&x, &y, 0.25)?;
        assert_eq!(sum.to_vec2::<f64>()?, [[0.375, 1.25, 0.5]]);
        let gradients = (sum * &weight)?.sum_all()?.backward()?;
        for var in [&x, &y] {
            let gradient = gradients.get(var).unwrap().to_vec2::<f64>()?;
            assert_eq!(gradient, [[0.5, 0.75, 1.0]]);
        }
        let gradients = add_scaled(&x, &x, 1.0)?.sum_all()?.backward()?;
        assert_eq!(gradients.get(&x).unwrap().to_vec2::<f64>()?, [[2.0; 3]]);
        assert!(add_scaled(&x, &weight.narrow(1, 0, 2)?, 1.0).is_err());
        Ok(())
    }
}
