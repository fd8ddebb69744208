//! Gradients that a forward pass has written already.

use crate::element::Element;
use crate::operand::with_slice;
use candle_core::{DType, Result, Tensor};
use std::sync::OnceLock;

/// The gradient kept in `slot` times the scalar that arrives from behind; none if there is none.
pub(crate) fn scaled(
    op: &'static str,
    slot: Option<&OnceLock<Tensor>>,
    upstream: &Tensor,
) -> Result<Option<Tensor>> {
    fn scale<T: Element>(op: &'static str, kept: &Tensor, factor: f64) -> Result<Tensor> {
        let factor = T::from_f64(factor);
        let values = with_slice::<T, _>(op, "gradient", kept, |kept| {
            Ok(crate::elementwise::map(kept, |value| value * factor))
        })?;
        Tensor::from_vec(values, kept.shape(), kept.device())
    }
    let Some(kept) = slot.and_then(OnceLock::get) else {
        return Ok(None);
    };
    if kept.device().is_cuda() {
        // Reading the factor would make the host wait for the device.
        return kept.broadcast_mul(upstream).map(Some);
    }
    let factor = upstream.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    match kept.dtype() {
        _ if factor == 1.0 => Ok(kept.clone()),
        DType::F32 if kept.device().is_cpu() => scale::<f32>(op, kept, factor),
        DType::F64 if kept.device().is_cpu() => scale::<f64>(op, kept, factor),
        _ => kept.affine(factor, 0.0),
    }
    .map(Some)
}
