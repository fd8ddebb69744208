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
    #[error("{}: {what}: more than Limits::{limit} allows; raise it if the file is trusted", path.display())]
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
    /// The file could not be fetched.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] crate::hub::HubError),
    /// Candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
