//! A data set as a network of the zoo reads it: training batches for the loop, test batches for scores.

use crate::error::DistillError;
use std::sync::Arc;
use taper_data::{
    AugmentationPolicy, Batch, DataSpec, EpochIterator, ImageSet, Loader, LoaderConfig,
    Normalisation, Part,
};
use taper_train::{BatchSource, Batches, TrainError};

/// Images a step in evaluation; it changes no score.
const TEST_BATCH: usize = 128;
/// Background threads of a loader: one prepares images many times faster than a step reads them.
const WORKERS: usize = 1;

/// Both parts of a data set, or the test part alone, at the size that a network reads.
#[derive(Debug, Clone)]
pub struct ClassifierData {
    spec: DataSpec,
    train: Option<Arc<ImageSet>>,
    test: Loader,
    test_images: usize,
    classes: usize,
    input: [usize; 3],
    normalisation: Normalisation,
}

impl ClassifierData {
    /// Opens both parts; images become `input` = `[channels, height, width]`.
    ///
    /// # Errors
    /// A [`DataError`](taper_data::DataError) naming the file or folder.
    pub fn open(
        spec: &DataSpec,
        input: [usize; 3],
        normalisation: Option<Normalisation>,
    ) -> Result<Self, DistillError> {
        let set = spec.open()?;
        Ok(Self {
            train: Some(Arc::new(set.train)),
            ..Self::with_test(spec, set.test, input, normalisation)?
        })
    }

    /// Opens the test part alone.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_test(
        spec: &DataSpec,
        input: [usize; 3],
        normalisation: Option<Normalisation>,
    ) -> Result<Self, DistillError> {
        let test = spec.open_part(Part::Test)?;
        Self::with_test(spec, test, input, normalisation)
    }

    fn with_test(
        spec: &DataSpec,
        test: ImageSet,
        input: [usize; 3],
        normalisation: Option<Normalisation>,
    ) -> Result<Self, DistillError> {
        let normalisation = normalisation.unwrap_or_else(|| spec.normalisation());
        let normalisation = normalisation.for_channels(input[0])?;
        let (classes, test_images) = (test.classes(), test.len());
        let config = LoaderConfig {
            batch: TEST_BATCH,
            workers: WORKERS,
            size: Some([input[1], input[2]]),
            channels: Some(input[0]),
            ..LoaderConfig::evaluation(normalisation.clone())
        };
        Ok(Self {
            spec: spec.clone(),
            train: None,
            test: Loader::new(Arc::new(test), config)?,
            test_images,
            classes,
            input,
            normalisation,
        })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Training and test images.
    pub fn counts(&self) -> (usize, usize) {
        let train = self.train.as_ref().map_or(0, |set| set.len());
        (train, self.test_images)
    }

    /// What images are normalised with.
    pub fn normalisation(&self) -> &Normalisation {
        &self.normalisation
    }

    /// The augmentation that training uses when none is asked for.
    pub fn usual_augmentation(&self) -> AugmentationPolicy {
        self.spec.training_policy([self.input[1], self.input[2]])
    }

    /// Training batches of `batch` images in the order of `seed`; the last, smaller one is dropped.
    ///
    /// # Errors
    /// A batch larger than the training part; the data was opened without one.
    pub fn source(
        &self,
        batch: usize,
        seed: u64,
        augmentation: Option<&AugmentationPolicy>,
    ) -> Result<LoaderSource, DistillError> {
        let Some(train) = &self.train else {
            return Err(DistillError::setting(
                "data",
                "the test part alone",
                "a training part to learn from",
            ));
        };
        if batch == 0 || batch > train.len() {
            let expected = format!("from 1 to {}, the training images", train.len());
            return Err(DistillError::setting("batch", batch, expected));
        }
        let policy = augmentation
            .cloned()
            .unwrap_or_else(|| self.usual_augmentation());
        let config = LoaderConfig {
            batch,
            policy,
            drop_last: true,
            workers: WORKERS,
            size: Some([self.input[1], self.input[2]]),
            channels: Some(self.input[0]),
            ..LoaderConfig::training(self.normalisation.clone(), seed)
        };
        Ok(LoaderSource {
            loader: Loader::new(Arc::clone(train), config)?,
        })
    }

    /// The test part in its order, every image once.
    pub fn test_batches(&self) -> EpochIterator {
        self.test.epoch(0, 0)
    }
}

/// A [`Loader`] as the loop's source of batches.
#[derive(Debug)]
pub struct LoaderSource {
    loader: Loader,
}

impl BatchSource for LoaderSource {
    type Batch = Batch;

    fn batches_per_epoch(&self) -> usize {
        self.loader.batches_per_epoch()
    }

    fn epoch(&mut self, epoch: u64, first_batch: usize) -> taper_train::Result<Batches<'_, Batch>> {
        let batches = self.loader.epoch(epoch, first_batch);
        Ok(Box::new(
            batches.map(|batch| batch.map_err(TrainError::method)),
        ))
    }
}
