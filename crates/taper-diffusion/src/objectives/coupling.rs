//! Which noise belongs to which data: independent, or learnt by an encoder (arXiv:2301.12003; method card, section 3).

use crate::error::{DiffusionError, Result};
use crate::noise::{normal_like, scalars_like};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use taper_kernels::random::Random;
use taper_velocity::{Dropout, VelocityConfig, VelocityNetwork};

/// λ of every published command: weight of the KL term.
pub const PRIOR_WEIGHT: f64 = 20.0;
/// Parameters of the encoder lie under this name, as in the published files.
pub const ENCODER: &str = "encoder";

/// A learnt coupling: z = μ + n exp(logvar / 2) with (μ, logvar) = E(x, 1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CouplingConfig {
    /// λ.
    #[serde(default = "prior_weight")]
    pub weight: f64,
    /// E: a network with twice as many output channels as input channels.
    pub encoder: VelocityConfig,
}

fn prior_weight() -> f64 {
    PRIOR_WEIGHT
}

impl CouplingConfig {
    /// Checks the weight.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`].
    pub fn validate(&self) -> Result<()> {
        if self.weight.is_finite() && self.weight >= 0.0 {
            return Ok(());
        }
        Err(DiffusionError::setting(
            "coupling.weight",
            self.weight,
            "a number not below 0",
        ))
    }
}

/// Noise, and what it costs to be unlike N(0, I).
#[derive(Debug, Clone)]
pub struct Coupled {
    /// z, `[batch, …]` like the data; carries a gradient where it is learnt.
    pub z: Tensor,
    /// KL, a scalar, where the coupling is learnt.
    pub prior: Option<Tensor>,
}

/// Noise for `x`: independent without an encoder.
///
/// # Errors
/// What the encoder reports, or an answer that is not twice as wide as x.
pub fn draw(
    encoder: Option<&dyn VelocityNetwork>,
    x: &Tensor,
    random: &mut Random,
) -> candle_core::Result<Coupled> {
    let noise = normal_like(x, random)?;
    let Some(encoder) = encoder else {
        return Ok(Coupled {
            z: noise,
            prior: None,
        });
    };
    let t = scalars_like(x, &vec![1.0; x.dim(0)?])?;
    let answer = encoder.forward(x, &t, None, Dropout::On(random))?;
    let [answer] = &answer[..] else {
        candle_core::bail!(
            "the coupling's encoder has {} heads, expected 1",
            answer.len()
        );
    };
    let channels = x.dim(1)?;
    if answer.dim(1)? != 2 * channels {
        candle_core::bail!(
            "the coupling's encoder gives {} channels, expected {} (mean and log-variance of {channels})",
            answer.dim(1)?,
            2 * channels
        );
    }
    let mean = answer.narrow(1, 0, channels)?;
    let log_variance = answer.narrow(1, channels, channels)?;
    let deviation = (&log_variance * 0.5)?.exp()?;
    let z = (&mean + (noise * deviation)?)?.contiguous()?;
    Ok(Coupled {
        z,
        prior: Some(kl(&mean, &log_variance)?),
    })
}

/// KL of N(μ, e^logvar) from N(0, 1): ½ mean(μ² + e^logvar − 1 − logvar), a scalar.
///
/// # Errors
/// If shapes differ.
pub fn kl(mean: &Tensor, log_variance: &Tensor) -> candle_core::Result<Tensor> {
    let excess = ((log_variance.exp()? - log_variance)? - 1.0)?;
    (mean.sqr()? + excess)?.mean_all()? * 0.5
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use taper_kernels::random::stream;
    use taper_layers::ParameterStore;
    use taper_velocity::MlpConfig;

    /// Method card, section 13.5.
    #[test]
    fn kl_of_the_standard_normal_is_zero() {
        let zero = Tensor::zeros((4, 2), DType::F64, &Device::Cpu).unwrap();
        assert_eq!(kl(&zero, &zero).unwrap().to_scalar::<f64>().unwrap(), 0.0);
        // N(2, e): ½ (4 + e − 1 − 1).
        let (mean, log) = ((&zero + 2.0).unwrap(), (&zero + 1.0).unwrap());
        let found = kl(&mean, &log).unwrap().to_scalar::<f64>().unwrap();
        assert!((found - 0.5 * (2.0 + 1f64.exp())).abs() < 1e-12, "{found}");
    }

    #[test]
    fn a_new_encoder_gives_standard_noise_and_learns() {
        let store = ParameterStore::new(0, &Device::Cpu);
        let config = VelocityConfig::Mlp(MlpConfig::coupling_2d());
        let encoder = config.build(store.var_builder(DType::F32)).unwrap();
        let x = Tensor::ones((512, 2), DType::F32, &Device::Cpu).unwrap();
        let drawn = draw(Some(&*encoder), &x, &mut stream(0, "test", 0)).unwrap();
        let alone = draw(None, &x, &mut stream(0, "test", 0)).unwrap();
        let difference = (&drawn.z - &alone.z).unwrap().abs().unwrap();
        let difference = difference.max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(difference < 1e-3, "{difference}");
        let prior = drawn.prior.unwrap();
        assert!(prior.to_scalar::<f32>().unwrap() < 1e-6);
        // Both the noise and the prior reach every parameter.
        let sum = (drawn.z.sqr().unwrap().mean_all().unwrap() + prior).unwrap();
        let gradients = sum.backward().unwrap();
        for (name, var) in store.parameters() {
            let gradient = gradients.get(&var).unwrap_or_else(|| panic!("{name}"));
            let size = gradient.abs().unwrap().max_all().unwrap();
            assert!(size.to_scalar::<f32>().unwrap() > 0.0, "{name}");
        }
    }
}
