//! Everything that a training changes, as one value that checkpoints save and restore.

use crate::checkpoint::{Checkpoint, Header, Tensors, section};
use crate::clock::Clock;
use crate::config::TrainConfig;
use crate::ema::Ema;
use crate::error::{Result, TrainError};
use crate::groups::ParameterSettings;
use crate::last_epoch::LastEpoch;
use crate::meter::Meters;
use crate::optimizer::Optimizer;
use crate::position::Position;
use candle_core::Var;
use std::collections::BTreeMap;
use taper_layers::ParameterStore;

/// Network, optimiser, average, meters, clock, position.
pub(crate) struct TrainingState<'a> {
    pub config: &'a TrainConfig,
    pub store: &'a ParameterStore,
    /// What the optimiser moves: the store's parameters that no group freezes.
    pub parameters: BTreeMap<String, Var>,
    pub settings: BTreeMap<String, ParameterSettings>,
    pub optimizer: Optimizer,
    pub ema: Option<Ema>,
    pub meters: Meters,
    pub last_epoch: LastEpoch,
    pub clock: Clock,
    pub position: Position,
    /// Learning rate of the last step.
    pub learning_rate: f64,
}

impl<'a> TrainingState<'a> {
    /// Before the first step.
    pub fn new(
        config: &'a TrainConfig,
        store: &'a ParameterStore,
        batches_per_epoch: usize,
    ) -> Result<Self> {
        let all = store.parameters();
        let found = all.len();
        let of = |name: &String, var: &Var| {
            ParameterSettings::of(name, var.rank(), &config.groups, &config.optimizer)
        };
        let parameters: BTreeMap<_, _> = all
            .into_iter()
            .filter(|(name, var)| !of(name, var).frozen)
            .collect();
        if parameters.is_empty() {
            return Err(TrainError::NothingToTrain { found });
        }
        let settings = parameters
            .iter()
            .map(|(name, var)| (name.clone(), of(name, var)))
            .collect();
        let ema = config.ema.map(|decay| Ema::new(decay, &parameters));
        Ok(Self {
            config,
            store,
            settings,
            optimizer: Optimizer::new(&config.optimizer),
            ema: ema.transpose()?,
            parameters,
            meters: Meters::default(),
            last_epoch: LastEpoch::default(),
            clock: Clock::default(),
            position: Position::start(config.epochs, batches_per_epoch),
            learning_rate: config.optimizer.learning_rate(),
        })
    }

    /// Everything to save, beside the method's own tensors.
    ///
    /// # Errors
    /// [`TrainError::NonFiniteTensor`]: a checkpoint that cannot be trained from must not push out a good one.
    pub fn checkpoint(&self, objective: Tensors) -> Result<Checkpoint> {
        let mut header = Header::new(self.position, settings_text(self.config)?);
        header.clock = self.clock;
        header.learning_rate_bits = self.learning_rate.to_bits();
        let averages = self.ema.as_ref().map(|ema| ema.averages().clone());
        let sections = BTreeMap::from([
            (section::MODEL, self.store.state()),
            (section::OPTIMIZER, self.optimizer.state()?),
            (section::EMA, averages.unwrap_or_default()),
            (section::OBJECTIVE, objective),
            (section::METER, self.meters.state()?),
            (section::LAST_EPOCH, self.last_epoch.state()?),
        ]);
        for section in [section::MODEL, section::OPTIMIZER] {
            for (name, tensor) in &sections[section] {
                if tensor.dtype().is_float() && !taper_kernels::squared_norm(tensor)?.is_finite() {
                    return Err(self.non_finite(format!("{section} tensor {name}")));
                }
            }
        }
        Ok(Checkpoint { header, sections })
    }

    /// Goes back to a checkpoint; the method's own tensors are returned.
    pub fn restore(&mut self, mut checkpoint: Checkpoint) -> Result<Tensors> {
        let model = checkpoint.take(section::MODEL);
        for name in self.store.state().keys() {
            if !model.contains_key(name) {
                return Err(TrainError::CheckpointMismatch {
                    tensor: format!("{}.{name}", section::MODEL),
                    found: "nothing".into(),
                    expected: "a tensor of the network".into(),
                });
            }
        }
        for (name, tensor) in &model {
            self.store.set(name, tensor)?;
        }
        let optimizer = checkpoint.take(section::OPTIMIZER);
        self.optimizer.restore(&optimizer, &self.parameters)?;
        if let Some(ema) = &mut self.ema {
            ema.restore(&checkpoint.take(section::EMA))?;
        }
        self.meters = Meters::restore(&checkpoint.take(section::METER))?;
        self.last_epoch = LastEpoch::restore(&checkpoint.take(section::LAST_EPOCH))?;
        self.clock = checkpoint.header.clock;
        self.learning_rate = f64::from_bits(checkpoint.header.learning_rate_bits);
        self.position = checkpoint.header.position;
        Ok(checkpoint.take(section::OBJECTIVE))
    }

    /// Runs `work` while the store holds the averaged parameters, if there is an average.
    pub fn with_average<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(ema) = &self.ema else {
            return work();
        };
        let copy = |(name, var): (&String, &Var)| Ok((name.clone(), var.as_tensor().copy()?));
        let own: Tensors = self.parameters.iter().map(copy).collect::<Result<_>>()?;
        let result = self.put(ema.averages()).and_then(|()| work());
        self.put(&own)?;
        result
    }

    fn put(&self, tensors: &Tensors) -> Result<()> {
        for (name, tensor) in tensors {
            self.store.set(name, tensor)?;
        }
        Ok(())
    }

    /// The store's state with the averaged parameters, if there is an average.
    pub fn model(&self) -> Tensors {
        let mut state = self.store.state();
        if let Some(ema) = &self.ema {
            state.extend(ema.averages().iter().map(|(n, t)| (n.clone(), t.clone())));
        }
        state
    }

    /// Parameters that no gradient ever reached.
    pub fn untouched(&self) -> Vec<String> {
        let names = self.parameters.keys();
        names
            .filter(|name| self.optimizer.updates(name) == 0)
            .cloned()
            .collect()
    }

    pub fn non_finite(&self, what: String) -> TrainError {
        TrainError::NonFiniteTensor {
            what,
            epoch: self.position.epoch + 1,
            step: self.position.step(),
        }
    }
}

/// The settings that decide the result, as JSON text: equal settings give equal text.
pub(crate) fn settings_text(config: &TrainConfig) -> Result<String> {
    let decisive = TrainConfig {
        checkpoint_every_steps: None,
        log_every_steps: None,
        ..config.clone()
    };
    serde_json::to_string(&decisive).map_err(|error| TrainError::serialise("the settings", error))
}

/// The first setting in which two texts of [`settings_text`] differ: name, and both values.
pub(crate) fn difference(first: &str, second: &str) -> Option<(String, String, String)> {
    fn walk(
        name: &str,
        first: &serde_json::Value,
        second: &serde_json::Value,
    ) -> Option<(String, String, String)> {
        if first == second {
            return None;
        }
        if let (Some(first), Some(second)) = (first.as_object(), second.as_object()) {
            let keys = first.keys().chain(second.keys());
            for key in keys {
                let at = |map: &serde_json::Map<_, _>| map.get(key).cloned().unwrap_or_default();
                let name = format!("{name}{}{key}", if name.is_empty() { "" } else { "." });
                if let Some(found) = walk(&name, &at(first), &at(second)) {
                    return Some(found);
                }
            }
        }
        Some((name.to_string(), first.to_string(), second.to_string()))
    }
    let parse = |text| serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
    walk("", &parse(first), &parse(second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::OptimizerConfig;

    #[test]
    fn changed_settings_are_named() {
        let config = TrainConfig::default();
        let mut other = config.clone();
        let text = |config: &TrainConfig| settings_text(config).unwrap();
        other.checkpoint_every_steps = Some(3);
        assert_eq!(difference(&text(&config), &text(&other)), None);
        if let OptimizerConfig::Sgd { learning_rate, .. } = &mut other.optimizer {
            *learning_rate = 0.1;
        }
        assert_eq!(
            difference(&text(&config), &text(&other)),
            Some((
                "optimizer.learning_rate".into(),
                "0.05".into(),
                "0.1".into()
            ))
        );
        other = config.clone();
        other.ema = Some(0.9);
        let (name, before, after) = difference(&text(&config), &text(&other)).unwrap();
        assert_eq!(
            (name.as_str(), before.as_str(), after.as_str()),
            ("ema", "null", "0.9")
        );
    }
}
