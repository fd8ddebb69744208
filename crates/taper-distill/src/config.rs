//! All settings of a distillation, as read from TOML and overridden by flags.

use crate::error::DistillError;
use crate::logits::{KD_TEMPERATURE, STANDARDISED_SCALE};
use crate::method::Method;
use crate::norm::WeightSchedule;
use crate::teacher::Tap;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use taper_data::{AugmentationPolicy, DataSpec};
use taper_train::{Decay, OptimizerConfig, Schedule, TrainConfig};

/// Who teaches whom, on what, how, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillConfig {
    /// The data set.
    pub data: DataSpec,
    /// The student's name in the zoo.
    pub student: String,
    /// Each is run with each seed.
    pub methods: Vec<Method>,
    /// Seeds of the students.
    pub seeds: Vec<u64>,
    /// Images a step.
    pub batch: usize,
    /// Augmentation of the training images; absent: the usual one of the data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<AugmentationPolicy>,
    /// ε of the label smoothing.
    #[serde(default)]
    pub label_smoothing: f64,
    /// The teacher.
    pub teacher: TeacherConfig,
    /// The students' training.
    pub training: TrainConfig,
    /// KD.
    #[serde(default)]
    pub kd: KdConfig,
    /// NORM.
    #[serde(default)]
    pub norm: NormConfig,
}

/// The teacher: a file of weights, or a training of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherConfig {
    /// Its name in the zoo.
    pub model: String,
    /// Its weights; absent: it is trained first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Seed of its training.
    #[serde(default)]
    pub seed: u64,
    /// Where its feature is read.
    #[serde(default)]
    pub tap: Tap,
    /// Its training, if it has no weights; absent: as the students'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<TrainConfig>,
}

/// Settings of KD.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KdConfig {
    /// γ.
    pub cross_entropy_weight: f64,
    /// β.
    pub weight: f64,
    /// T.
    pub temperature: f64,
    /// c, if logits are to be standardised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standardise: Option<f64>,
}

impl Default for KdConfig {
    /// RepDistiller's KD: 0.1 CE + 0.9 KD at T = 4, on raw logits.
    fn default() -> Self {
        Self {
            cross_entropy_weight: 0.1,
            weight: 0.9,
            temperature: KD_TEMPERATURE,
            standardise: None,
        }
    }
}

/// Settings of NORM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NormConfig {
    /// N.
    pub slices: usize,
    /// "Default FT" with the residual, "plain FT" without.
    pub residual: bool,
    /// γ.
    pub cross_entropy_weight: f64,
    /// α.
    pub feature_weight: f64,
    /// β of `norm_kd`.
    pub kd_weight: f64,
    /// w(epoch).
    pub schedule: WeightSchedule,
    /// c. NORM's code standardises logits before every logit loss; absent: raw logits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standardise: Option<f64>,
}

impl Default for NormConfig {
    /// Method card, section 6: N = 8, α = 1, γ of the README's command 0.1, w of CIFAR-100, c = 2.5.
    /// The weight of KD beside NORM is not published; 0.9 is KD's own.
    fn default() -> Self {
        Self {
            slices: 8,
            residual: true,
            cross_entropy_weight: 0.1,
            feature_weight: 1.0,
            kd_weight: 0.9,
            schedule: WeightSchedule::Cifar100,
            standardise: Some(STANDARDISED_SCALE),
        }
    }
}

/// Momentum SGD without Nesterov, weight decay 5e-4 (method card, section 6).
fn momentum_sgd(epochs: u64, learning_rate: f64, decay: Decay) -> TrainConfig {
    TrainConfig {
        epochs,
        optimizer: OptimizerConfig::Sgd {
            learning_rate,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 5e-4,
        },
        schedule: Schedule {
            decay,
            warmup: None,
        },
        ..TrainConfig::default()
    }
}

/// The recipe of NORM's CIFAR-100 experiments: ×0.1 at 151, 181 and 211 of 241 epochs, scaled.
pub(crate) fn cifar_training(epochs: u64, learning_rate: f64) -> TrainConfig {
    momentum_sgd(epochs, learning_rate, Decay::cifar())
}

/// Few epochs want a rate that falls all the way.
fn quick_training() -> TrainConfig {
    let decay = Decay::Cosine {
        floor: 0.0,
        per_epoch: false,
    };
    momentum_sgd(8, 0.05, decay)
}

impl DistillConfig {
    /// The quick start: ResNet-20 teaches ResNet-8 the embedded digits.
    pub fn quick_start() -> Self {
        Self {
            data: DataSpec {
                kind: taper_data::SetKind::Digits,
                directory: None,
            },
            student: "resnet8".into(),
            methods: vec![Method::Ce, Method::Kd, Method::Norm],
            seeds: (0..3).collect(),
            batch: 32,
            augmentation: None,
            label_smoothing: 0.0,
            teacher: TeacherConfig {
                model: "resnet20".into(),
                weights: None,
                seed: 0,
                tap: Tap::Last,
                training: None,
            },
            training: quick_training(),
            kd: KdConfig::default(),
            norm: NormConfig::default(),
        }
    }

    /// Any pair of the zoo, by the recipe of NORM's CIFAR-100 experiments for `epochs` epochs.
    /// Mobile students start from a smaller rate (method card, section 6).
    pub fn pair(teacher: &str, student: &str, data: DataSpec, epochs: u64) -> Self {
        let mobile = ["mobilenet", "shufflenet"]
            .iter()
            .any(|family| student.contains(family));
        Self {
            data,
            student: student.into(),
            teacher: TeacherConfig {
                model: teacher.into(),
                training: None,
                ..Self::quick_start().teacher
            },
            training: cifar_training(epochs, if mobile { 0.01 } else { 0.05 }),
            seeds: vec![0],
            batch: 64,
            ..Self::quick_start()
        }
    }

    /// Checks what no later stage would name.
    ///
    /// # Errors
    /// [`DistillError::Setting`] naming the field, what was found and what would be right.
    pub fn validate(&self) -> Result<(), DistillError> {
        let positive = |field: &str, value: usize| match value {
            0 => Err(DistillError::setting(field, 0, "a whole number from 1")),
            _ => Ok(()),
        };
        positive("batch", self.batch)?;
        positive("norm.slices", self.norm.slices)?;
        positive("methods (how many)", self.methods.len())?;
        positive("seeds (how many)", self.seeds.len())?;
        let finite = |field: &str, value: f64, least: f64| {
            if value.is_finite() && value >= least {
                return Ok(());
            }
            Err(DistillError::setting(
                field,
                value,
                format!("a number from {least}"),
            ))
        };
        finite("kd.weight", self.kd.weight, 0.0)?;
        finite("kd.cross_entropy_weight", self.kd.cross_entropy_weight, 0.0)?;
        finite("norm.feature_weight", self.norm.feature_weight, 0.0)?;
        finite("norm.kd_weight", self.norm.kd_weight, 0.0)?;
        finite(
            "norm.cross_entropy_weight",
            self.norm.cross_entropy_weight,
            0.0,
        )?;
        for (field, value) in [
            ("kd.temperature", Some(self.kd.temperature)),
            ("kd.standardise", self.kd.standardise),
            ("norm.standardise", self.norm.standardise),
        ] {
            if let Some(value) = value
                && !(value.is_finite() && value > 0.0)
            {
                return Err(DistillError::setting(field, value, "a number above 0"));
            }
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            let found = self.label_smoothing;
            return Err(DistillError::setting(
                "label_smoothing",
                found,
                "a number from 0 to below 1",
            ));
        }
        self.training.validate()?;
        if let Some(training) = &self.teacher.training {
            training.validate()?;
        }
        Ok(())
    }
}
