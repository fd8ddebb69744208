//! Reading and writing checkpoints.
//!
//! A [`Checkpoint`] is a map from names to tensors with free metadata. [`load`] reads one from
//! disk, whatever its kind; [`TensorFile`] opens one and reads single tensors of it. [`fit`] puts it into a network's [`ParameterStore`](taper_layers::ParameterStore) and says
//! exactly what is missing, unexpected or of another shape, and [`save`] writes one so that a crash
//! or a full disk leaves either the old file or the new one, never half of it.

mod checkpoint;
mod classifier;
mod error;
mod fit;
#[cfg(feature = "hub")]
pub mod hub;
mod nearest;
mod reader;
mod save;
mod velocity;

pub use checkpoint::{Checkpoint, load};
pub use classifier::{
    InputNormalisation, LoadedClassifier, NORMALISATION_METADATA_KEY, load_classifier,
};
pub use error::WeightsError;
pub use fit::{FitReport, fit};
pub use nearest::nearest;
pub use reader::{Container, ElementType, Limits, TensorEntry, TensorFile};
pub use save::save;
pub use velocity::{LoadedVelocity, load_velocity};
