//! Features of images from a classifier of the zoo, for distances between distributions of images.

use crate::error::Result;
use crate::measures::Moments;
use candle_core::Tensor;
use std::path::Path;
use taper_kernels::resize_bilinear2d;
use taper_layers::Mode;
use taper_vision::registry;
use taper_weights::{LoadedClassifier, load_classifier};

/// A classifier whose embedding measures images.
pub struct ImageFeatures {
    loaded: LoadedClassifier,
    /// `[channels, height, width]` that it reads.
    input: [usize; 3],
}

impl ImageFeatures {
    /// The network `model` of the zoo with the weights of a file.
    ///
    /// # Errors
    /// An unknown model; weights that do not fit it.
    pub fn load(model: &str, weights: impl AsRef<Path>) -> Result<Self> {
        let entry = registry::find(model)?;
        Ok(Self {
            loaded: load_classifier(entry, weights)?,
            input: entry.input,
        })
    }

    /// The embedding `[batch, width]` of images `[batch, channels, height, width]` in −1 … 1.
    ///
    /// Images are brought to the classifier's size (bilinear) and channels (one is repeated, three are
    /// averaged) and normalised as its file or the registry says.
    ///
    /// # Errors
    /// Images with channels that the classifier cannot read.
    pub fn embed(&self, images: &Tensor) -> Result<Tensor> {
        let [channels, height, width] = self.input;
        let pixels = ((images.clamp(-1f32, 1f32)? + 1.0)? * 0.5)?;
        let pixels = match (pixels.dim(1)?, channels) {
            (from, to) if from == to => pixels,
            (1, to) => pixels.repeat((1, to, 1, 1))?,
            (_, 1) => pixels.mean_keepdim(1)?,
            (from, to) => {
                return Err(crate::DiffusionError::measure(
                    "features of images",
                    format!("{from} channels"),
                    format!("1 or {to}, as the classifier reads"),
                ));
            }
        };
        let pixels = match pixels.dims()[2..] == [height, width] {
            true => pixels,
            false => resize_bilinear2d(&pixels.contiguous()?, (height, width), false)?,
        };
        let per_channel =
            |values: &[f32]| Tensor::new(values, images.device())?.reshape((1, values.len(), 1, 1));
        let normalisation = &self.loaded.normalisation;
        let centred = pixels.broadcast_sub(&per_channel(&normalisation.mean)?)?;
        let ready = centred.broadcast_div(&per_channel(&normalisation.std)?)?;
        let features = self
            .loaded
            .model
            .forward(&ready.contiguous()?, Mode::Eval)?;
        Ok(features.embedding)
    }

    /// Embeddings of batches of images, and their statistics.
    ///
    /// # Errors
    /// Those of the batches and of [`embed`](Self::embed).
    pub fn survey(
        &self,
        batches: impl Iterator<Item = Result<Tensor>>,
    ) -> Result<(Tensor, Moments)> {
        let mut all = Vec::new();
        let mut moments: Option<Moments> = None;
        for images in batches {
            let features = self.embed(&images?)?;
            let width = features.dim(1)?;
            let moments = match &mut moments {
                Some(moments) => moments,
                none => none.insert(Moments::new(width)?),
            };
            moments.add(&features)?;
            all.push(features);
        }
        match moments {
            Some(moments) => Ok((Tensor::cat(&all, 0)?, moments)),
            None => Err(crate::DiffusionError::measure(
                "features of images",
                "no image",
                "at least 2",
            )),
        }
    }
}
