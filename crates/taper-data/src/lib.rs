//! Image data sets, augmentation and a seeded loader.
//!
//! [`DataSpec`] says which set and where; opening it gives [`ImageSet`]s; a [`Loader`] turns one
//! into normalised batches, prepared on background threads and the same for any number of them.
//!
//! ```
//! use std::sync::Arc;
//! use taper_data::{DataSpec, Loader, LoaderConfig, Part};
//!
//! let spec: DataSpec = "digits".parse()?;
//! let train = Arc::new(spec.open_part(Part::Train)?);
//! let config = LoaderConfig {
//!     batch: 64,
//!     policy: spec.training_policy([8, 8]),
//!     ..LoaderConfig::training(spec.normalisation(), 0)
//! };
//! let loader = Loader::new(train, config)?;
//! for batch in loader.epoch(0, 0) {
//!     let batch = batch?;
//!     assert_eq!(batch.images.dims()[1..], [1, 8, 8]);
//! }
//! # Ok::<(), taper_data::DataError>(())
//! ```

pub mod augmentation;
mod channels;
pub mod checksum;
mod class_names;
mod decode;
mod digits;
mod error;
mod image_set;
mod loader;
mod locate;
mod normalisation;
mod planar_image;
pub mod published;
mod readers;
mod resize;
mod spec;

pub use augmentation::{AugmentationPolicy, AugmentationStep};
pub use channels::adapt_channels;
pub use decode::decode;
pub use digits::digits;
pub use error::{DataError, Result};
pub use image_set::{DataSet, ImageSet, Part};
pub use loader::{Batch, EpochIterator, Loader, LoaderConfig};
pub use normalisation::Normalisation;
pub use planar_image::{Image, ImageView};
pub use readers::image_folder::TEST_FRACTION;
pub use resize::{Rectangle, resize};
pub use spec::{DATA_VARIABLE, DataSpec, KNOWN_SPECIFICATIONS, SetKind};
