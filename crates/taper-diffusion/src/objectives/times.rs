//! Times of training samples and the lengths of their catch-up steps (method card, section 4).

use crate::error::{DiffusionError, Result};
use crate::noise::scalars_like;
use candle_core::Tensor;
use rand::Rng;
use serde::{Deserialize, Serialize};
use taper_kernels::random::Random;

/// ε, the lowest time of continuous training (method card, section 2).
pub const TIME_FLOOR: f64 = 1e-5;
/// Rounding of k/M − j d/M that must not decide a mask.
const SLACK: f64 = 1e-12;

/// How long the step of a sample is; 1/M is the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepSize {
    /// dt = 1/M.
    Origin,
    /// dt = U(0, 1)/M, as in every published command.
    #[default]
    Uniform,
    /// dt = t/M.
    Rule,
}

impl StepSize {
    /// E\[dt\] for steps of at most 1/`reciprocal`.
    pub fn mean(self, reciprocal: usize) -> f64 {
        let longest = 1.0 / reciprocal as f64;
        match self {
            Self::Origin => longest,
            Self::Uniform | Self::Rule => longest / 2.0,
        }
    }
}

/// Time and step length of every sample of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Times {
    /// t, 0 … 1.
    pub t: Vec<f64>,
    /// dt, 0 … 1/M.
    pub dt: Vec<f64>,
    /// The lowest time at which velocities are asked for: ε, or 1/M where time is discrete.
    floor: f64,
    /// What must be left of t after all steps for the targets to count: ε, or 0 where time is discrete.
    remainder: f64,
}

impl Times {
    /// t = ε + (1 − ε) U(0, 1), and dt by `step`.
    pub fn continuous(
        count: usize,
        step: StepSize,
        reciprocal: usize,
        random: &mut Random,
    ) -> Self {
        let mut times = Self {
            t: Vec::with_capacity(count),
            dt: Vec::with_capacity(count),
            floor: TIME_FLOOR,
            remainder: TIME_FLOOR,
        };
        for _ in 0..count {
            let t = TIME_FLOOR + (1.0 - TIME_FLOOR) * random.random::<f64>();
            let share = match step {
                StepSize::Origin => 1.0,
                StepSize::Uniform => random.random(),
                StepSize::Rule => t,
            };
            times.t.push(t);
            times.dt.push(share / reciprocal as f64);
        }
        times
    }

    /// t = k/M with k uniform in 1 … M; dt = ⌊U k⌋/M for order 1 with uniform steps (it may be 0),
    /// else 1/M, as the published code has it.
    pub fn discrete(
        count: usize,
        order: usize,
        step: StepSize,
        reciprocal: usize,
        random: &mut Random,
    ) -> Self {
        let m = reciprocal as f64;
        let mut times = Self {
            t: Vec::with_capacity(count),
            dt: Vec::with_capacity(count),
            floor: 1.0 / m,
            remainder: 0.0,
        };
        for _ in 0..count {
            let k = random.random_range(1..=reciprocal);
            let steps = match (order, step) {
                (1, StepSize::Uniform) => (random.random::<f64>() * k as f64).floor(),
                _ => 1.0,
            };
            times.t.push(k as f64 / m);
            times.dt.push(steps / m);
        }
        times
    }

    /// The times of given samples.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] if the lists differ in length.
    pub fn given(t: Vec<f64>, dt: Vec<f64>) -> Result<Self> {
        if t.len() != dt.len() {
            return Err(DiffusionError::setting(
                "dt",
                format!("{} step lengths", dt.len()),
                format!("{}, one for each time", t.len()),
            ));
        }
        Ok(Self {
            t,
            dt,
            floor: TIME_FLOOR,
            remainder: TIME_FLOOR,
        })
    }

    /// t, `[batch]`, of the type that goes with `x`.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn now(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        scalars_like(x, &self.t)
    }

    /// dt, `[batch]`.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn lengths(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        scalars_like(x, &self.dt)
    }

    /// clamp(t − `steps` dt), `[batch]`: what the network is given. Where the clamp works, the mask is 0.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn after(&self, steps: f64, x: &Tensor) -> candle_core::Result<Tensor> {
        let after = |(t, dt): (&f64, &f64)| (t - steps * dt).clamp(self.floor, 1.0);
        let times: Vec<f64> = self.t.iter().zip(&self.dt).map(after).collect();
        scalars_like(x, &times)
    }

    /// m = \[t ≥ ε + n dt\], where time is discrete \[t ≥ n dt\]: whether the targets of order n count.
    pub fn mask(&self, order: usize) -> Vec<u8> {
        let enough = |(t, dt): (&f64, &f64)| t - order as f64 * dt >= self.remainder - SLACK;
        let mask = self.t.iter().zip(&self.dt).map(enough);
        mask.map(u8::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taper_kernels::random::stream;

    const DRAWS: usize = 100_000;
    const M: usize = 16;

    fn masked(times: &Times, order: usize) -> f64 {
        let zeros = times.mask(order).iter().filter(|&&m| m == 0).count();
        zeros as f64 / DRAWS as f64
    }

    /// Method card, section 13.4.
    #[test]
    fn shares_of_masked_samples() {
        for order in 1..=3 {
            for (step, expected) in [
                (StepSize::Uniform, order as f64 / 32.0),
                (StepSize::Origin, order as f64 / 16.0),
                (StepSize::Rule, 0.0),
            ] {
                let mut random = stream(1, "test", order as u64);
                let times = Times::continuous(DRAWS, step, M, &mut random);
                let sigma = (expected * (1.0 - expected) / DRAWS as f64).sqrt();
                let share = masked(&times, order);
                assert!(
                    (share - expected).abs() <= 3.0 * sigma + 4e-5,
                    "{step:?} {order}: {share}"
                );
            }
        }
    }

    #[test]
    fn discrete_times_lie_on_the_grid_and_end_at_zero() {
        for reciprocal in [16, 10] {
            for order in 1..=3 {
                let mut random = stream(2, "test", order as u64);
                let times =
                    Times::discrete(DRAWS, order, StepSize::Uniform, reciprocal, &mut random);
                let mask = times.mask(order);
                for ((t, dt), mask) in times.t.iter().zip(&times.dt).zip(&mask) {
                    let (k, d) = (t * reciprocal as f64, dt * reciprocal as f64);
                    assert!((k - k.round()).abs() < 1e-9 && (1.0..=16.0).contains(&k.round()));
                    assert!((d - d.round()).abs() < 1e-9 && d.round() <= k.round());
                    let enough = k.round() >= order as f64 * d.round();
                    assert_eq!(*mask == 1, enough);
                }
                // Samples at k < n are masked: k uniform in 1 … M.
                if order > 1 {
                    let expected = (order - 1) as f64 / reciprocal as f64;
                    let sigma = (expected * (1.0 - expected) / DRAWS as f64).sqrt();
                    assert!((masked(&times, order) - expected).abs() < 3.0 * sigma);
                } else {
                    assert_eq!(masked(&times, order), 0.0);
                    assert!(times.dt.contains(&0.0));
                }
            }
        }
    }

    #[test]
    fn steps_have_the_mean_that_the_look_ahead_rule_uses() {
        for step in [StepSize::Origin, StepSize::Uniform, StepSize::Rule] {
            let times = Times::continuous(DRAWS, step, M, &mut stream(3, "test", 0));
            let mean = times.dt.iter().sum::<f64>() / DRAWS as f64;
            assert!((mean / step.mean(M) - 1.0).abs() < 0.01, "{step:?}: {mean}");
        }
    }
}
