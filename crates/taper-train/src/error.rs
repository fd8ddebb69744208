//! What can go wrong in training, each naming the thing and what would be right.

use std::path::{Path, PathBuf};

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting is outside its range.
    #[error("{field}: found {found}, expected {expected}")]
    Setting {
        /// The setting's name as written in TOML, with dots.
        field: String,
        /// What was there.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// The settings file cannot be read as the settings asked for.
    #[error("{}: {message}", path.display())]
    SettingsFile {
        /// The file.
        path: PathBuf,
        /// The parser's message, with line and field.
        message: String,
    },
    /// A checkpoint belongs to other settings than those given.
    #[error(
        "{}: written with {field} = {found}, the settings say {expected}; \
         put {field} back to go on, or start a new run", path.display()
    )]
    SettingsChanged {
        /// The checkpoint.
        path: PathBuf,
        /// The setting that differs, with dots.
        field: String,
        /// Value in the checkpoint.
        found: String,
        /// Value in the settings.
        expected: String,
    },
    /// A loss term became NaN or infinite. Checkpoints already written are kept.
    #[error(
        "loss term {term} became {value} in epoch {epoch}, step {step}; the last checkpoint is kept: \
         try a lower learning rate, gradient clipping or a warm-up"
    )]
    NonFiniteLoss {
        /// The term's name.
        term: String,
        /// NaN or an infinity.
        value: f64,
        /// Epoch, counted from 1.
        epoch: u64,
        /// Step of the whole training, counted from 1.
        step: u64,
    },
    /// A parameter, its gradient or another tensor of the training state holds NaN or infinity.
    #[error(
        "{what} became NaN or infinite in epoch {epoch}, step {step}; the last checkpoint is kept: \
         try a lower learning rate, gradient clipping or a warm-up"
    )]
    NonFiniteTensor {
        /// Which tensor.
        what: String,
        /// Epoch, counted from 1.
        epoch: u64,
        /// Step of the whole training, counted from 1.
        step: u64,
    },
    /// A loss term is not a scalar.
    #[error("loss term {term}: found shape {found:?}, expected a scalar")]
    LossShape {
        /// The term's name.
        term: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// No loss term of the batch has a weight other than 0: there is nothing to learn from.
    #[error("no loss term with a weight other than 0 in epoch {epoch}, step {step}")]
    NoLoss {
        /// Epoch, counted from 1.
        epoch: u64,
        /// Step of the whole training, counted from 1.
        step: u64,
    },
    /// The store has no parameter that may be moved.
    #[error("the network has no parameter to train (found {found}, all frozen)")]
    NothingToTrain {
        /// How many parameters the store holds.
        found: usize,
    },
    /// The data source has no batch.
    #[error("the training data gives no batch: found 0 batches an epoch, expected at least 1")]
    NoBatches,
    /// The data source ended an epoch early.
    #[error("epoch {epoch} of the training data: found {found} batches, expected {expected}")]
    ShortEpoch {
        /// Epoch, counted from 1.
        epoch: u64,
        /// Batches that came.
        found: usize,
        /// Batches announced.
        expected: usize,
    },
    /// Another process works in the run directory.
    #[error("run directory {} is in use by another process{}; wait for it or choose another directory",
        path.display(), pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other process, where its lock file could be read.
        pid: Option<u32>,
    },
    /// A new run was asked for where one already is.
    #[error("{} already holds a run; resume it, or choose another directory", path.display())]
    RunExists {
        /// The directory.
        path: PathBuf,
    },
    /// A new run was asked for in a directory with files of something else.
    #[error("{} is not empty and holds no run (found {found}); choose a new or empty directory", path.display())]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// One file in it.
        found: String,
    },
    /// A run was to be resumed where none is.
    #[error("{} holds no run: config.toml is missing", path.display())]
    NotARun {
        /// The directory.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: "read", "write", …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// One checkpoint file cannot be used.
    #[error("checkpoint {} is damaged: {reason}", path.display())]
    DamagedCheckpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There are checkpoints, and none can be used.
    #[error("no usable checkpoint in {}: {details}; remove the damaged files to start from the beginning", directory.display())]
    NoUsableCheckpoint {
        /// The checkpoint folder.
        directory: PathBuf,
        /// What is wrong with each.
        details: String,
    },
    /// A checkpoint's tensors do not fit the network, the optimiser or the method.
    #[error("checkpoint tensor {tensor}: found {found}, expected {expected}")]
    CheckpointMismatch {
        /// The tensor's name in the checkpoint.
        tensor: String,
        /// What the checkpoint has.
        found: String,
        /// What is needed.
        expected: String,
    },
    /// A line of the metrics file is not what was written there.
    #[error("{}, line {line}: {message}", path.display())]
    MetricsFile {
        /// The file.
        path: PathBuf,
        /// Line number from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// A picture could not be drawn.
    #[error("picture \"{title}\": {message}")]
    Plot {
        /// The picture's title.
        title: String,
        /// Why.
        message: String,
    },
    /// Something could not be written as TOML, JSON or safetensors.
    #[error("cannot serialise {what}: {message}")]
    Serialise {
        /// What.
        what: String,
        /// Why.
        message: String,
    },
    /// A thread could not be started.
    #[error("cannot start a thread with a stack of {bytes} bytes: {source}")]
    Thread {
        /// Size of the stack asked for.
        bytes: usize,
        /// Why.
        source: std::io::Error,
    },
    /// The store refused a tensor.
    #[error(transparent)]
    Store(#[from] taper_layers::StoreError),
    /// Candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// The method or the data source failed, with an error of its own crate.
    #[error(transparent)]
    Method(Box<dyn std::error::Error + Send + Sync>),
}

/// Short for `Result<T, TrainError>`.
pub type Result<T> = std::result::Result<T, TrainError>;

impl TrainError {
    /// Wraps the error of a method or a data source.
    pub fn method(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Method(error.into())
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    pub(crate) fn serialise(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Serialise {
            what: what.to_string(),
            message: error.to_string(),
        }
    }

    pub(crate) fn setting(
        field: impl Into<String>,
        found: impl std::fmt::Display,
        expected: &str,
    ) -> Self {
        Self::Setting {
            field: field.into(),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }
}
