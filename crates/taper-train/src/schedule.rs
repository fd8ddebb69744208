//! Learning-rate schedules: a factor of the configured rate, as a function of the position.

use crate::error::{Result, TrainError};
use crate::position::Position;
use serde::{Deserialize, Serialize};

/// How the learning rate moves over a training.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The way down.
    #[serde(default)]
    pub decay: Decay,
    /// The way up before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Warmup>,
}

/// The way down.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "shape", rename_all = "lowercase", deny_unknown_fields)]
pub enum Decay {
    /// The rate stays.
    #[default]
    Constant,
    /// The rate is multiplied by `factor` at the beginning of each milestone's epoch.
    Step {
        /// Epochs, counted from 0, of a training of `of` epochs; with `of = 1` fractions of a training.
        milestones: Vec<f64>,
        /// How many epochs the milestones speak of; a training of another length scales them.
        #[serde(default = "whole")]
        of: f64,
        /// Multiplier at each milestone.
        #[serde(default = "tenth")]
        factor: f64,
    },
    /// Half a cosine from 1 to `floor` over what follows the warm-up.
    Cosine {
        /// Factor at the end.
        #[serde(default)]
        floor: f64,
        /// Whether the rate moves once an epoch rather than every step.
        #[serde(default)]
        per_epoch: bool,
    },
}

fn whole() -> f64 {
    1.0
}

fn tenth() -> f64 {
    0.1
}

/// A linear rise of the factor from `start` to 1, step by step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warmup {
    /// Length in epochs.
    pub epochs: f64,
    /// Factor at the first step.
    #[serde(default)]
    pub start: f64,
}

impl Decay {
    /// The CIFAR schedule of the distillation literature as NORM's code runs it (card norm.md
    /// section 6): 0.1 at epochs 151, 181 and 211 of 241, scaled for another length.
    pub fn cifar() -> Self {
        Self::Step {
            milestones: vec![151.0, 181.0, 211.0],
            of: 241.0,
            factor: 0.1,
        }
    }
}

impl Schedule {
    /// The factor of the learning rate for the step at `position`.
    pub fn factor(&self, position: &Position) -> f64 {
        let done = position.epochs_done();
        let warmup = self.warmup.unwrap_or(Warmup {
            epochs: 0.0,
            start: 1.0,
        });
        let rise = if done < warmup.epochs {
            warmup.start + (1.0 - warmup.start) * done / warmup.epochs
        } else {
            1.0
        };
        rise * self.decay.factor(position, warmup.epochs)
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if let Some(Warmup { epochs, start }) = self.warmup {
            within("schedule.warmup.epochs", epochs, 0.0, f64::MAX)?;
            within("schedule.warmup.start", start, 0.0, 1.0)?;
        }
        match &self.decay {
            Decay::Constant => Ok(()),
            Decay::Cosine { floor, .. } => within("schedule.decay.floor", *floor, 0.0, 1.0),
            Decay::Step {
                milestones,
                of,
                factor,
            } => {
                if !(of.is_finite() && *of > 0.0) {
                    return Err(TrainError::setting(
                        "schedule.decay.of",
                        of,
                        "a number above 0",
                    ));
                }
                within("schedule.decay.factor", *factor, 0.0, f64::MAX)?;
                milestones
                    .iter()
                    .try_for_each(|&m| within("schedule.decay.milestones", m, 0.0, *of))
            }
        }
    }
}

fn within(field: &str, value: f64, low: f64, high: f64) -> Result<()> {
    if value >= low && value <= high {
        return Ok(());
    }
    let expected = if high == f64::MAX {
        format!("a number not below {low}")
    } else {
        format!("a number from {low} to {high}")
    };
    Err(TrainError::setting(field, value, &expected))
}

impl Decay {
    fn factor(&self, position: &Position, warmup: f64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Step {
                milestones,
                of,
                factor,
            } => {
                let passed = milestones
                    .iter()
                    .filter(|&&m| {
                        position.epoch as f64 >= (m / of * position.epochs as f64).round()
                    })
                    .count();
                factor.powi(passed as i32)
            }
            Self::Cosine { floor, per_epoch } => {
                let done = if *per_epoch {
                    position.epoch as f64
                } else {
                    position.epochs_done()
                };
                let length = (position.epochs as f64 - warmup).max(f64::MIN_POSITIVE);
                let progress = ((done - warmup) / length).clamp(0.0, 1.0);
                floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, step_in_epoch: usize, epochs: u64) -> Position {
        Position {
            epoch,
            step_in_epoch,
            steps_per_epoch: 10,
            epochs,
        }
    }

    fn drops(schedule: &Schedule, epochs: u64) -> Vec<u64> {
        (1..epochs)
            .filter(|&e| {
                schedule.factor(&at(e, 0, epochs)) < schedule.factor(&at(e - 1, 9, epochs))
            })
            .collect()
    }

    /// The table of NORM's code, and the same shape for other lengths.
    #[test]
    fn cifar_steps() {
        let schedule = Schedule {
            decay: Decay::cifar(),
            warmup: None,
        };
        assert_eq!(drops(&schedule, 241), [151, 181, 211]);
        assert_eq!(drops(&schedule, 240), [150, 180, 210]);
        assert_eq!(drops(&schedule, 60), [38, 45, 53]);
        for (epoch, factor) in [(0, 1.0), (150, 1.0), (151, 0.1), (181, 0.01), (240, 0.001)] {
            let found = schedule.factor(&at(epoch, 3, 241));
            assert!((found - factor).abs() < 1e-12, "{epoch}: {found}");
        }
    }

    #[test]
    fn fractions_are_milestones_of_one() {
        let schedule: Schedule =
            toml::from_str("decay = { shape = \"step\", milestones = [0.5, 0.75], factor = 0.2 }")
                .unwrap();
        assert_eq!(drops(&schedule, 8), [4, 6]);
        assert!((schedule.factor(&at(7, 0, 8)) - 0.04).abs() < 1e-12);
    }

    #[test]
    fn cosine_and_warmup() {
        let schedule = Schedule {
            decay: Decay::Cosine {
                floor: 0.1,
                per_epoch: false,
            },
            warmup: Some(Warmup {
                epochs: 2.0,
                start: 0.2,
            }),
        };
        let close = |position, expected: f64| {
            let found = schedule.factor(&position);
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        };
        close(at(0, 0, 10), 0.2);
        close(at(1, 0, 10), 0.6);
        close(at(2, 0, 10), 1.0);
        close(at(6, 0, 10), 0.55);
        close(at(10, 0, 10), 0.1);
        // torch CosineAnnealingLR(T_max = 8, eta_min = 0.1) at t = 2 from a rate of 1.
        close(at(4, 0, 10), 0.1 + 0.9 * (1.0 + 0.5f64.sqrt()) / 2.0);
    }

    #[test]
    fn per_epoch_cosine_is_flat_inside_an_epoch() {
        let decay = Decay::Cosine {
            floor: 0.0,
            per_epoch: true,
        };
        assert_eq!(
            decay.factor(&at(3, 0, 10), 0.0),
            decay.factor(&at(3, 9, 10), 0.0)
        );
    }

    #[test]
    fn bad_values_are_named() {
        let step = |milestones, of| Schedule {
            decay: Decay::Step {
                milestones,
                of,
                factor: 0.1,
            },
            warmup: None,
        };
        for (schedule, field) in [
            (step(vec![1.5], 1.0), "schedule.decay.milestones"),
            (step(vec![0.5], f64::NAN), "schedule.decay.of"),
            (
                Schedule {
                    decay: Decay::Constant,
                    warmup: Some(Warmup {
                        epochs: -1.0,
                        start: 0.0,
                    }),
                },
                "schedule.warmup.epochs",
            ),
        ] {
            let error = schedule.validate().unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
        assert!(
            toml::from_str::<Schedule>("decay = { shape = \"step\", milestone = [1] }").is_err()
        );
    }
}
