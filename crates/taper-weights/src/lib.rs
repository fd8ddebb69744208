//! Reading and writing checkpoints.
//!
//! A [`Checkpoint`] is a map from names to tensors with free metadata. [`load`] reads one from
//! disk, whatever its kind; [`TensorFile`] opens one and reads single tensors of it. [`fit`] puts it into a network's [`ParameterStore`](taper_layers::ParameterStore) and says
//! exactly what is missing, unexpected or of another shape, and [`save`] writes one so that a crash
//! or a full disk leaves either the old file or the new one, never half of it.

mod atomic;
mod checkpoint;
mod checksum;
mod classifier;
mod compare;
mod convert;
mod dialect;
mod error;
mod fit;
#[cfg(feature = "hub")]
pub mod hub;
mod merge;
mod nearest;
mod pattern;
mod reader;
mod save;
mod statistics;
mod velocity;
mod verify;

pub use checkpoint::{Checkpoint, load, load_within};
pub use checksum::sha256;
pub use classifier::{
    InputNormalisation, LoadedClassifier, NORMALISATION_METADATA_KEY, fit_of, load_classifier,
};
pub use compare::{Difference, Dtypes, Shapes, Unmatched, Values, compare, compare_with_network};
pub use convert::{
    ConvertOptions, ConvertProgress, ConvertReport, DialectChoice, Overflowed, Permuted, Renamed,
    check_output, convert,
};
pub use dialect::{DIALECTS, Dialect, Direction};
pub use error::WeightsError;
pub use fit::{FitReport, fit};
pub use merge::{
    FOLDED_METADATA_KEY, MergeOptions, MergeReport, average, fold_batch_norm, take_ema,
};
pub use nearest::nearest;
pub use reader::{Container, ElementType, Limits, TensorEntry, TensorFile};
pub use save::save;
pub use statistics::Statistics;
pub use velocity::{LoadedVelocity, load_velocity};
pub use verify::{Check, Verification, VerifyOptions, verify};
