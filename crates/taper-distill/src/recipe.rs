//! What a student's loss is made of: `γ CE + β KD + w(epoch) α NORM` (NORM's method card, section 5).

use crate::norm::WeightSchedule;
use serde::{Deserialize, Serialize};

/// Weights and switches of one method's loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossRecipe {
    /// γ: weight of the cross-entropy with the labels.
    pub cross_entropy_weight: f64,
    /// ε of the label smoothing inside it.
    pub label_smoothing: f64,
    /// β: weight of the KD loss; 0 leaves the teacher's logits unread.
    pub kd_weight: f64,
    /// T of the KD loss.
    pub temperature: f64,
    /// α: weight of NORM's feature loss; 0 leaves the teacher's features unread.
    pub feature_weight: f64,
    /// w(epoch), a further factor of the feature loss.
    pub feature_schedule: WeightSchedule,
    /// c: logits of student and teacher are standardised and scaled by it before every logit loss.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub standardise: Option<f64>,
    /// NORM's module on the student, if any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub transform: Option<TransformRecipe>,
}

/// Form of NORM's module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformRecipe {
    /// N.
    pub slices: usize,
    /// "Default FT" with the residual, "plain FT" without.
    pub residual: bool,
}

impl LossRecipe {
    /// Labels alone.
    pub fn cross_entropy() -> Self {
        Self {
            cross_entropy_weight: 1.0,
            label_smoothing: 0.0,
            kd_weight: 0.0,
            temperature: crate::logits::KD_TEMPERATURE,
            feature_weight: 0.0,
            feature_schedule: WeightSchedule::Constant,
            standardise: None,
            transform: None,
        }
    }

    /// Whether the teacher is read at all.
    pub fn needs_teacher(&self) -> bool {
        self.kd_weight != 0.0 || self.feature_weight != 0.0
    }
}
