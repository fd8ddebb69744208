//! Catch-Up Distillation (Shao et al. 2023, arXiv:2305.10769): the velocity at t learns from the true one
//! and from the network's own a Runge-Kutta step nearer the data (method card, sections 4 and 5).

use super::{StepSize, Times};
use crate::error::{DiffusionError, Result};
use crate::samplers::Velocity;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use taper_kernels::random::Random;
use taper_kernels::{CatchUpWeights, StageRule, catchup_loss, rk_stage, rk_step};

/// M of every published run: the reciprocal of the longest step.
pub const RECIPROCAL: usize = 16;

/// Which coefficients orders 2 and 3 use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stages {
    /// As published: one slope for all states.
    #[default]
    Paper,
    /// On the same nodes, the states of the highest order that they allow.
    Corrected,
}

impl From<Stages> for StageRule {
    fn from(stages: Stages) -> Self {
        match stages {
            Stages::Paper => Self::Paper,
            Stages::Corrected => Self::Corrected,
        }
    }
}

/// Weights w1 of the catch-up term and w2 of the true velocity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Weighting {
    /// The same from the first step to the last.
    Fixed {
        /// w1.
        catch_up: f64,
        /// w2.
        truth: f64,
    },
    /// Order 1 only: w1 rises from 0 to 2, w2 falls from 2 to 0 ("adaptive_weight" of the published code).
    /// Near the end nothing holds the network to the data: a constant velocity is a minimum too.
    Adaptive,
    /// The look-ahead rule: w1/w2 so that Euler with so many steps meets the midpoint of each of its steps.
    ForSteps {
        /// N.
        steps: usize,
    },
}

impl Default for Weighting {
    fn default() -> Self {
        Self::Fixed {
            catch_up: 1.0,
            truth: 1.0,
        }
    }
}

/// Settings of the catch-up objective; the defaults are those of the published commands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CatchUpConfig {
    /// n: RK12, RK23 or RK34; the network has as many heads.
    pub order: usize,
    /// Coefficients.
    pub stage_rule: Stages,
    /// Step lengths.
    pub step_size: StepSize,
    /// M: the longest step is 1/M.
    pub reciprocal: usize,
    /// Whether t is one of 1/M, 2/M, … 1.
    pub discrete: bool,
    /// Weights of both terms.
    pub weighting: Weighting,
    /// Whether the network that gives the targets drops activations too, as the published code has it.
    /// Without, k_1 is the prediction itself wherever the network drops nothing, and saves a pass.
    pub target_dropout: bool,
}

impl Default for CatchUpConfig {
    fn default() -> Self {
        Self {
            order: 1,
            stage_rule: Stages::Paper,
            step_size: StepSize::Uniform,
            reciprocal: RECIPROCAL,
            discrete: false,
            weighting: Weighting::default(),
            target_dropout: true,
        }
    }
}

impl CatchUpConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] naming the first that is out of range.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, found: String, expected: &str| {
            Err(DiffusionError::setting(
                format!("catch_up.{field}"),
                found,
                expected,
            ))
        };
        if !(1..=3).contains(&self.order) {
            return refuse("order", self.order.to_string(), "1, 2 or 3");
        }
        if self.reciprocal == 0 {
            return refuse("reciprocal", "0".into(), "a whole number from 1");
        }
        match self.weighting {
            Weighting::Fixed { catch_up, truth } => {
                let good = |w: f64| w.is_finite() && w >= 0.0;
                if !(good(catch_up) && good(truth) && catch_up + truth > 0.0) {
                    let found = format!("{catch_up} and {truth}");
                    return refuse("weighting", found, "numbers not below 0, one above it");
                }
            }
            Weighting::Adaptive if self.order > 1 => {
                let found = format!("adaptive with order {}", self.order);
                return refuse("weighting", found, "adaptive with order 1 only");
            }
            Weighting::ForSteps { steps: 0 } => {
                return refuse("weighting", "for 0 steps".into(), "for steps from 1");
            }
            Weighting::Adaptive | Weighting::ForSteps { .. } => {}
        }
        Ok(())
    }

    /// (w1, w2) after the share `done` of the training.
    pub fn weights(&self, done: f64) -> (f64, f64) {
        match self.weighting {
            Weighting::Fixed { catch_up, truth } => (catch_up, truth),
            Weighting::Adaptive => (2.0 * done, 2.0 * (1.0 - done)),
            Weighting::ForSteps { steps } => {
                let mean = self.step_size.mean(self.reciprocal);
                let ratio = 1.0 / (2.0 * steps as f64 * mean);
                // w1 + w2 = 2 as in the published setting, so that the learning rate means the same.
                (2.0 * ratio / (1.0 + ratio), 2.0 / (1.0 + ratio))
            }
        }
    }

    /// ℓ of a head (from 1): how much nearer the data, in time, the velocity is that it learns.
    /// Euler's rule with 1/(2 ℓ) steps meets its midpoints (method card, section 5).
    ///
    /// `None` where the weights move.
    pub fn look_ahead(&self, head: usize) -> Option<f64> {
        if self.weighting == Weighting::Adaptive {
            return None;
        }
        let (catch_up, truth) = self.weights(0.0);
        let mean = self.step_size.mean(self.reciprocal);
        let first = catch_up / truth * mean;
        Some(catch_up / (catch_up + truth) * (head as f64 * mean + first))
    }

    /// Times and step lengths of a batch.
    pub fn draw(&self, count: usize, random: &mut Random) -> Times {
        match self.discrete {
            true => Times::discrete(count, self.order, self.step_size, self.reciprocal, random),
            false => Times::continuous(count, self.step_size, self.reciprocal, random),
        }
    }

    /// The states s_1 … s_n that a step from `x` leads to, without gradient.
    ///
    /// `first` is k_1 = v(x, t) where it is known; `velocity` gives the others.
    ///
    /// # Errors
    /// What `velocity` reports.
    pub fn states(
        &self,
        x: &Tensor,
        times: &Times,
        first: Option<&Tensor>,
        velocity: &mut Velocity<'_>,
    ) -> candle_core::Result<Vec<Tensor>> {
        let rule = StageRule::from(self.stage_rule);
        let x = x.detach();
        let dt = times.lengths(&x)?;
        let mut slopes: Vec<Tensor> = Vec::with_capacity(self.order);
        for stage in rule.stages(self.order) {
            let known: Vec<&Tensor> = slopes.iter().collect();
            let slope = match (known.is_empty(), first) {
                (true, Some(first)) => first.clone(),
                (true, None) => velocity(&x, &times.now(&x)?)?,
                (false, _) => {
                    let point = rk_stage(&x, &known, stage.coefficients, &dt)?;
                    velocity(&point, &times.after(stage.node, &x)?)?
                }
            };
            slopes.push(slope.detach());
        }
        let slopes: Vec<&Tensor> = slopes.iter().collect();
        rk_step(&x, &slopes, &dt, rule)
    }

    /// The targets u_j = v(s_j, clamp(t − j dt)), constants; those of masked samples mean nothing.
    ///
    /// # Errors
    /// What `velocity` reports.
    pub fn targets(
        &self,
        x: &Tensor,
        times: &Times,
        first: Option<&Tensor>,
        velocity: &mut Velocity<'_>,
    ) -> candle_core::Result<Vec<Tensor>> {
        let states = self.states(x, times, first, velocity)?;
        let mut targets = Vec::with_capacity(states.len());
        for (index, state) in states.iter().enumerate() {
            let steps = (index + 1) as f64;
            targets.push(velocity(state, &times.after(steps, x)?)?.detach());
        }
        Ok(targets)
    }

    /// L = 1/D Σ_j Σ \[w1 (P_j − T_j)² + w2 (P_j − g)²\] with T_j = m u_j + (1 − m) g.
    ///
    /// # Errors
    /// If a count, shape or type does not fit.
    pub fn loss(
        &self,
        predictions: &[Tensor],
        targets: &[Tensor],
        velocity: &Tensor,
        times: &Times,
        (catch_up, truth): (f64, f64),
    ) -> candle_core::Result<Tensor> {
        let mask = Tensor::new(times.mask(self.order), velocity.device())?;
        let predictions: Vec<&Tensor> = predictions.iter().collect();
        let targets: Vec<&Tensor> = targets.iter().collect();
        let weights = CatchUpWeights {
            catch_up: &vec![catch_up; predictions.len()],
            truth: &vec![truth; predictions.len()],
            samples: None,
        };
        catchup_loss(&predictions, &targets, velocity, Some(&mask), &weights)
    }
}

#[cfg(test)]
#[path = "catch_up_tests/mod.rs"]
mod tests;
