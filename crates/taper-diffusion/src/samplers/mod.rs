//! Samplers: from noise at time 1 to data at time 0 along a velocity (method card, section 10).
//!
//! [`sample`] takes the velocity as a function, so that it serves any network, head or class.
//! Memory does not grow with the number of steps.

mod dormand_prince;
mod fixed;
#[cfg(test)]
mod tests;

use crate::error::{DiffusionError, Result};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// The velocity dx/dt of `x` `[batch, …]` at the times `t` `[batch]`, like `x`.
pub type Velocity<'a> = dyn FnMut(&Tensor, &Tensor) -> candle_core::Result<Tensor> + 'a;

/// A rule of integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Euler's, with momentum if asked for: order 1, one evaluation a step.
    #[default]
    Euler,
    /// Heun's, its last step Euler's: order 2, 2 N − 1 evaluations.
    Heun,
    /// Adams and Bashforth with two velocities, begun by Euler's rule ("dpm_solver_2" of the
    /// published code): order 2, one evaluation a step.
    Ab2,
    /// With three velocities, begun by a Heun step and one with two: order 3, N + 1 evaluations.
    /// (The published "dpm_solver_3" has a wrong sign and weight and reaches order 2.)
    Ab3,
    /// The classical rule of Runge and Kutta: order 4, four evaluations a step.
    Rk4,
    /// Dormand and Prince (1980), order 5, with a step length of its own for each sample.
    Dopri5,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Euler,
        Self::Heun,
        Self::Ab2,
        Self::Ab3,
        Self::Rk4,
        Self::Dopri5,
    ];

    /// As written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Euler => "euler",
            Self::Heun => "heun",
            Self::Ab2 => "ab2",
            Self::Ab3 => "ab3",
            Self::Rk4 => "rk4",
            Self::Dopri5 => "dopri5",
        }
    }
}

impl std::str::FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let found = Self::ALL.into_iter().find(|rule| rule.name() == text);
        found.ok_or_else(|| format!("{text}: expected euler, heun, ab2, ab3, rk4 or dopri5"))
    }
}

/// How samples are drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplerConfig {
    /// The rule.
    pub rule: Rule,
    /// N: equal steps from time 1 to 0. The adaptive rule does not read it.
    pub steps: usize,
    /// μ of Euler's rule: v ← (1 − μ) v + μ v of the step before.
    pub momentum: f64,
    /// Range into which every estimate x − t v of the data is clamped; images lie in −1 … 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clamp: Option<[f64; 2]>,
    /// Of the adaptive rule: local error allowed, absolute and relative to |x|.
    pub tolerance: f64,
    /// Of the adaptive rule: evaluations a sample may take.
    pub evaluations: usize,
}

impl Default for SamplerConfig {
    /// Euler in 16 steps; the tolerance is the published sampler's (method card, section 10).
    fn default() -> Self {
        Self {
            rule: Rule::Euler,
            steps: 16,
            momentum: 0.0,
            clamp: None,
            tolerance: 1e-3,
            evaluations: 1000,
        }
    }
}

impl SamplerConfig {
    /// `steps` of `rule`.
    pub fn of(rule: Rule, steps: usize) -> Self {
        Self {
            rule,
            steps,
            ..Self::default()
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] naming the first that is out of range.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, found: String, expected: &str| {
            Err(DiffusionError::setting(field, found, expected))
        };
        if self.steps == 0 && self.rule != Rule::Dopri5 {
            return refuse("steps", "0".into(), "a whole number from 1");
        }
        if !(0.0..1.0).contains(&self.momentum) {
            return refuse(
                "momentum",
                self.momentum.to_string(),
                "a number from 0 to below 1",
            );
        }
        if self.momentum != 0.0 && self.rule != Rule::Euler {
            let found = format!("{} with the rule {}", self.momentum, self.rule.name());
            return refuse("momentum", found, "0: only euler has momentum");
        }
        if let Some([low, high]) = self.clamp {
            if !(low.is_finite() && high.is_finite() && low < high) {
                return refuse("clamp", format!("{low} … {high}"), "two rising numbers");
            }
            if self.rule == Rule::Dopri5 {
                return refuse(
                    "clamp",
                    "a range with dopri5".into(),
                    "a rule of fixed steps",
                );
            }
        }
        if !(self.tolerance.is_finite() && self.tolerance > 0.0) {
            return refuse("tolerance", self.tolerance.to_string(), "a number above 0");
        }
        if self.evaluations == 0 {
            return refuse("evaluations", "0".into(), "a whole number from 1");
        }
        Ok(())
    }
}

/// One instant of sampling, for pictures of the way.
#[derive(Debug, Clone, Copy)]
pub struct Instant<'a> {
    /// Steps done.
    pub step: usize,
    /// Time after them, from 1 down to 0.
    pub time: f64,
    /// The states, `[batch, …]`.
    pub state: &'a Tensor,
    /// The velocity of the step that led here.
    pub velocity: &'a Tensor,
}

/// Samples, and what they cost.
#[derive(Debug, Clone)]
pub struct Samples {
    /// `[batch, …]`.
    pub x: Tensor,
    /// Evaluations of the velocity; of the adaptive rule the most that a sample took.
    pub evaluations: usize,
}

/// Follows `velocity` from `z` at time 1 to time 0.
///
/// `z`: `[batch, …]`, f32 or f64. Every sample goes its own way: it does not depend on its batch.
/// `observe` is called after each step of a rule of fixed steps.
///
/// # Errors
/// [`DiffusionError::Setting`], [`DiffusionError::Tolerance`], [`DiffusionError::NonFinite`], or
/// what `velocity` reports.
pub fn sample(
    velocity: &mut Velocity<'_>,
    z: &Tensor,
    config: &SamplerConfig,
    observe: &mut dyn FnMut(Instant<'_>) -> Result<()>,
) -> Result<Samples> {
    config.validate()?;
    let samples = match config.rule {
        Rule::Dopri5 => dormand_prince::sample(velocity, z, config)?,
        _ => fixed::sample(velocity, z, config, observe)?,
    };
    if !taper_kernels::squared_norm(&samples.x.contiguous()?)?.is_finite() {
        return Err(DiffusionError::NonFinite {
            advice: "the network's weights or the noise are not finite, or the rule diverges: \
                     look at the training's loss, or take more steps",
        });
    }
    Ok(samples)
}
