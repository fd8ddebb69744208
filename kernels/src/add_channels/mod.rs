//! A number added to every channel of every image: how diffusion networks are told the time.

mod cpu;

use crate::operand::{
    require_dtype, require_float, require_shape, shape_error, slice, unsupported,
};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};

const OP: &str = "add_channels";

/// `x[b, c, …] + shift[b, c]`.
///
/// * `x`: `[batch, channels, …]`
/// * `shift`: `[batch, channels]`
///
/// Differentiable in both. Reads x once and writes the result once; the gradient of x is the result's,
/// that of `shift` reads it once. On a GPU the sum is Candle's.
///
/// # Errors
/// If a shape or type does not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[[1f32, 2.], [3., 4.]]], &Device::Cpu)?;
/// let shift = Tensor::new(&[[10f32, 20.]], &Device::Cpu)?;
/// let y = taper_kernels::add_channels(&x, &shift)?;
/// assert_eq!(y.to_vec3::<f32>()?, [[[11., 12.], [23., 24.]]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn add_channels(x: &Tensor, shift: &Tensor) -> Result<Tensor> {
    require_float(OP, "x", x)?;
    let [batch, channels, ref spatial @ ..] = *x.dims() else {
        return Err(shape_error(OP, "x", x, "[batch, channels, …]"));
    };
    require_dtype(OP, "shift", shift, x.dtype())?;
    require_shape(OP, "shift", shift, &[batch, channels])?;
    if !x.device().is_cpu() {
        let mut column = vec![batch, channels];
        column.resize(x.rank(), 1);
        return x.broadcast_add(&shift.reshape(column)?);
    }
    let plane = spatial.iter().product();
    x.contiguous()?
        .apply_op2(&shift.contiguous()?, AddChannels { plane })
}

struct AddChannels {
    plane: usize,
}

impl CustomOp2 for AddChannels {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        shift: &CpuStorage,
        shift_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let output = match x.dtype() {
            DType::F32 => CpuStorage::F32(cpu::add(
                slice(OP, x, x_layout)?,
                slice(OP, shift, shift_layout)?,
                self.plane,
            )),
            DType::F64 => CpuStorage::F64(cpu::add(
                slice(OP, x, x_layout)?,
                slice(OP, shift, shift_layout)?,
                self.plane,
            )),
            other => return Err(unsupported(OP, "x", other)),
        };
        Ok((output, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        shift: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let of_shift = match shift.track_op() {
            true => {
                let sums = PlaneSums { plane: self.plane };
                let sums = gradient.contiguous()?.apply_op1_no_bwd(&sums)?;
                Some(sums.reshape(shift.shape())?)
            }
            false => None,
        };
        Ok((x.track_op().then(|| gradient.clone()), of_shift))
    }
}

/// The gradient of the shift.
struct PlaneSums {
    plane: usize,
}

impl CustomOp1 for PlaneSums {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, gradient: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let planes = layout.shape().elem_count() / self.plane.max(1);
        let sums = match gradient.dtype() {
            DType::F32 => CpuStorage::F32(cpu::sums(slice(OP, gradient, layout)?, self.plane)),
            DType::F64 => CpuStorage::F64(cpu::sums(slice(OP, gradient, layout)?, self.plane)),
            other => return Err(unsupported(OP, "gradient", other)),
        };
        Ok((sums, planes.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn derivatives() -> Result<()> {
        // 50 numbers a plane: whole lanes of a vectorised sum and a rest.
        let count = 3 * 2 * 50;
        let ramp = Tensor::arange(0f64, count as f64, &Device::Cpu)?.reshape((3, 2, 5, 10))?;
        let x = Var::from_tensor(&ramp)?;
        let shift = Var::new(&[[1f64, 2.], [3., 4.], [5., 6.]], &Device::Cpu)?;
        let y = add_channels(&x, &shift)?;
        let expected = ramp.broadcast_add(&shift.reshape((3, 2, 1, 1))?)?;
        let flat = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f64>();
        assert_eq!(flat(&y)?, flat(&expected)?);
        let gradients = (y * &ramp)?.sum_all()?.backward()?;
        assert_eq!(flat(gradients.get(&x).unwrap())?, flat(&ramp)?);
        let sums = ramp.sum((2, 3))?;
        assert_eq!(flat(gradients.get(&shift).unwrap())?, flat(&sums)?);
        assert!(add_channels(&x, &sums.t()?).is_err());
        Ok(())
    }
}
