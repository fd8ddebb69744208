//! What can go wrong in a distillation.

use taper_data::DataError;
use taper_train::TrainError;
use taper_vision::UnknownModel;
use taper_weights::WeightsError;

/// Each variant names the setting, file or network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DistillError {
    /// A setting is out of range.
    #[error("{field}: found {found}, expected {expected}")]
    Setting {
        /// The field, as in TOML.
        field: String,
        /// Its value.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// The teacher has no such feature.
    #[error("teacher {model} has no tap {tap}; it has {known}")]
    UnknownTap {
        /// The teacher.
        model: String,
        /// The tap asked for.
        tap: String,
        /// Its taps.
        known: String,
    },
    /// Student and teacher (or data) disagree in the number of classes.
    #[error("{what} has {found} classes, {against} has {expected}")]
    Classes {
        /// Whose count it is.
        what: String,
        /// Its classes.
        found: usize,
        /// What it must agree with.
        against: String,
        /// The classes of that.
        expected: usize,
    },
    /// The merged student does not compute what the training graph computed.
    #[error(
        "merging {model}: logits differ by {difference:.2e} from the training graph's, at most {tolerance:.0e} allowed; the unmerged weights are in the run's checkpoint"
    )]
    Merge {
        /// The student.
        model: String,
        /// Largest difference, relative to max(1, |logit|).
        difference: f64,
        /// What is allowed.
        tolerance: f64,
    },
    /// No such network.
    #[error(transparent)]
    Model(#[from] UnknownModel),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Candle.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl DistillError {
    pub(crate) fn setting(
        field: impl Into<String>,
        found: impl std::fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        Self::Setting {
            field: field.into(),
            found: found.to_string(),
            expected: expected.into(),
        }
    }
}
