//! Gradient clipping by the global norm.

use candle_core::{Result, Tensor};
use std::collections::BTreeMap;

/// PyTorch's guard against division by zero in `clip_grad_norm_`.
const GUARD: f64 = 1e-6;

/// Euclidean norm over all gradients together, summed in the order of names.
///
/// # Errors
/// If a gradient is not `f32` or `f64`.
pub fn global_norm(gradients: &BTreeMap<&str, Tensor>) -> Result<f64> {
    let squares = gradients.values().map(taper_kernels::squared_norm);
    Ok(squares.sum::<Result<f64>>()?.sqrt())
}

/// Scales all gradients by `limit / (norm + 1e-6)` where that is below 1, as
/// `torch.nn.utils.clip_grad_norm_` does, and returns the norm before.
///
/// # Errors
/// As [`global_norm`].
pub fn clip_global_norm(gradients: &mut BTreeMap<&str, Tensor>, limit: f64) -> Result<f64> {
    let norm = global_norm(gradients)?;
    let factor = limit / (norm + GUARD);
    if factor < 1.0 {
        for gradient in gradients.values_mut() {
            *gradient = gradient.affine(factor, 0.0)?;
        }
    }
    Ok(norm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn long_gradients_are_shortened_and_short_ones_kept() -> Result<()> {
        let make = || -> Result<BTreeMap<&str, Tensor>> {
            let a = Tensor::new(&[3f32, 0.0], &Device::Cpu)?;
            let b = Tensor::new(&[[0f32], [4.0]], &Device::Cpu)?;
            Ok(BTreeMap::from([("a", a), ("b", b)]))
        };
        let mut gradients = make()?;
        assert_eq!(clip_global_norm(&mut gradients, 1.0)?, 5.0);
        // torch.nn.utils.clip_grad_norm_ gives 0.5999999.
        let a = gradients["a"].to_vec1::<f32>()?[0];
        assert!((a - 0.599_999_9).abs() < 1e-7, "{a}");
        assert!((global_norm(&gradients)? - 1.0).abs() < 1e-6);
        let mut gradients = make()?;
        clip_global_norm(&mut gradients, 6.0)?;
        assert_eq!(gradients["b"].to_vec2::<f32>()?, [[0.0], [4.0]]);
        Ok(())
    }
}
