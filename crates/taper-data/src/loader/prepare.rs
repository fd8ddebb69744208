//! One batch: order, augmentation, normalisation.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use rand::seq::SliceRandom;
use taper_kernels::random;

use super::Batch;
use crate::augmentation::{AugmentationPolicy, Sample};
use crate::channels::adapt_channels;
use crate::error::Result;
use crate::image_set::ImageSet;
use crate::resize::resize;

/// All that a batch depends on, besides its epoch and number.
#[derive(Debug)]
pub(super) struct Preparation {
    pub(super) set: Arc<ImageSet>,
    pub(super) batch: usize,
    pub(super) seed: u64,
    pub(super) shuffle: bool,
    pub(super) policy: AugmentationPolicy,
    pub(super) tables: Vec<[f32; 256]>,
    /// `[height, width]` of images before the policy; `None`: as they are.
    pub(super) before: Option<[usize; 2]>,
    /// `[channels, height, width]` of the images in a batch.
    pub(super) shape: [usize; 3],
}

impl Preparation {
    /// The indices of all images in the order of `epoch`.
    pub(super) fn order(&self, epoch: u64) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.set.len() as u32).collect();
        if self.shuffle {
            order.shuffle(&mut random::stream(self.seed, "order", epoch));
        }
        order
    }

    /// Batch `number` of `epoch`, whose order is `order`.
    pub(super) fn batch(
        &self,
        order: &[u32],
        epoch: u64,
        number: usize,
        sample: &mut Sample,
    ) -> Result<Batch> {
        let start = (number * self.batch).min(order.len());
        let end = (start + self.batch).min(order.len());
        let indices = order[start..end].to_vec();
        let length = self.shape.iter().product::<usize>();
        let mut pixels = vec![0f32; indices.len() * length];
        for (&index, output) in indices.iter().zip(pixels.chunks_exact_mut(length)) {
            self.image(index, epoch, sample, output)?;
        }
        let labels = self.set.labels();
        let labels: Vec<u32> = indices.iter().map(|&i| labels[i as usize]).collect();
        let count = indices.len();
        let [channels, height, width] = self.shape;
        Ok(Batch {
            images: Tensor::from_vec(pixels, (count, channels, height, width), &Device::Cpu)?,
            labels: Tensor::from_vec(labels, count, &Device::Cpu)?,
            indices,
        })
    }

    /// One image, augmented in 8 bits while it is in the cache and normalised into `output`.
    fn image(&self, index: u32, epoch: u64, sample: &mut Sample, output: &mut [f32]) -> Result<()> {
        match self.set.view(index as usize) {
            Some(view) => sample.load(view),
            None => {
                let image = self.set.image(index as usize)?;
                let image = adapt_channels(image.view(), self.shape[0])?;
                sample.set(match self.before {
                    Some(size) if image.view().size() != size => resize(image.view(), size)?,
                    _ => image,
                });
            }
        }
        if sample.image().channels() != self.shape[0] {
            let adapted = adapt_channels(sample.image(), self.shape[0])?;
            sample.set(adapted);
        }
        if !self.policy.steps.is_empty() {
            let position = epoch.wrapping_mul(self.set.len() as u64);
            let position = position.wrapping_add(u64::from(index));
            let mut random = random::stream(self.seed, "augmentation", position);
            self.policy.apply(sample, &mut random)?;
        }
        sample.normalise(&self.tables, output);
        Ok(())
    }
}
