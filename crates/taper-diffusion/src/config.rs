//! All settings of a diffusion training, as read from TOML and overridden by flags.

use crate::error::{DiffusionError, Result};
use crate::learner::Lesson;
use crate::objectives::catch_up::{CatchUpConfig, RECIPROCAL};
use crate::objectives::consistency::Consistency;
use crate::objectives::coupling::CouplingConfig;
use crate::source::Source;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use taper_data::AugmentationPolicy;
use taper_train::TrainConfig;
use taper_velocity::VelocityConfig;

/// How a network learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Rectified flow: the velocity of straight lines from data to noise (arXiv:2209.03003).
    Flow,
    /// Catch-Up Distillation (arXiv:2305.10769).
    Cud,
    /// Consistency Distillation from a teacher.
    Consistency,
    /// Progressive Distillation from a teacher, halving its steps stage by stage.
    Progressive,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Flow, Self::Cud, Self::Consistency, Self::Progressive];

    /// As written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Cud => "cud",
            Self::Consistency => "consistency",
            Self::Progressive => "progressive",
        }
    }

    /// Whether it learns from a finished network.
    pub fn has_teacher(self) -> bool {
        matches!(self, Self::Consistency | Self::Progressive)
    }
}

impl std::str::FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let found = Self::ALL.into_iter().find(|method| method.name() == text);
        found.ok_or_else(|| format!("{text}: expected flow, cud, consistency or progressive"))
    }
}

/// A whole training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffusionConfig {
    /// The data.
    pub data: Source,
    /// The method.
    pub method: Method,
    /// Fixes initialisation, data order and noise.
    #[serde(default)]
    pub seed: u64,
    /// Samples a step.
    pub batch: usize,
    /// Steps of an epoch on points in the plane, which have no end; images have as many as batches.
    #[serde(default = "steps_per_epoch")]
    pub steps_per_epoch: usize,
    /// Augmentation of the training images; absent: none, and a mirror for CIFAR (method card, section 8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<AugmentationPolicy>,
    /// The velocity network; Catch-Up Distillation gives it as many heads as its order.
    pub network: VelocityConfig,
    /// A learnt coupling of data and noise; absent: independent noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coupling: Option<CouplingConfig>,
    /// Of Catch-Up Distillation.
    #[serde(default)]
    pub catch_up: CatchUpConfig,
    /// Of Consistency Distillation.
    #[serde(default)]
    pub consistency: ConsistencyConfig,
    /// Of Progressive Distillation.
    #[serde(default)]
    pub progressive: ProgressiveConfig,
    /// Whom Consistency and Progressive Distillation learn from.
    #[serde(default)]
    pub teacher: TeacherConfig,
    /// A further training to one step after the main one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional: Option<AdditionalConfig>,
    /// What is measured and drawn after an epoch.
    #[serde(default)]
    pub evaluation: EvaluationConfig,
    /// The loop. The average is what is evaluated and saved.
    pub training: TrainConfig,
}

pub(crate) fn steps_per_epoch() -> usize {
    500
}

/// Settings of Consistency Distillation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsistencyConfig {
    /// As its published code ran it, or as it is meant.
    pub form: Consistency,
    /// M: the teacher's step is 1/M.
    pub reciprocal: usize,
}

impl Default for ConsistencyConfig {
    fn default() -> Self {
        Self {
            form: Consistency::Proper,
            reciprocal: RECIPROCAL,
        }
    }
}

/// Settings of Progressive Distillation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProgressiveConfig {
    /// Steps of the student of each stage, each half of those of the stage before.
    pub stages: Vec<usize>,
}

impl Default for ProgressiveConfig {
    fn default() -> Self {
        Self {
            stages: vec![8, 4, 2, 1],
        }
    }
}

/// The network that a method learns from: a file, or a training by flow matching of its own.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TeacherConfig {
    /// Its weights; absent: it is trained first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Its training; absent: as the student's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainConfig>,
}

/// The additional training (method card, section 8): one step learns estimates of a 16-step sampling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdditionalConfig {
    /// Pairs of noise and estimate, drawn once a stage.
    pub pairs: usize,
    /// Steps of the Euler sampling that gives the estimates.
    #[serde(default = "teacher_steps")]
    pub steps: usize,
    /// Which step's estimate each stage learns, counted from 0 at time 1.
    #[serde(default = "additional_stages")]
    pub stages: Vec<usize>,
    /// Weight of the distance from the student's own average.
    #[serde(default = "average_weight")]
    pub average_weight: f64,
    /// The loop of each stage; an epoch is a pass over the pairs.
    pub training: TrainConfig,
}

/// Euler 16, estimates 8, 11 and 14, weight 0.1: the published additional training (method card, section 8).
fn teacher_steps() -> usize {
    16
}

fn additional_stages() -> Vec<usize> {
    vec![8, 11, 14]
}

fn average_weight() -> f64 {
    0.1
}

/// What is measured and drawn after an epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationConfig {
    /// Numbers of Euler steps; a column or row each.
    pub steps: Vec<usize>,
    /// Samples for the distances of points; images measure the flow loss on test images instead.
    pub samples: usize,
    /// Images in a row of the pictures.
    pub pictures: usize,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            steps: vec![1, 2, 4, 8, 16],
            samples: 500,
            pictures: 8,
        }
    }
}

impl DiffusionConfig {
    /// The network with the heads that the method trains.
    pub fn trained_network(&self) -> VelocityConfig {
        self.network.clone().with_heads(Lesson::of(self).heads())
    }

    /// The training of the teacher.
    pub fn teacher_training(&self) -> &TrainConfig {
        self.teacher.training.as_ref().unwrap_or(&self.training)
    }

    /// Checks every value that can be checked without the data.
    ///
    /// # Errors
    /// [`DiffusionError::Setting`] naming the first that is out of range.
    pub fn validate(&self) -> Result<()> {
        let refuse = |field: &str, found: String, expected: &str| {
            Err(DiffusionError::setting(field, found, expected))
        };
        for (field, value) in [
            ("batch", self.batch),
            ("steps_per_epoch", self.steps_per_epoch),
            ("consistency.reciprocal", self.consistency.reciprocal),
            ("evaluation.samples", self.evaluation.samples),
        ] {
            if value == 0 {
                return refuse(field, "0".into(), "a whole number from 1");
            }
        }
        if self.evaluation.steps.contains(&0) {
            return refuse("evaluation.steps", "0".into(), "numbers of steps from 1");
        }
        let stages = &self.progressive.stages;
        let halves = stages.windows(2).all(|pair| pair[0] == 2 * pair[1]);
        if stages.is_empty() || stages.contains(&0) || !halves {
            let expected = "each half of the one before, such as [8, 4, 2, 1]";
            return refuse("progressive.stages", format!("{stages:?}"), expected);
        }
        self.catch_up.validate()?;
        if let Some(coupling) = &self.coupling {
            coupling.validate()?;
            if self.method.has_teacher() {
                let found = format!("a coupling with the method {}", self.method.name());
                return refuse(
                    "coupling",
                    found,
                    "none: the teacher knows independent noise",
                );
            }
        }
        if let Some(additional) = &self.additional {
            additional.validate()?;
        }
        if self.method == Method::Consistency && self.training.ema.is_none() {
            let expected = "a decay such as 0.999: the targets come from the average";
            return refuse("training.ema", "none".into(), expected);
        }
        self.training.validate()?;
        Ok(self.teacher_training().validate()?)
    }
}

impl AdditionalConfig {
    /// The published stages over `pairs`, each of `training`.
    pub fn published(pairs: usize, training: TrainConfig) -> Self {
        Self {
            pairs,
            steps: teacher_steps(),
            stages: additional_stages(),
            average_weight: average_weight(),
            training,
        }
    }

    fn validate(&self) -> Result<()> {
        if self.pairs == 0 || self.steps == 0 {
            let found = format!("{} pairs, {} steps", self.pairs, self.steps);
            return Err(DiffusionError::setting("additional", found, "both from 1"));
        }
        if let Some(stage) = self.stages.iter().find(|&&stage| stage >= self.steps) {
            let expected = format!("steps 0 … {}", self.steps - 1);
            return Err(DiffusionError::setting(
                "additional.stages",
                stage,
                expected,
            ));
        }
        if self.training.ema.is_none() {
            let expected = "a decay such as 0.9999";
            return Err(DiffusionError::setting(
                "additional.training.ema",
                "none",
                expected,
            ));
        }
        Ok(self.training.validate()?)
    }
}
