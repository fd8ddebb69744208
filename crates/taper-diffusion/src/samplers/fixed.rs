//! Rules with equal steps: t = 1, 1 − 1/N, …, 1/N.

use super::{Instant, Rule, SamplerConfig, Samples, Velocity};
use crate::error::Result;
use crate::noise::scalars_like;
use candle_core::Tensor;
use std::collections::VecDeque;
use taper_kernels::{
    SamplerStep, StageRule, rk_stage, rk_step, sampler_update, sampler_update_with_estimate,
};

/// Weights of Adams and Bashforth's rule with three velocities, the newest first.
const AB3: [f64; 3] = [23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0];
/// Heun's: the mean of both velocities.
const HEUN: [f64; 2] = [0.5, 0.5];

pub(super) fn sample(
    velocity: &mut Velocity<'_>,
    z: &Tensor,
    config: &SamplerConfig,
    observe: &mut dyn FnMut(Instant<'_>) -> Result<()>,
) -> Result<Samples> {
    let h = 1.0 / config.steps as f64;
    let mut walk = Walk {
        velocity,
        config,
        batch: z.dim(0)?,
        h,
        step_lengths: scalars_like(z, &vec![h; z.dim(0)?])?,
        evaluations: 0,
        before: VecDeque::new(),
    };
    let mut x = z.detach();
    for step in 0..config.steps {
        let t = (config.steps - step) as f64 / config.steps as f64;
        let last = step + 1 == config.steps;
        let v = walk.velocity(&x, t)?;
        x = match config.rule {
            Rule::Heun if !last => walk.heun(&x, &v, t)?,
            Rule::Ab2 => walk.ab2(&x, &v, t)?,
            Rule::Ab3 => walk.ab3(&x, &v, t)?,
            Rule::Rk4 => walk.rk4(&x, &v, t)?,
            Rule::Euler | Rule::Heun | Rule::Dopri5 => walk.euler(&x, &v, t)?,
        };
        observe(Instant {
            step: step + 1,
            time: t - h,
            state: &x,
            velocity: &v,
        })?;
    }
    Ok(Samples {
        x,
        evaluations: walk.evaluations,
    })
}

struct Walk<'a, 'v> {
    velocity: &'a mut Velocity<'v>,
    config: &'a SamplerConfig,
    batch: usize,
    /// Length of a step.
    h: f64,
    /// The same once a sample, `[batch]`.
    step_lengths: Tensor,
    evaluations: usize,
    /// Velocities of the steps before, the newest first; as many as the rule reads.
    before: VecDeque<Tensor>,
}

impl Walk<'_, '_> {
    /// v(x, t), of which the estimate x − t v of the data is clamped if asked for:
    /// v ← (x − clamp(x − t v)) / t. At time 0 nothing is left to clamp.
    fn velocity(&mut self, x: &Tensor, t: f64) -> Result<Tensor> {
        let times = scalars_like(x, &vec![t; self.batch])?;
        let v = (self.velocity)(x, &times)?.detach();
        self.evaluations += 1;
        let Some([low, high]) = self.config.clamp.filter(|_| t > 0.0) else {
            return Ok(v);
        };
        let step = SamplerStep {
            h: 0.0,
            t,
            clamp: Some((low, high)),
        };
        let (_, estimate) = sampler_update_with_estimate(x, &v, None, &step)?;
        Ok(((x - estimate)? / t)?)
    }

    fn update(&self, x: &Tensor, v: &Tensor, previous: Option<&Tensor>, t: f64) -> Result<Tensor> {
        let step = SamplerStep {
            h: self.h,
            t,
            clamp: None,
        };
        Ok(sampler_update(x, v, previous, &step)?)
    }

    fn remember(&mut self, v: &Tensor, most: usize) {
        self.before.push_front(v.clone());
        self.before.truncate(most);
    }

    fn euler(&mut self, x: &Tensor, v: &Tensor, t: f64) -> Result<Tensor> {
        let momentum = self.config.momentum;
        let mean = match self.before.front() {
            Some(before) if momentum != 0.0 => ((v * (1.0 - momentum))? + (before * momentum)?)?,
            _ => v.clone(),
        };
        if momentum != 0.0 {
            self.remember(&mean, 1);
        }
        self.update(x, &mean, None, t)
    }

    fn heun(&mut self, x: &Tensor, v: &Tensor, t: f64) -> Result<Tensor> {
        let end = self.update(x, v, None, t)?;
        let next = self.velocity(&end, t - self.h)?;
        Ok(rk_stage(x, &[v, &next], &HEUN, &self.step_lengths)?)
    }

    fn ab2(&mut self, x: &Tensor, v: &Tensor, t: f64) -> Result<Tensor> {
        let next = self.update(x, v, self.before.front(), t)?;
        self.remember(v, 1);
        Ok(next)
    }

    /// The first steps have the local error h³ that order 3 allows: Heun's rule, then two velocities.
    fn ab3(&mut self, x: &Tensor, v: &Tensor, t: f64) -> Result<Tensor> {
        let next = match (self.before.front(), self.before.get(1)) {
            (Some(first), Some(second)) => {
                rk_stage(x, &[v, first, second], &AB3, &self.step_lengths)?
            }
            (Some(first), None) => self.update(x, v, Some(first), t)?,
            (None, _) => self.heun(x, v, t)?,
        };
        self.remember(v, 2);
        Ok(next)
    }

    fn rk4(&mut self, x: &Tensor, v: &Tensor, t: f64) -> Result<Tensor> {
        let mut slopes = vec![v.clone()];
        for stage in &StageRule::Paper.stages(4)[1..] {
            let known: Vec<&Tensor> = slopes.iter().collect();
            let point = rk_stage(x, &known, stage.coefficients, &self.step_lengths)?;
            slopes.push(self.velocity(&point, t - stage.node * self.h)?);
        }
        let slopes: Vec<&Tensor> = slopes.iter().collect();
        let mut states = rk_step(x, &slopes, &self.step_lengths, StageRule::Paper)?;
        Ok(states.swap_remove(0))
    }
}
