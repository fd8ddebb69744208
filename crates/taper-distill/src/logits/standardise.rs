//! Logit standardisation, `ẑ = c (z - mean z) / √(var z + 1e-7)` over the classes.
//!
//! NORM's official code applies it to student and teacher logits before every logit loss
//! (method card, section 5); it does not change the arg-max, but calibrated probabilities of a
//! network trained so are `softmax(c · standardise(z))`.

use candle_core::{D, Result, Tensor};

/// The scale c of NORM's code, `-c/--ceta`.
pub const STANDARDISED_SCALE: f64 = 2.5;
/// Keeps constant logits finite (NORM's code).
const EPS: f64 = 1e-7;

/// `[batch, classes]` → the same, each row of mean 0 and (biased) deviation `scale`.
pub fn standardise(logits: &Tensor, scale: f64) -> Result<Tensor> {
    let centred = logits.broadcast_sub(&logits.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let deviation = (variance + EPS)?.sqrt()?;
    centred.broadcast_div(&deviation)? * scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Var};
    use taper_kernels::testing::check_gradient;

    #[test]
    fn mean_and_deviation() -> Result<()> {
        let z = Tensor::new(&[[1f64, 4., -2., 9.]], &Device::Cpu)?;
        let row = standardise(&z, 2.5)?.to_vec2::<f64>()?.remove(0);
        let mean = row.iter().sum::<f64>() / 4.;
        let variance = row.iter().map(|v| v * v).sum::<f64>() / 4.;
        assert!(mean.abs() < 1e-12 && (variance.sqrt() - 2.5).abs() < 1e-6);
        let constant = Tensor::ones((1, 4), DType::F64, &Device::Cpu)?;
        assert_eq!(standardise(&constant, 2.5)?.to_vec2::<f64>()?, [[0.; 4]]);
        Ok(())
    }

    #[test]
    fn gradient() -> Result<()> {
        let z = Var::new(&[[1f64, 4., -2., 9.], [0.3, -0.2, 0.1, 0.9]], &Device::Cpu)?;
        let weight = Tensor::new(&[[1f64, -2., 0.5, 3.], [0.2, 1., -1., 2.]], &Device::Cpu)?;
        check_gradient(&z, 1e-6, || (standardise(&z, 2.5)? * &weight)?.sum_all())
    }
}
