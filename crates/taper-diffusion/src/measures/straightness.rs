//! How straight a sampler's way is.

use crate::error::{DiffusionError, Result};
use candle_core::{DType, Tensor};

/// The mean of (v − (z − x_0))² over the elements and equal Euler steps from z to x_0; 0 for a straight line.
///
/// As x_0 is z less the mean velocity, it is the variance of the velocities along the way: two sums are kept.
#[derive(Debug, Clone, Default)]
pub struct Straightness {
    steps: usize,
    sum: Option<Tensor>,
    squares: f64,
}

impl Straightness {
    /// Adds the velocity of one step.
    ///
    /// # Errors
    /// If the shape differs from that of the step before.
    pub fn add(&mut self, velocity: &Tensor) -> Result<()> {
        let velocity = velocity.detach().to_dtype(DType::F64)?;
        self.squares += velocity.sqr()?.mean_all()?.to_scalar::<f64>()?;
        self.sum = Some(match self.sum.take() {
            Some(sum) => (sum + velocity)?,
            None => velocity,
        });
        self.steps += 1;
        Ok(())
    }

    /// The mean over the steps so far.
    ///
    /// # Errors
    /// If there was none.
    pub fn value(&self) -> Result<f64> {
        let Some(sum) = &self.sum else {
            return Err(DiffusionError::measure(
                "straightness",
                "no step",
                "at least one",
            ));
        };
        let count = self.steps as f64;
        let mean = (sum / count)?.sqr()?.mean_all()?.to_scalar::<f64>()?;
        Ok((self.squares / count - mean).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::sample_noise;
    use crate::samplers::{Instant, Rule, SamplerConfig, sample};

    #[test]
    fn equal_to_its_definition() {
        let z = sample_noise(0, 0..50, &[2])
            .unwrap()
            .to_dtype(DType::F64)
            .unwrap();
        let mut field = |x: &Tensor, t: &Tensor| x.sin()?.broadcast_add(&t.reshape(((), 1))?);
        let mut straightness = Straightness::default();
        assert!(straightness.value().is_err());
        let mut velocities = Vec::new();
        let mut observe = |instant: Instant<'_>| {
            velocities.push(instant.velocity.clone());
            straightness.add(instant.velocity)
        };
        let config = SamplerConfig::of(Rule::Euler, 16);
        let x = sample(&mut field, &z, &config, &mut observe).unwrap().x;
        let line = (&z - &x).unwrap();
        let mean = |v: &Tensor| {
            let square = (v - &line).unwrap().sqr().unwrap().mean_all().unwrap();
            square.to_scalar::<f64>().unwrap()
        };
        let expected = velocities.iter().map(mean).sum::<f64>() / 16.0;
        let found = straightness.value().unwrap();
        assert!(
            found > 0.01 && (found - expected).abs() < 1e-9,
            "{found} {expected}"
        );
    }
}
