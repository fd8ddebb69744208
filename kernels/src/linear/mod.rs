//! The affine map of the last dimension.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;
mod single;

#[cfg(feature = "cuda")]
use crate::cuda::View;
use crate::operand::{
    require_dtype, require_float, require_shape, shape_error, slice, unsupported,
};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};

const OP: &str = "linear";

/// `x · weightᵀ + bias`: `[batch, in]` → `[batch, out]`.
///
/// `weight` is `[out, in]` and `bias` `[out]`, as PyTorch keeps them. In f32 on a CPU the three
/// products are our own (Candle's take 2 to 4 times as long for the small matrices of a classifier)
/// and the sums do not depend on the thread count; elsewhere they are Candle's, and the bias and its
/// derivative one pass each. Moves `x`, `weight` (twice: it is packed) and the result once.
/// Workspace: the packed weight in f32 on a CPU; elsewhere the product before the bias is added.
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
    if let Some(bias) = bias {
        require_dtype(OP, "bias", bias, x.dtype())?;
        require_shape(OP, "bias", bias, &[outputs])?;
    }
    if x.dtype() == DType::F32 && x.device().is_cpu() {
        return single::apply(x, weight, bias);
    }
    let product = x.matmul(&weight.t()?)?;
    let Some(bias) = bias else { return Ok(product) };
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

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let y = cuda::add_bias(
            &x.device,
            View::of(OP, "x", x, x_layout)?,
            View::of(OP, "bias", bias, bias_layout)?,
        )?;
        Ok((y, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let of_bias = match bias.track_op() {
            true => Some(gradient.contiguous()?.apply_op1_no_bwd(&ColumnSums)?),
            false => None,
        };
        Ok((x.track_op().then(|| gradient.clone()), of_bias))
    }
}

/// The bias gradient: `[batch, out]` summed to `[out]`.
struct ColumnSums;

impl CustomOp1 for ColumnSums {
    fn name(&self) -> &'static str {
        "linear-bias-gradient"
    }

    fn cpu_fwd(&self, gradient: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, columns) = layout.shape().dims2()?;
        let sums = match gradient.dtype() {
            DType::F32 => CpuStorage::F32(cpu::column_sums(slice(OP, gradient, layout)?, columns)),
            DType::F64 => CpuStorage::F64(cpu::column_sums(slice(OP, gradient, layout)?, columns)),
            other => return Err(unsupported(OP, "gradient", other)),
        };
        Ok((sums, columns.into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, gradient: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (_, columns) = layout.shape().dims2()?;
        let values = View::of(OP, "gradient", gradient, layout)?;
        let sums = cuda::column_sums(&gradient.device, values, columns)?;
        Ok((sums, columns.into()))
    }
}
