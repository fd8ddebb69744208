//! The methods by name, and the controls to report beside NORM (method card, section 13.6).

use crate::config::DistillConfig;
use crate::recipe::{LossRecipe, TransformRecipe};
use serde::{Deserialize, Serialize};

/// How a student is taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Labels alone.
    Ce,
    /// Control: labels alone, with NORM's standardised logits.
    CeStandardised,
    /// Labels and the teacher's softened logits.
    Kd,
    /// Labels and the teacher's feature, N slices.
    Norm,
    /// NORM with the KD loss.
    NormKd,
    /// Control: NORM's module, no teacher.
    TransformOnly,
    /// Control: one slice with N times the feature weight.
    OneSlice,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Ce,
        Self::CeStandardised,
        Self::Kd,
        Self::Norm,
        Self::NormKd,
        Self::TransformOnly,
        Self::OneSlice,
    ];

    /// Its name on the command line, in folders and in results.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ce => "ce",
            Self::CeStandardised => "ce_standardised",
            Self::Kd => "kd",
            Self::Norm => "norm",
            Self::NormKd => "norm_kd",
            Self::TransformOnly => "transform_only",
            Self::OneSlice => "one_slice",
        }
    }

    /// One line for tables.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Ce => "student alone",
            Self::CeStandardised => "student alone, standardised logits",
            Self::Kd => "student with KD",
            Self::Norm => "student with NORM",
            Self::NormKd => "student with NORM and KD",
            Self::TransformOnly => "student with NORM's module, no teacher",
            Self::OneSlice => "student with one slice, N times the weight",
        }
    }

    /// The loss under these settings.
    pub fn recipe(self, config: &DistillConfig) -> LossRecipe {
        let (kd, norm) = (&config.kd, &config.norm);
        let alone = LossRecipe {
            label_smoothing: config.label_smoothing,
            ..LossRecipe::cross_entropy()
        };
        let matching = LossRecipe {
            cross_entropy_weight: norm.cross_entropy_weight,
            feature_weight: norm.feature_weight,
            feature_schedule: norm.schedule,
            temperature: kd.temperature,
            standardise: norm.standardise,
            transform: Some(TransformRecipe {
                slices: norm.slices,
                residual: norm.residual,
            }),
            ..alone.clone()
        };
        match self {
            Self::Ce => alone,
            Self::CeStandardised => LossRecipe {
                standardise: norm.standardise.or(Some(crate::logits::STANDARDISED_SCALE)),
                ..alone
            },
            Self::Kd => LossRecipe {
                cross_entropy_weight: kd.cross_entropy_weight,
                kd_weight: kd.weight,
                temperature: kd.temperature,
                standardise: kd.standardise,
                ..alone
            },
            Self::Norm => matching,
            Self::NormKd => LossRecipe {
                kd_weight: norm.kd_weight,
                ..matching
            },
            Self::TransformOnly => LossRecipe {
                cross_entropy_weight: 1.0,
                feature_weight: 0.0,
                ..matching
            },
            Self::OneSlice => LossRecipe {
                feature_weight: norm.feature_weight * norm.slices as f64,
                transform: Some(TransformRecipe {
                    slices: 1,
                    residual: norm.residual,
                }),
                ..matching
            },
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = text.to_ascii_lowercase().replace('-', "_");
        let known = Self::ALL.map(Self::name);
        Self::ALL
            .into_iter()
            .find(|method| method.name() == plain)
            .ok_or_else(|| format!("unknown method {text}; known: {}", known.join(", ")))
    }
}
