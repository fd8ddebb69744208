//! Data to learn from: points in the plane or images, as batches for the loop.

use crate::error::{DiffusionError, Result};
use crate::toy::Toy;
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use taper_data::{
    AugmentationPolicy, AugmentationStep, DataSpec, ImageSet, Loader, LoaderConfig, Normalisation,
    Part, SetKind,
};
use taper_kernels::random::stream;
use taper_train::{BatchSource, Batches, TrainError};

/// Background threads of an image loader.
const WORKERS: usize = 1;

/// Points by the name of a toy, or images as `--data` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Source {
    /// Points.
    Toy(Toy),
    /// Images.
    Images(DataSpec),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Toy(toy) => f.write_str(toy.name()),
            Self::Images(spec) => spec.fmt(f),
        }
    }
}

impl std::str::FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if let Ok(toy) = text.parse() {
            return Ok(Self::Toy(toy));
        }
        let known = "checkerboard, moons, gaussians, ";
        let spec: std::result::Result<DataSpec, _> = text.parse();
        spec.map(Self::Images).map_err(|error| {
            let message = error.to_string();
            message.replace("known: ", &format!("known: {known}"))
        })
    }
}

impl TryFrom<String> for Source {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

/// What one step learns from.
#[derive(Debug, Clone)]
pub struct DiffusionBatch {
    /// Data, `[batch, …]`; images lie in −1 … 1.
    pub x: Tensor,
    /// Their noise where it belongs to them, like `x`.
    pub z: Option<Tensor>,
    /// Their classes, u32 `[batch]`, where they have any.
    pub class: Option<Tensor>,
}

/// An opened source.
#[derive(Debug, Clone)]
pub enum Data {
    /// Points.
    Toy(Toy),
    /// Training and test images.
    Images {
        /// Learnt from.
        train: Arc<ImageSet>,
        /// Measured on.
        test: Arc<ImageSet>,
        /// `[channels, height, width]`.
        shape: [usize; 3],
        /// The usual augmentation.
        augmentation: AugmentationPolicy,
    },
}

impl Data {
    /// Opens both parts.
    ///
    /// # Errors
    /// A [`DataError`](taper_data::DataError) naming the file or folder; images of several sizes.
    pub fn open(source: &Source) -> Result<Self> {
        let spec = match source {
            Source::Toy(toy) => return Ok(Self::Toy(*toy)),
            Source::Images(spec) => spec,
        };
        let set = spec.open()?;
        let (train, test) = (set.train, set.test);
        let shape = match (train.shape(), test.shape()) {
            (Some(train), Some(test)) if train == test => train,
            (train, test) => {
                return Err(DiffusionError::setting(
                    "data",
                    format!("{spec} with images of {train:?} and {test:?}"),
                    "a set whose images have one size",
                ));
            }
        };
        Ok(Self::Images {
            train: Arc::new(train),
            test: Arc::new(test),
            shape,
            augmentation: usual_augmentation(spec.kind),
        })
    }

    /// Shape of one sample.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Self::Toy(_) => vec![2],
            Self::Images { shape, .. } => shape.to_vec(),
        }
    }

    /// Number of classes of images.
    pub fn classes(&self) -> Option<usize> {
        match self {
            Self::Toy(_) => None,
            Self::Images { train, .. } => Some(train.classes()),
        }
    }

    /// Training batches; the last, smaller one of an epoch is dropped.
    ///
    /// # Errors
    /// A batch larger than the training part.
    pub fn batches(
        &self,
        batch: usize,
        seed: u64,
        steps_per_epoch: usize,
        augmentation: Option<&AugmentationPolicy>,
    ) -> Result<TrainingBatches> {
        match self {
            Self::Toy(toy) => Ok(TrainingBatches::Toy {
                toy: *toy,
                batch,
                seed,
                steps: steps_per_epoch,
            }),
            Self::Images {
                train,
                augmentation: usual,
                ..
            } => {
                if batch > train.len() {
                    let expected = format!("from 1 to {}, the training images", train.len());
                    return Err(DiffusionError::setting("batch", batch, expected));
                }
                let config = LoaderConfig {
                    batch,
                    policy: augmentation.unwrap_or(usual).clone(),
                    drop_last: true,
                    workers: WORKERS,
                    ..LoaderConfig::training(symmetric(), seed)
                };
                Ok(TrainingBatches::Images(Loader::new(train.clone(), config)?))
            }
        }
    }

    /// Images of a part in their order, unaugmented, in batches.
    ///
    /// # Errors
    /// For points, which have no end; those of reading images.
    pub fn images(&self, part: Part, batch: usize) -> Result<Loader> {
        match self {
            Self::Toy(toy) => Err(DiffusionError::setting(
                "data",
                toy.name(),
                "a set of images",
            )),
            Self::Images { train, test, .. } => {
                let set = match part {
                    Part::Train => train,
                    Part::Test => test,
                };
                let config = LoaderConfig {
                    batch,
                    workers: WORKERS,
                    ..LoaderConfig::evaluation(symmetric())
                };
                Ok(Loader::new(set.clone(), config)?)
            }
        }
    }
}

/// Pixels to −1 … 1.
fn symmetric() -> Normalisation {
    Normalisation {
        mean: vec![0.5],
        std: vec![0.5],
    }
}

/// A mirror for photographs, nothing for digits and clothes (method card, section 8).
fn usual_augmentation(kind: SetKind) -> AugmentationPolicy {
    let steps = match kind {
        SetKind::Cifar10 | SetKind::Cifar100 | SetKind::Folder => {
            vec![AugmentationStep::HorizontalFlip { probability: 0.5 }]
        }
        SetKind::Digits | SetKind::Mnist | SetKind::FashionMnist => Vec::new(),
    };
    AugmentationPolicy { steps }
}

/// Batches for the loop.
#[derive(Debug)]
pub enum TrainingBatches {
    /// Points drawn anew for every batch.
    Toy {
        /// The distribution.
        toy: Toy,
        /// Points a batch.
        batch: usize,
        /// Names the draws.
        seed: u64,
        /// Batches an epoch.
        steps: usize,
    },
    /// Images.
    Images(Loader),
    /// Pairs of noise and estimate, in an order of its own each epoch.
    Pairs {
        /// Estimates, `[count, …]`.
        x: Tensor,
        /// Noise, like `x`.
        z: Tensor,
        /// Classes, `[count]`.
        class: Option<Tensor>,
        /// Pairs a batch.
        batch: usize,
        /// Names the order.
        seed: u64,
    },
}

impl BatchSource for TrainingBatches {
    type Batch = DiffusionBatch;

    fn batches_per_epoch(&self) -> usize {
        match self {
            Self::Toy { steps, .. } => *steps,
            Self::Images(loader) => loader.batches_per_epoch(),
            Self::Pairs { x, batch, .. } => x.dims()[0] / batch,
        }
    }

    fn epoch(
        &mut self,
        epoch: u64,
        first_batch: usize,
    ) -> taper_train::Result<Batches<'_, DiffusionBatch>> {
        match self {
            Self::Toy {
                toy,
                batch,
                seed,
                steps,
            } => {
                let (toy, batch, seed, steps) = (*toy, *batch, *seed, *steps);
                Ok(Box::new((first_batch..steps).map(move |step| {
                    let index = epoch * steps as u64 + step as u64;
                    let points = toy.draw(batch, &mut stream(seed, "toy-batch", index));
                    Ok(DiffusionBatch {
                        x: Tensor::from_vec(points, (batch, 2), &Device::Cpu)?,
                        z: None,
                        class: None,
                    })
                })))
            }
            Self::Images(loader) => {
                let batches = loader.epoch(epoch, first_batch);
                Ok(Box::new(batches.map(|batch| {
                    let batch = batch.map_err(TrainError::method)?;
                    Ok(DiffusionBatch {
                        x: batch.images,
                        z: None,
                        class: Some(batch.labels),
                    })
                })))
            }
            Self::Pairs {
                x,
                z,
                class,
                batch,
                seed,
            } => {
                use rand::seq::SliceRandom;
                let mut order: Vec<u32> = (0..x.dims()[0] as u32).collect();
                order.shuffle(&mut stream(*seed, "pair-order", epoch));
                let steps = order.len() / *batch;
                let (x, z, class, batch) = (&*x, &*z, &*class, *batch);
                Ok(Box::new((first_batch..steps).map(move |step| {
                    let rows = &order[step * batch..(step + 1) * batch];
                    let rows = Tensor::new(rows, &Device::Cpu)?;
                    let class = class.as_ref().map(|class| class.index_select(&rows, 0));
                    Ok(DiffusionBatch {
                        x: x.index_select(&rows, 0)?,
                        z: Some(z.index_select(&rows, 0)?),
                        class: class.transpose()?,
                    })
                })))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for text in ["checkerboard", "moons", "digits", "mnist:DIR"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        let message = "chess".parse::<Source>().unwrap_err();
        assert!(
            message.contains("checkerboard") && message.contains("cifar10"),
            "{message}"
        );
    }

    #[test]
    fn an_epoch_entered_in_its_middle_goes_on_alike() {
        let data = Data::open(&Source::Toy(Toy::Moons)).unwrap();
        let mut batches = data.batches(8, 3, 5, None).unwrap();
        let mut values = |epoch, first| -> Vec<Vec<Vec<f32>>> {
            let batches = batches.epoch(epoch, first).unwrap();
            batches
                .map(|batch| batch.unwrap().x.to_vec2().unwrap())
                .collect()
        };
        let whole = values(2, 0);
        assert_eq!(whole.len(), 5);
        assert_eq!(values(2, 3), whole[3..]);
        assert_ne!(values(3, 0), whole);
    }

    #[test]
    fn images_lie_between_minus_one_and_one() {
        let data = Data::open(&"digits".parse().unwrap()).unwrap();
        assert_eq!(data.shape(), [1, 8, 8]);
        let mut batches = data.batches(32, 0, 1, None).unwrap();
        let batch = batches.epoch(0, 0).unwrap().next().unwrap().unwrap();
        let values = batch.x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let low = values.iter().copied().fold(f32::INFINITY, f32::min);
        let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!((low, high), (-1.0, 1.0));
        assert_eq!(batch.class.unwrap().dims(), [32]);
        let message = data.batches(100_000, 0, 1, None).unwrap_err().to_string();
        assert!(message.starts_with("batch: "), "{message}");
    }
}
