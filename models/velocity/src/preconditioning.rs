//! From a network on scaled input to a denoiser: EDM's, the variance-preserving and the variance-exploding form.

use crate::check::check_times;
use crate::{Dropout, VelocityNetwork};
use candle_core::{Device, Result, Tensor, bail};
use serde::{Deserialize, Serialize};

/// Extent and start of the variance-preserving schedule of noise, β_d and β_min (arXiv:2206.00364, table 1).
const BETA_EXTENT: f64 = 19.9;
const BETA_MIN: f64 = 0.1;
/// Last of the steps that variance-preserving networks were trained with, M − 1 (there).
const LAST_STEP: f64 = 999.0;

/// How the denoiser D is made of the network F (arXiv:2206.00364, equation 7 and table 1):
/// D(x; σ) = c_skip·x + c_out·F(c_in·x, c_noise).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Preconditioning {
    /// EDM's, for data of standard deviation `sigma_data` (0.5 in all published files).
    Edm {
        /// Standard deviation of the data.
        sigma_data: f64,
    },
    /// For networks trained with preserved variance.
    VariancePreserving,
    /// For networks trained with exploding variance.
    VarianceExploding,
}

/// c_skip, c_out, c_in and c_noise of one σ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficients {
    /// Factor of x in the answer.
    pub skip: f64,
    /// Factor of the network's answer.
    pub output: f64,
    /// Factor of x before the network.
    pub input: f64,
    /// What the network reads as its time.
    pub noise: f64,
}

impl Preconditioning {
    /// EDM's own, σ_data = ½.
    pub const EDM: Self = Self::Edm { sigma_data: 0.5 };

    /// The factors at noise level `sigma`, above 0.
    pub fn coefficients(self, sigma: f64) -> Coefficients {
        let square = sigma * sigma;
        match self {
            Self::Edm { sigma_data } => {
                let variance = square + sigma_data * sigma_data;
                Coefficients {
                    skip: sigma_data * sigma_data / variance,
                    output: sigma * sigma_data / variance.sqrt(),
                    input: 1.0 / variance.sqrt(),
                    noise: sigma.ln() / 4.0,
                }
            }
            Self::VariancePreserving => {
                let root = (BETA_MIN * BETA_MIN + 2.0 * BETA_EXTENT * square.ln_1p()).sqrt();
                Coefficients {
                    skip: 1.0,
                    output: -sigma,
                    input: 1.0 / (square + 1.0).sqrt(),
                    noise: LAST_STEP * (root - BETA_MIN) / BETA_EXTENT,
                }
            }
            Self::VarianceExploding => Coefficients {
                skip: 1.0,
                output: sigma,
                input: 1.0,
                noise: (0.5 * sigma).ln(),
            },
        }
    }

    /// The denoised image D(x; σ), of the shape of x.
    ///
    /// * `x`: `[batch, channels, height, width]`, image plus σ times standard normal noise
    /// * `sigma`: `[batch]`, noise levels above 0
    /// * `class`: as the network's
    ///
    /// # Errors
    /// As the network's; a noise level that is not above 0.
    pub fn denoise(
        self,
        network: &dyn VelocityNetwork,
        x: &Tensor,
        sigma: &Tensor,
        class: Option<&Tensor>,
    ) -> Result<Tensor> {
        let sigmas = check_times(sigma, x)?;
        if let Some(bad) = sigmas.iter().find(|&&sigma| sigma.is_nan() || sigma <= 0.0) {
            bail!("sigma: found {bad}, a noise level is above 0");
        }
        let coefficients: Vec<_> = sigmas.iter().map(|&s| self.coefficients(s)).collect();
        let mut column = vec![1; x.rank()];
        column[0] = sigmas.len();
        let factors = |factor: fn(&Coefficients) -> f64| {
            let factors: Vec<f64> = coefficients.iter().map(factor).collect();
            Tensor::from_vec(factors, column.as_slice(), x.device())?.to_dtype(x.dtype())
        };
        let noise: Vec<f64> = coefficients.iter().map(|c| c.noise).collect();
        let noise = Tensor::from_vec(noise, sigmas.len(), &Device::Cpu)?;
        let scaled = x.broadcast_mul(&factors(|c| c.input)?)?;
        let answers = network.forward(&scaled, &noise, class, Dropout::Off)?;
        let Some(answer) = answers.first() else {
            bail!("the network has no heads");
        };
        x.broadcast_mul(&factors(|c| c.skip)?)? + answer.broadcast_mul(&factors(|c| c.output)?)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where D must be the identity and where the network alone: limits of equation 7.
    #[test]
    fn limits() {
        let quiet = Preconditioning::EDM.coefficients(1e-9);
        assert!((quiet.skip - 1.0).abs() < 1e-12 && quiet.output < 1e-8);
        let loud = Preconditioning::EDM.coefficients(1e6);
        assert!(loud.skip < 1e-12 && (loud.output - 0.5).abs() < 1e-9);
        // Input and target of unit variance: c_in² (σ² + σ_data²) = 1.
        let middle = Preconditioning::EDM.coefficients(0.5);
        assert!((middle.input.powi(2) * 0.5 - 1.0).abs() < 1e-12);
        // σ(t)² = exp(9.95 t² + 0.1 t) − 1, inverted.
        let t: f64 = 0.3;
        let sigma = (9.95 * t * t + 0.1 * t).exp_m1().sqrt();
        let preserving = Preconditioning::VariancePreserving.coefficients(sigma);
        assert!((preserving.noise - 999.0 * t).abs() < 1e-9);
        assert_eq!(
            Preconditioning::VarianceExploding.coefficients(2.0).noise,
            0.0
        );
    }
}
