//! Two tensors one after the other along the channels, each image weighted: the skips of a U-Net.

mod cpu;

use crate::operand::{require_dtype, require_float, shape_error, slice, unsupported};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};
use std::sync::Arc;

const OP: &str = "join_channels";

/// `[a · factors.0, b · factors.1]` along the channels, a factor an image; no factors: as they are.
///
/// * `a`: `[batch, channels, …]`
/// * `b`: `[batch, other channels, …]`, otherwise of the shape of `a`
/// * `factors`: for each image one for `a` and one for `b`
///
/// Differentiable in `a` and `b`. Reads both once and writes the result once; each gradient reads and
/// writes its own part once. On a GPU the products and the joining are Candle's.
///
/// # Errors
/// If a shape or type does not fit, or there is not a pair of factors for each image.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let a = Tensor::new(&[[1f32, 2.]], &Device::Cpu)?;
/// let b = Tensor::new(&[[3f32]], &Device::Cpu)?;
/// let y = taper_kernels::join_channels(&a, &b, Some(&[(2.0, 10.0)]))?;
/// assert_eq!(y.to_vec2::<f32>()?, [[2., 4., 30.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn join_channels(a: &Tensor, b: &Tensor, factors: Option<&[(f64, f64)]>) -> Result<Tensor> {
    require_float(OP, "a", a)?;
    require_dtype(OP, "b", b, a.dtype())?;
    let ([batch, first, spatial @ ..], [other, second, rest @ ..]) = (a.dims(), b.dims()) else {
        return Err(shape_error(OP, "a", a, "[batch, channels, …]"));
    };
    if batch != other || spatial != rest {
        let expected = format!("[{batch}, channels, {spatial:?}]");
        return Err(shape_error(OP, "b", b, expected));
    }
    if factors.is_some_and(|factors| factors.len() != *batch) {
        let expected = format!("a batch of as many images as `factors`, not {batch}");
        return Err(shape_error(OP, "a", a, expected));
    }
    if !a.device().is_cpu() {
        return composed(a, b, factors);
    }
    let plane: usize = spatial.iter().product();
    let op = Join {
        sizes: (first * plane, second * plane),
        factors: factors.map(Arc::from),
    };
    a.contiguous()?.apply_op2(&b.contiguous()?, op)
}

fn composed(a: &Tensor, b: &Tensor, factors: Option<&[(f64, f64)]>) -> Result<Tensor> {
    let Some(factors) = factors else {
        return Tensor::cat(&[a, b], 1);
    };
    let mut column = vec![1; a.rank()];
    column[0] = factors.len();
    let scaled = |x: &Tensor, factor: fn(&(f64, f64)) -> f64| {
        let factors = factors.iter().map(factor).collect::<Vec<_>>();
        let factors = Tensor::from_vec(factors, column.as_slice(), x.device())?;
        x.broadcast_mul(&factors.to_dtype(x.dtype())?)
    };
    Tensor::cat(&[scaled(a, |f| f.0)?, scaled(b, |f| f.1)?], 1)
}

#[derive(Clone)]
struct Join {
    /// Elements of an image of either.
    sizes: (usize, usize),
    factors: Option<Arc<[(f64, f64)]>>,
}

impl CustomOp2 for Join {
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
        let factors = self.factors.as_deref();
        let output = match a.dtype() {
            DType::F32 => CpuStorage::F32(cpu::join(
                slice(OP, a, a_layout)?,
                slice(OP, b, b_layout)?,
                self.sizes,
                factors,
            )),
            DType::F64 => CpuStorage::F64(cpu::join(
                slice(OP, a, a_layout)?,
                slice(OP, b, b_layout)?,
                self.sizes,
                factors,
            )),
            other => return Err(unsupported(OP, "a", other)),
        };
        let mut shape = a_layout.dims().to_vec();
        shape[1] += b_layout.dims()[1];
        Ok((output, shape.into()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let part = |of: &Tensor, second: bool| -> Result<Option<Tensor>> {
            if !of.track_op() {
                return Ok(None);
            }
            let part = Part {
                join: self.clone(),
                second,
            };
            let found = gradient.apply_op1_no_bwd(&part)?;
            Ok(Some(found.reshape(of.shape())?))
        };
        Ok((part(a, false)?, part(b, true)?))
    }
}

/// The gradient of one of the two.
struct Part {
    join: Join,
    second: bool,
}

impl CustomOp1 for Part {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, gradient: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (sizes, factors) = (self.join.sizes, self.join.factors.as_deref());
        let part = match gradient.dtype() {
            DType::F32 => {
                let gradient = slice(OP, gradient, layout)?;
                CpuStorage::F32(cpu::part(gradient, sizes, factors, self.second))
            }
            DType::F64 => {
                let gradient = slice(OP, gradient, layout)?;
                CpuStorage::F64(cpu::part(gradient, sizes, factors, self.second))
            }
            other => return Err(unsupported(OP, "gradient", other)),
        };
        let size = if self.second { sizes.1 } else { sizes.0 };
        let batch = layout.dims().first().copied().unwrap_or(0);
        Ok((part, Shape::from(batch * size)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn ramp(shape: &[usize]) -> Result<Tensor> {
        let count: usize = shape.iter().product();
        Tensor::arange(1f64, 1.0 + count as f64, &Device::Cpu)?.reshape(shape)
    }

    type Function = fn(&Tensor, &Tensor, Option<&[(f64, f64)]>) -> Result<Tensor>;

    /// Against Candle's operators, derivatives too.
    #[test]
    fn equals_the_composition() -> Result<()> {
        let (a, b) = (ramp(&[2, 3, 5, 7])?, ramp(&[2, 4, 5, 7])?);
        let weight = ramp(&[2, 7, 5, 7])?;
        let flat = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f64>();
        for factors in [None, Some(&[(0.5, 1.5), (1.25, 0.75)][..])] {
            let run = |join: Function| {
                let (a, b) = (Var::from_tensor(&a)?, Var::from_tensor(&b)?);
                let y = join(&a, &b, factors)?;
                let gradients = (&y * &weight)?.sum_all()?.backward()?;
                let of = |var: &Var| flat(gradients.get(var).unwrap());
                Ok::<_, candle_core::Error>((flat(&y)?, of(&a)?, of(&b)?))
            };
            assert_eq!(run(join_channels)?, run(composed)?);
        }
        assert!(join_channels(&a, &b.narrow(2, 0, 4)?, None).is_err());
        assert!(join_channels(&a, &b, Some(&[(1.0, 1.0)])).is_err());
        Ok(())
    }
}
