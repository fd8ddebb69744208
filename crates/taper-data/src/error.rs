//! What can go wrong with data: every variant names the file, row or field, what was found and what would be right.

use std::path::PathBuf;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, DataError>;

/// An error of a data set, its files, an augmentation policy or the loader.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A data specification that cannot be understood.
    #[error("data specification \"{text}\": {reason}\n  known: {known}")]
    Specification {
        /// The text as given.
        text: String,
        /// What is wrong with it.
        reason: String,
        /// What can be written instead.
        known: &'static str,
    },
    /// No folder given and none of the usual places holds the set.
    #[error("{set}: not found; looked in {}\n  give the folder as {set}:DIR, or set TAPER_DATA to the folder that holds {set}/", list(.looked_in))]
    NotFound {
        /// Name of the set.
        set: String,
        /// The places searched, in order.
        looked_in: Vec<PathBuf>,
    },
    /// The folder of a set does not exist.
    #[error("{set}: {}: no such folder", .directory.display())]
    MissingFolder {
        /// Name of the set.
        set: String,
        /// The folder as given.
        directory: PathBuf,
    },
    /// The folder holds no file of the wanted part.
    #[error("{set}: no {part} part in {}\n  found: {found}\n  expected one of: {}", .directory.display(), .expected.join("; "))]
    MissingPart {
        /// Name of the set.
        set: String,
        /// `train` or `test`.
        part: &'static str,
        /// The folder searched (and the folders in it).
        directory: PathBuf,
        /// What the folder holds instead.
        found: String,
        /// The files of each known format that would do.
        expected: Vec<String>,
    },
    /// One file of several that belong together is not there.
    #[error("{}: no such file; it belongs to {}", .path.display(), .belongs_to.display())]
    MissingFile {
        /// The missing file.
        path: PathBuf,
        /// A file or folder that is there and needs it.
        belongs_to: PathBuf,
    },
    /// The operating system could not read a file.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file whose structure is not that of its format: wrong, truncated or too long.
    #[error("{}: found {found}, expected {expected}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the file holds.
        found: String,
        /// What it should hold.
        expected: String,
    },
    /// A pickle outside the vocabulary of the CIFAR batches, or a truncated one.
    #[error("{}: pickle, byte {offset}: found {found}, expected {expected}", .path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// Offset of the opcode in the (uncompressed) file.
        offset: usize,
        /// What stands there.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// A label outside the classes of the set.
    #[error("{}: row {row}: label {label}, expected 0..={}", .path.display(), .classes.saturating_sub(1))]
    Label {
        /// The file.
        path: PathBuf,
        /// Row, counted from 0.
        row: usize,
        /// The label found.
        label: i64,
        /// How many classes the set has.
        classes: usize,
    },
    /// An image that cannot be decoded or has the wrong size.
    #[error("{location}: {message}")]
    Image {
        /// Path of the image, or path and row of the file that holds it.
        location: String,
        /// What is wrong with it.
        message: String,
    },
    /// A file whose SHA-256 is not the one listed.
    #[error("{}: wrong checksum\n  found    {found}\n  expected {expected} ({})", .path.display(), .list.display())]
    Checksum {
        /// The file.
        path: PathBuf,
        /// SHA-256 of the file, in hexadecimal.
        found: String,
        /// The listed SHA-256.
        expected: String,
        /// The `SHA256SUMS` file.
        list: PathBuf,
    },
    /// A set or part without images.
    #[error("{what}: no images (N = 0), expected at least one")]
    Empty {
        /// The set, part or file.
        what: String,
    },
    /// A setting of the loader, a policy or a set that does not fit.
    #[error("{field}: found {found}, expected {expected}")]
    Setting {
        /// Name of the field.
        field: String,
        /// Its value.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// A worker thread of the loader panicked: a defect of this crate.
    #[error("a loader thread failed while it prepared batch {batch}: {message}")]
    Worker {
        /// The batch, counted from 0 in its epoch.
        batch: usize,
        /// The panic's message.
        message: String,
    },
    /// Candle could not make the batch's tensor.
    #[error("batch tensor: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl DataError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn format(
        path: impl Into<PathBuf>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::Format {
            path: path.into(),
            found: found.into(),
            expected: expected.into(),
        }
    }

    pub(crate) fn setting(
        field: impl Into<String>,
        found: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Setting {
            field: field.into(),
            found: found.to_string(),
            expected: expected.into(),
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    let shown: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
    if shown.is_empty() {
        "no folder (TAPER_DATA is not set)".into()
    } else {
        shown.join(", ")
    }
}
