//! What can go wrong in training, sampling and measuring.

use std::path::PathBuf;
use taper_data::DataError;
use taper_train::TrainError;
use taper_weights::WeightsError;

/// Each variant names the setting, file or network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffusionError {
    /// A setting is out of range.
    #[error("{field}: found {found}, expected {expected}")]
    Setting {
        /// The field, as in TOML or as the flag is called.
        field: String,
        /// Its value.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// The adaptive sampler used up its evaluations before the data's end of the time axis.
    #[error(
        "sample {sample}: tolerance {tolerance:e} not reached in {evaluations} evaluations (at time {time:.4} of 1 … 0); \
         allow more evaluations or a larger tolerance"
    )]
    Tolerance {
        /// Index of the sample in its batch.
        sample: usize,
        /// What was asked for.
        tolerance: f64,
        /// Evaluations allowed and used.
        evaluations: usize,
        /// Where the sample was.
        time: f64,
    },
    /// Samples became NaN or infinite.
    #[error("the samples became NaN or infinite: {advice}")]
    NonFinite {
        /// What would help.
        advice: &'static str,
    },
    /// Statistics, features or weights of a file do not fit.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was found and what would be right.
        message: String,
    },
    /// A measure cannot be computed from what is there.
    #[error("{measure}: found {found}, expected {expected}")]
    Measure {
        /// Which measure.
        measure: &'static str,
        /// What was given.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// The data.
    #[error(transparent)]
    Data(Box<DataError>),
    /// The weights.
    #[error(transparent)]
    Weights(Box<WeightsError>),
    /// The training.
    #[error(transparent)]
    Train(Box<TrainError>),
    /// No such classifier.
    #[error(transparent)]
    Classifier(#[from] taper_vision::UnknownModel),
    /// Candle.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Short for `Result<T, DiffusionError>`.
pub type Result<T> = std::result::Result<T, DiffusionError>;

// Boxed, so that a result is no larger than it must be.
impl From<DataError> for DiffusionError {
    fn from(error: DataError) -> Self {
        Self::Data(Box::new(error))
    }
}

impl From<WeightsError> for DiffusionError {
    fn from(error: WeightsError) -> Self {
        Self::Weights(Box::new(error))
    }
}

impl From<TrainError> for DiffusionError {
    fn from(error: TrainError) -> Self {
        Self::Train(Box::new(error))
    }
}

impl DiffusionError {
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

    pub(crate) fn measure(
        measure: &'static str,
        found: impl std::fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        Self::Measure {
            measure,
            found: found.to_string(),
            expected: expected.into(),
        }
    }

    pub(crate) fn file(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::File {
            path: path.into(),
            message: message.into(),
        }
    }
}
