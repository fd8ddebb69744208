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
    let kept = slot.and_then(OnceLock::get);
    kept.map(|kept| times(op, kept, upstream)).transpose()
}

/// A `kept` gradient times the scalar that arrives from behind.
pub(crate) fn times(op: &'static str, kept: &Tensor, upstream: &Tensor) -> Result<Tensor> {
    fn scale<T: Element>(op: &'static str, kept: &Tensor, factor: f64) -> Result<Tensor> {
        let factor = T::from_f64(factor);
        let values = with_slice::<T, _>(op, "gradient", kept, |kept| {
            Ok(crate::elementwise::map(kept, |value| value * factor))
        })?;
        Tensor::from_vec(values, kept.shape(), kept.device())
    }
    if kept.device().is_cuda() {
        // Reading the factor would make the host wait for the device.
        return kept.broadcast_mul(upstream);
    }
    let factor = upstream.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    match kept.dtype() {
        _ if factor == 1.0 => Ok(kept.clone()),
        DType::F32 => scale::<f32>(op, kept, factor),
        _ => scale::<f64>(op, kept, factor),
    }
}
