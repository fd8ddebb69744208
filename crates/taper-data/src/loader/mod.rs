//! Seeded batches, prepared on background threads.
//!
//! Order and content of a batch are a function of the seed, the epoch and the image's index alone:
//! the same for any number of workers and when an epoch is entered in its middle.

mod epoch;
mod prepare;
mod queue;

use std::sync::Arc;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::augmentation::AugmentationPolicy;
use crate::error::{DataError, Result};
use crate::image_set::ImageSet;
use crate::normalisation::Normalisation;

pub use epoch::EpochIterator;
use prepare::Preparation;

/// Images in files are decoded and resized once, up front, when all of them then fit this many bytes.
const DECODE_AHEAD: usize = 1 << 28;
/// Most worker threads: beyond it is a slip of the pen.
const MOST_WORKERS: usize = 1024;

/// What a loader does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoaderConfig {
    /// Images a batch.
    pub batch: usize,
    /// Names the order and the augmentation.
    pub seed: u64,
    /// Whether each epoch has an order of its own; otherwise images come as they are stored.
    pub shuffle: bool,
    /// Whether a last batch with fewer images is left out.
    pub drop_last: bool,
    /// Background threads; 0: batches are prepared by the thread that asks for them.
    pub workers: usize,
    /// Augmentations.
    pub policy: AugmentationPolicy,
    /// From pixels to numbers; adapted to the number of channels.
    pub normalisation: Normalisation,
    /// `[height, width]` that the network needs; `None`: as the images (or the policy) have it.
    pub size: Option<[usize; 2]>,
    /// Channels that the network needs; `None`: as the images have, 3 for images in files.
    pub channels: Option<usize>,
}

impl LoaderConfig {
    /// For training: batches of 64, shuffled, without augmentation, one worker.
    pub fn training(normalisation: Normalisation, seed: u64) -> Self {
        Self {
            batch: 64,
            seed,
            shuffle: true,
            drop_last: false,
            workers: 1,
            policy: AugmentationPolicy::none(),
            normalisation,
            size: None,
            channels: None,
        }
    }

    /// For measuring: batches of 256 in stored order, without augmentation, one worker.
    pub fn evaluation(normalisation: Normalisation) -> Self {
        Self {
            batch: 256,
            shuffle: false,
            ..Self::training(normalisation, 0)
        }
    }

    /// Checks the fields that can be checked without the images.
    ///
    /// # Errors
    /// [`DataError::Setting`] naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.batch == 0 {
            return Err(DataError::setting("batch", 0, "at least 1"));
        }
        if self.workers > MOST_WORKERS {
            let expected = format!("at most {MOST_WORKERS}");
            return Err(DataError::setting("workers", self.workers, expected));
        }
        if self.size.is_some_and(|size| size.contains(&0)) {
            let found = format!("{:?}", self.size.unwrap_or_default());
            return Err(DataError::setting(
                "size",
                found,
                "sides of at least 1 pixel",
            ));
        }
        self.policy.validate()?;
        self.normalisation.validate()
    }
}

/// One batch, on the CPU.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Normalised images, f32 `[batch, channels, height, width]`.
    pub images: Tensor,
    /// Classes, u32 `[batch]`.
    pub labels: Tensor,
    /// Which image of the set each one is.
    pub indices: Vec<u32>,
}

/// Makes the batches of an image set.
#[derive(Debug, Clone)]
pub struct Loader {
    preparation: Arc<Preparation>,
    drop_last: bool,
    workers: usize,
    shape: [usize; 3],
}

impl Loader {
    /// A loader of `set`. Images in memory are brought to the wanted channels and size here, once;
    /// so are images in files if they are few and small, and no step of the policy needs them whole.
    ///
    /// # Errors
    /// [`DataError::Setting`] for a config that does not fit itself or the images; with images in
    /// files, those of reading them.
    pub fn new(set: Arc<ImageSet>, config: LoaderConfig) -> Result<Self> {
        config.validate()?;
        if u32::try_from(set.len()).is_err() {
            let expected = format!("at most {} images", u32::MAX);
            return Err(DataError::setting("images", set.len(), expected));
        }
        let native = set.shape();
        let channels = config.channels.or(native.map(|s| s[0])).unwrap_or(3);
        let before = match config.policy.sets_size() {
            true => native.map(|s| [s[1], s[2]]),
            false => config.size.or(native.map(|s| [s[1], s[2]])),
        };
        let size = final_size(&config, before)?;
        let normalisation = config.normalisation.for_channels(channels)?;
        let set = match before {
            Some(before) if is_small(&set, channels, before) => {
                match set.shape() == Some([channels, before[0], before[1]]) {
                    true => set,
                    false => Arc::new(set.adapted(channels, before)?),
                }
            }
            _ => set,
        };
        let shape = [channels, size[0], size[1]];
        Ok(Self {
            preparation: Arc::new(Preparation {
                set,
                batch: config.batch,
                seed: config.seed,
                shuffle: config.shuffle,
                policy: config.policy,
                tables: normalisation.tables(),
                before,
                shape,
            }),
            drop_last: config.drop_last,
            workers: config.workers,
            shape,
        })
    }

    /// Images an epoch sees.
    pub fn images_per_epoch(&self) -> usize {
        let count = self.preparation.set.len();
        match self.drop_last {
            true => count - count % self.preparation.batch,
            false => count,
        }
    }

    /// Batches of an epoch.
    pub fn batches_per_epoch(&self) -> usize {
        self.images_per_epoch().div_ceil(self.preparation.batch)
    }

    /// `[channels, height, width]` of the images it gives.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The images it draws from, as adapted.
    pub fn set(&self) -> &ImageSet {
        &self.preparation.set
    }

    /// The batches of `epoch` from `first_batch` on (0: all of them; the number of batches already
    /// used, to go on in the middle). Dropping the iterator stops its threads.
    pub fn epoch(&self, epoch: u64, first_batch: usize) -> EpochIterator {
        EpochIterator::start(
            Arc::clone(&self.preparation),
            epoch,
            first_batch,
            self.batches_per_epoch(),
            self.workers,
        )
    }
}

/// The size of the images in a batch.
fn final_size(config: &LoaderConfig, before: Option<[usize; 2]>) -> Result<[usize; 2]> {
    let Some(size) = config.policy.output_size(before) else {
        return Err(DataError::setting(
            "size",
            "none, and the images' sizes vary",
            "a size, or a policy that sets it (random-resized-crop, centre-crop)",
        ));
    };
    match config.size {
        Some(wanted) if wanted != size => Err(DataError::setting(
            "size",
            format!("{wanted:?}"),
            format!("{size:?}, the size that the augmentation gives"),
        )),
        _ => Ok(size),
    }
}

/// Whether the set is in memory, or fits it well once decoded.
fn is_small(set: &ImageSet, channels: usize, size: [usize; 2]) -> bool {
    let bytes = [channels, size[0], size[1]]
        .iter()
        .try_fold(set.len(), |n, &side| n.checked_mul(side));
    set.shape().is_some() || bytes.is_some_and(|bytes| bytes <= DECODE_AHEAD)
}
