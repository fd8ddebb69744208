//! One step: loss, gradients, clipping, update, average.

use crate::clip::clip_global_norm;
use crate::error::{Result, TrainError};
use crate::metrics::StepRecord;
use crate::objective::{LossTerm, Losses};
use crate::optimizer::Rate;
use crate::state::TrainingState;
use candle_core::backprop::GradStore;
use candle_core::{DType, Tensor};
use std::collections::BTreeMap;

/// Name of the meter of the weighted sum; terms and observations have a prefix of their own.
pub(crate) const LOSS: &str = "loss";
pub(crate) const TERM: &str = "term.";
pub(crate) const OBSERVATION: &str = "observation.";

impl TrainingState<'_> {
    /// Learns from one batch's losses and moves the position on.
    ///
    /// # Errors
    /// [`TrainError::NonFiniteLoss`] before anything is moved; [`TrainError::NoLoss`];
    /// [`TrainError::LossShape`]; [`TrainError::NonFiniteTensor`] for a gradient to be clipped.
    pub fn step(&mut self, losses: Losses) -> Result<StepRecord> {
        let Losses {
            samples,
            terms,
            observations,
        } = losses;
        let total = weighted_sum(&terms)?.ok_or(TrainError::NoLoss {
            epoch: self.position.epoch + 1,
            step: self.position.step() + 1,
        })?;
        let gradients = total.backward()?;
        // On a GPU this is the one place of a step that waits for the device.
        let values = self.read(&terms)?;
        let loss = terms.iter().zip(&values).map(|(t, v)| t.weight * v).sum();
        self.learn(&gradients)?;
        self.position.step_in_epoch += 1;

        let weight = samples as f64;
        self.meters.add(LOSS, loss, weight);
        for (term, &value) in terms.iter().zip(&values) {
            self.meters
                .add(&format!("{TERM}{}", term.name), value, weight);
        }
        for (name, value) in observations {
            self.meters
                .add(&format!("{OBSERVATION}{name}"), value, weight);
        }
        let names = terms.into_iter().map(|term| term.name);
        Ok(StepRecord {
            epoch: self.position.epoch + 1,
            step: self.position.step(),
            learning_rate: self.learning_rate,
            loss,
            terms: names.zip(values).collect(),
        })
    }

    /// The terms' values, all finite.
    fn read(&self, terms: &[LossTerm]) -> Result<Vec<f64>> {
        let detached: Vec<_> = terms
            .iter()
            .map(|term| term.value.detach().to_dtype(DType::F64))
            .collect::<candle_core::Result<_>>()?;
        let values = Tensor::stack(&detached, 0)?.to_vec1::<f64>()?;
        match terms.iter().zip(&values).find(|(_, v)| !v.is_finite()) {
            Some((term, &value)) => Err(TrainError::NonFiniteLoss {
                term: term.name.clone(),
                value,
                epoch: self.position.epoch + 1,
                step: self.position.step() + 1,
            }),
            None => Ok(values),
        }
    }

    /// Moves every parameter that has a gradient; the others stay, as in PyTorch.
    fn learn(&mut self, gradients: &GradStore) -> Result<()> {
        self.learning_rate =
            self.config.optimizer.learning_rate() * self.config.schedule.factor(&self.position);
        let mut found: BTreeMap<&str, Tensor> = BTreeMap::new();
        for (name, parameter) in &self.parameters {
            if let Some(gradient) = gradients.get(parameter) {
                found.insert(name, gradient.contiguous()?);
            }
        }
        if let Some(limit) = self.config.clip_norm
            && !clip_global_norm(&mut found, limit)?.is_finite()
        {
            return Err(TrainError::NonFiniteTensor {
                what: "the gradient's norm".into(),
                epoch: self.position.epoch + 1,
                step: self.position.step() + 1,
            });
        }
        for (name, gradient) in found {
            let settings = &self.settings[name];
            let rate = Rate {
                learning_rate: self.learning_rate * settings.learning_rate_scale,
                weight_decay: settings.weight_decay,
            };
            let parameter = &self.parameters[name];
            self.optimizer.step(name, parameter, &gradient, rate)?;
        }
        match &self.ema {
            Some(ema) => ema.update(&self.parameters),
            None => Ok(()),
        }
    }
}

/// Σ weight · value over the terms that are learnt from; `None` if there is none.
fn weighted_sum(terms: &[LossTerm]) -> Result<Option<Tensor>> {
    let mut sum: Option<Tensor> = None;
    for term in terms {
        if term.value.rank() != 0 {
            return Err(TrainError::LossShape {
                term: term.name.clone(),
                found: term.value.dims().to_vec(),
            });
        }
        if term.weight == 0.0 {
            continue;
        }
        let part = if term.weight == 1.0 {
            term.value.clone()
        } else {
            (&term.value * term.weight)?
        };
        sum = Some(match sum {
            Some(sum) => (sum + part)?,
            None => part,
        });
    }
    Ok(sum)
}
