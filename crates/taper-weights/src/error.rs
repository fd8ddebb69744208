//! What can be wrong with a checkpoint.

use std::path::PathBuf;

/// Each variant names the file, and the tensor where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file could not be opened or read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file could not be written; what stood there before still does.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The bytes are not what the format wants.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found, and what would be right.
        reason: String,
    },
    /// The file asks for more than a cap of [`Limits`](crate::Limits) allows.
    #[error("{}: {what}: more than Limits::{limit} allows; raise it (`--max-{}`) if the file is trusted", path.display(), limit.replace('_', "-"))]
    Limit {
        /// The file.
        path: PathBuf,
        /// What it asks for.
        what: String,
        /// The field of [`Limits`](crate::Limits).
        limit: &'static str,
    },
    /// The tensors do not fit the network.
    #[error("{}: does not fit {model}: {details}", path.display())]
    Misfit {
        /// The file.
        path: PathBuf,
        /// The network.
        model: String,
        /// Missing, unexpected and misshapen tensors, a few of each.
        details: String,
    },
    /// Something stands where the file is to be written.
    #[error("{}: is there already; `--force` replaces it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file to write is one of those that are read, perhaps by a link.
    #[error("{}: is the input {}; name another file to write to", path.display(), input.display())]
    SameFile {
        /// The file to write.
        path: PathBuf,
        /// The file that is read.
        input: PathBuf,
    },
    /// What was asked for does not suit the file.
    #[error("{}: {option}: {reason}", path.display())]
    Request {
        /// The file.
        path: PathBuf,
        /// The option, as on the command line.
        option: String,
        /// What was found, and what would be right.
        reason: String,
    },
    /// An option that makes no sense for any file.
    #[error("{option}: {reason}")]
    Option {
        /// The option, as on the command line.
        option: String,
        /// What would be right.
        reason: String,
    },
    /// The caller's progress function asked to stop; nothing was written.
    #[error("{}: stopped before it was written", path.display())]
    Stopped {
        /// The file to write.
        path: PathBuf,
    },
    /// The file could not be fetched.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] crate::hub::HubError),
    /// Candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
