//! What a training is asked to do.

use crate::error::{Result, TrainError};
use crate::groups::ParameterGroup;
use crate::schedule::Schedule;
use serde::{Deserialize, Serialize};

/// The settings of the loop. Batch size, data and loss belong to the source and the objective.
///
/// ```
/// let config: taper_train::TrainConfig = toml::from_str(r#"
///     epochs = 60
///     ema = 0.999
///     optimizer = { name = "sgd", learning_rate = 0.05, weight_decay = 5e-4 }
///     schedule = { decay = { shape = "cosine" }, warmup = { epochs = 2 } }
///     groups = [{ parameters = ["*.bias", "*bn*"], weight_decay = 0.0 }]
/// "#)?;
/// config.validate()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the training data.
    pub epochs: u64,
    /// The rule that moves the parameters.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// How its learning rate moves.
    #[serde(default)]
    pub schedule: Schedule,
    /// Decay of the exponential moving average of the parameters; evaluation and the finished
    /// network use the average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f64>,
    /// Largest global gradient norm; a longer gradient is shortened to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// Write a checkpoint every so many steps, besides the one after each epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_every_steps: Option<u64>,
    /// Record a line every so many steps, besides the one after each epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_every_steps: Option<u64>,
    /// Evaluate after every so many epochs, and after the last.
    #[serde(default = "every")]
    pub evaluate_every_epochs: u64,
    /// Settings for some parameters; the first group that names a parameter counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<ParameterGroup>,
}

fn every() -> u64 {
    1
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 1,
            optimizer: OptimizerConfig::default(),
            schedule: Schedule::default(),
            ema: None,
            clip_norm: None,
            checkpoint_every_steps: None,
            log_every_steps: None,
            evaluate_every_epochs: 1,
            groups: Vec::new(),
        }
    }
}

/// The rule that moves the parameters, after PyTorch's optimisers of these names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// `torch.optim.SGD` with dampening 0.
    Sgd {
        /// Learning rate before the schedule.
        learning_rate: f64,
        /// Share of the last step's velocity that stays.
        #[serde(default = "momentum")]
        momentum: f64,
        /// Whether the gradient is taken ahead, by Nesterov's rule.
        #[serde(default)]
        nesterov: bool,
        /// Added to the gradient as a multiple of the parameter.
        #[serde(default)]
        weight_decay: f64,
    },
    /// `torch.optim.AdamW` (arXiv:1711.05101): the decay is apart from the gradient.
    AdamW {
        /// Learning rate before the schedule.
        learning_rate: f64,
        /// Decay of the first and second moments.
        #[serde(default = "betas")]
        betas: [f64; 2],
        /// Added to the root of the second moment.
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// Each step shrinks the parameter by `learning_rate · weight_decay`.
        #[serde(default = "adamw_decay")]
        weight_decay: f64,
    },
}

/// The momentum of every CIFAR recipe in card norm.md section 6.
fn momentum() -> f64 {
    0.9
}

/// PyTorch's default.
fn betas() -> [f64; 2] {
    [0.9, 0.999]
}

/// PyTorch's default.
fn epsilon() -> f64 {
    1e-8
}

/// PyTorch's default.
fn adamw_decay() -> f64 {
    0.01
}

impl Default for OptimizerConfig {
    /// The CIFAR-100 recipe of card norm.md section 6.
    fn default() -> Self {
        Self::Sgd {
            learning_rate: 0.05,
            momentum: momentum(),
            nesterov: false,
            weight_decay: 5e-4,
        }
    }
}

impl OptimizerConfig {
    /// Learning rate before the schedule.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Sgd { learning_rate, .. } | Self::AdamW { learning_rate, .. } => *learning_rate,
        }
    }

    /// Weight decay of parameters that no group names.
    pub fn weight_decay(&self) -> f64 {
        match self {
            Self::Sgd { weight_decay, .. } | Self::AdamW { weight_decay, .. } => *weight_decay,
        }
    }

    fn validate(&self) -> Result<()> {
        let rate = self.learning_rate();
        if !(rate.is_finite() && rate > 0.0) {
            return Err(TrainError::setting(
                "optimizer.learning_rate",
                rate,
                "a number above 0",
            ));
        }
        not_negative("optimizer.weight_decay", self.weight_decay())?;
        match self {
            Self::Sgd {
                momentum, nesterov, ..
            } => {
                below_one("optimizer.momentum", *momentum)?;
                if *nesterov && *momentum == 0.0 {
                    return Err(TrainError::setting(
                        "optimizer.nesterov",
                        "true with momentum 0",
                        "a momentum above 0, or nesterov = false",
                    ));
                }
                Ok(())
            }
            Self::AdamW { betas, epsilon, .. } => {
                for &beta in betas {
                    below_one("optimizer.betas", beta)?;
                }
                not_negative("optimizer.epsilon", *epsilon)
            }
        }
    }
}

impl TrainConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// [`TrainError::Setting`] naming the first that is out of range, and its range.
    pub fn validate(&self) -> Result<()> {
        at_least_one("epochs", Some(self.epochs))?;
        at_least_one("checkpoint_every_steps", self.checkpoint_every_steps)?;
        at_least_one("log_every_steps", self.log_every_steps)?;
        at_least_one("evaluate_every_epochs", Some(self.evaluate_every_epochs))?;
        if let Some(decay) = self.ema {
            below_one("ema", decay)?;
        }
        if let Some(norm) = self.clip_norm
            && !(norm.is_finite() && norm > 0.0)
        {
            return Err(TrainError::setting("clip_norm", norm, "a number above 0"));
        }
        self.optimizer.validate()?;
        self.schedule.validate()?;
        self.groups
            .iter()
            .enumerate()
            .try_for_each(|(index, group)| group.validate(index))
    }
}

fn at_least_one(field: &str, value: Option<u64>) -> Result<()> {
    match value {
        Some(0) => Err(TrainError::setting(field, 0, "a whole number from 1")),
        _ => Ok(()),
    }
}

fn below_one(field: &str, value: f64) -> Result<()> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(TrainError::setting(
        field,
        value,
        "a number from 0 to below 1",
    ))
}

pub(crate) fn not_negative(field: &str, value: f64) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(TrainError::setting(field, value, "a number not below 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_round_trip() {
        let config = TrainConfig {
            epochs: 3,
            ema: Some(0.99),
            optimizer: OptimizerConfig::AdamW {
                learning_rate: 1e-3,
                betas: betas(),
                epsilon: epsilon(),
                weight_decay: 0.05,
            },
            groups: vec![ParameterGroup {
                parameters: vec!["*.bias".into()],
                weight_decay: Some(0.0),
                ..ParameterGroup::default()
            }],
            ..TrainConfig::default()
        };
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<TrainConfig>(&text).unwrap(), config);
        let unknown = format!("epoch = 3\n{text}");
        let error = toml::from_str::<TrainConfig>(&unknown).unwrap_err();
        assert!(error.to_string().contains("epoch"), "{error}");
    }

    #[test]
    fn every_bad_value_is_named() {
        let good = TrainConfig::default();
        good.validate().unwrap();
        let sgd = |learning_rate, momentum, nesterov, weight_decay| TrainConfig {
            optimizer: OptimizerConfig::Sgd {
                learning_rate,
                momentum,
                nesterov,
                weight_decay,
            },
            ..TrainConfig::default()
        };
        let cases = [
            (
                TrainConfig {
                    epochs: 0,
                    ..good.clone()
                },
                "epochs",
            ),
            (
                TrainConfig {
                    ema: Some(1.0),
                    ..good.clone()
                },
                "ema",
            ),
            (
                TrainConfig {
                    clip_norm: Some(f64::NAN),
                    ..good.clone()
                },
                "clip_norm",
            ),
            (
                TrainConfig {
                    checkpoint_every_steps: Some(0),
                    ..good.clone()
                },
                "checkpoint_every_steps",
            ),
            (
                TrainConfig {
                    evaluate_every_epochs: 0,
                    ..good.clone()
                },
                "evaluate_every_epochs",
            ),
            (sgd(f64::NAN, 0.9, false, 0.0), "optimizer.learning_rate"),
            (sgd(0.1, 1.0, false, 0.0), "optimizer.momentum"),
            (sgd(0.1, 0.0, true, 0.0), "optimizer.nesterov"),
            (sgd(0.1, 0.9, false, -1.0), "optimizer.weight_decay"),
        ];
        for (config, field) in cases {
            match config.validate() {
                Err(TrainError::Setting { field: found, .. }) => assert_eq!(found, field),
                other => panic!("{field}: {other:?}"),
            }
        }
    }
}
