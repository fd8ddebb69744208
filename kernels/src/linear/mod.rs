//! The affine map of the last dimension.

mod cpu;

use crate::element::Element;
use crate::operand::{
    require_dtype, require_float, require_shape, shape_error, slice, unsupported, with_slice,
};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor};

const OP: &str = "linear";

/// `x · weightᵀ + bias`: `[batch, in]` → `[batch, out]`.
///
/// `weight` is `[out, in]` and `bias` `[out]`, as PyTorch keeps them. The product is
/// Candle's, which is right and fast; the bias and its derivative are one pass each.
///
/// # Errors
/// If a shape or type does not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f32, 2.]], &Device::Cpu)?;
/// let weight = Tensor::new(&[[3f32, 4.], [0., 1.]], &Device::Cpu)?;
/// let bias = Tensor::new(&[10f32, 20.], &Device::Cpu)?;
/// assert_eq!(taper_kernels::linear(&x, &weight, Some(&bias))?.to_vec2::<f32>()?, [[21., 22.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    require_float(OP, "x", x)?;
    let [_, inputs] = *x.dims() else {
        return Err(shape_error(OP, "x", x, "[batch, in]"));
    };
    require_dtype(OP, "weight", weight, x.dtype())?;
    let outputs = match *weight.dims() {
        [outputs, columns] if columns == inputs => outputs,
        _ => {
            return Err(shape_error(
                OP,
                "weight",
                weight,
                format!("[out, {inputs}]"),
            ));
        }
    };
    let product = x.matmul(&weight.t()?)?;
    let Some(bias) = bias else { return Ok(product) };
    require_dtype(OP, "bias", bias, x.dtype())?;
    require_shape(OP, "bias", bias, &[outputs])?;
    product.apply_op2(&bias.contiguous()?, AddBias)
}

/// `[batch, out] + [out]`; Candle's own sum over the batch is slow.
struct AddBias;

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let output = match x.dtype() {
            DType::F32 => CpuStorage::F32(cpu::add_bias(
                slice(OP, x, x_layout)?,
                slice(OP, bias, bias_layout)?,
            )),
            DType::F64 => CpuStorage::F64(cpu::add_bias(
                slice(OP, x, x_layout)?,
                slice(OP, bias, bias_layout)?,
            )),
            other => return Err(unsupported(OP, "x", other)),
        };
        Ok((output, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        fn sums<T: Element>(bias: &Tensor, gradient: &Tensor) -> Result<Tensor> {
            let sums = with_slice::<T, _>(OP, "gradient", gradient, |gradient| {
                Ok(cpu::column_sums(gradient, bias.elem_count()))
            })?;
            Tensor::from_vec(sums, bias.shape(), bias.device())
        }
        let of_bias = match bias.dtype() {
            _ if !bias.track_op() => None,
            DType::F32 => Some(sums::<f32>(bias, gradient)?),
            _ => Some(sums::<f64>(bias, gradient)?),
        };
        Ok((x.track_op().then(|| gradient.clone()), of_bias))
    }
}
