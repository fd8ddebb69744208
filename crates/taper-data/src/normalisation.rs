//! From 8-bit pixels to the numbers a network was trained on.

use serde::{Deserialize, Serialize};

use crate::error::{DataError, Result};

/// Weights of red, green and blue in luma (ITU-R 601).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// Per-channel `(x / 255 - mean) / std`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalisation {
    /// Mean of each channel, pixels scaled to 0..1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, pixels scaled to 0..1.
    pub std: Vec<f32>,
}

impl Normalisation {
    fn of(mean: &[f32], std: &[f32]) -> Self {
        Self {
            mean: mean.to_vec(),
            std: std.to_vec(),
        }
    }

    /// Pixels scaled to 0..1 and nothing else.
    pub fn identity(channels: usize) -> Self {
        Self::of(&vec![0.0; channels], &vec![1.0; channels])
    }

    /// CIFAR-10: mean and deviation of the 50,000 training images.
    pub fn cifar10() -> Self {
        Self::of(&[0.4914, 0.4822, 0.4465], &[0.2470, 0.2435, 0.2616])
    }

    /// CIFAR-10 with the deviations of many older recipes (the mean over images of each image's deviation).
    pub fn cifar10_older() -> Self {
        Self::of(&[0.4914, 0.4822, 0.4465], &[0.2023, 0.1994, 0.2010])
    }

    /// CIFAR-100: the constants of the usual distillation recipes.
    pub fn cifar100() -> Self {
        Self::of(&[0.5071, 0.4867, 0.4408], &[0.2675, 0.2565, 0.2761])
    }

    /// MNIST: mean and deviation of the 60,000 training images.
    pub fn mnist() -> Self {
        Self::of(&[0.1307], &[0.3081])
    }

    /// Fashion-MNIST: mean and deviation of the 60,000 training images.
    pub fn fashion_mnist() -> Self {
        Self::of(&[0.2860], &[0.3530])
    }

    /// The embedded digits: mean and deviation of the 897 training images.
    pub fn digits() -> Self {
        Self::of(&[0.3055], &[0.3757])
    }

    /// ImageNet: the constants of torchvision's models.
    pub fn imagenet() -> Self {
        Self::of(&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225])
    }

    /// How many channels it is for.
    pub fn channels(&self) -> usize {
        self.mean.len()
    }

    /// The same for images with another number of channels: one channel is repeated; three become
    /// one by the weights of luma (for the deviation an approximation: that of luma itself depends
    /// on how the channels vary together).
    ///
    /// # Errors
    /// [`DataError::Setting`] for other pairs and for lists that do not fit each other.
    pub fn for_channels(&self, channels: usize) -> Result<Self> {
        self.validate()?;
        let weighted =
            |values: &[f32]| vec![values.iter().zip(LUMA).map(|(v, w)| v * w).sum::<f32>()];
        match (self.channels(), channels) {
            (from, to) if from == to => Ok(self.clone()),
            (1, _) if channels > 0 => Ok(Self {
                mean: vec![self.mean[0]; channels],
                std: vec![self.std[0]; channels],
            }),
            (3, 1) => Ok(Self {
                mean: weighted(&self.mean),
                std: weighted(&self.std),
            }),
            (from, _) => Err(DataError::setting(
                "normalisation",
                format!("{from} channels"),
                format!("{channels} channels, as the images"),
            )),
        }
    }

    /// Checks the lists: equal and non-zero length, finite, deviations above zero.
    ///
    /// # Errors
    /// [`DataError::Setting`] naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.mean.is_empty() || self.mean.len() != self.std.len() {
            return Err(DataError::setting(
                "normalisation",
                format!(
                    "{} means and {} deviations",
                    self.mean.len(),
                    self.std.len()
                ),
                "one of each for every channel",
            ));
        }
        if let Some(bad) = self.mean.iter().find(|m| !m.is_finite()) {
            return Err(DataError::setting(
                "normalisation.mean",
                bad,
                "a finite number",
            ));
        }
        match self.std.iter().find(|s| !s.is_finite() || **s <= 0.0) {
            Some(bad) => Err(DataError::setting(
                "normalisation.std",
                bad,
                "a finite number above 0",
            )),
            None => Ok(()),
        }
    }

    /// For every channel the normalised value of each of the 256 pixel values.
    pub(crate) fn tables(&self) -> Vec<[f32; 256]> {
        let table = |(mean, std): (&f32, &f32)| {
            std::array::from_fn(|pixel| (pixel as f32 / 255.0 - mean) / std)
        };
        self.mean.iter().zip(&self.std).map(table).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_hold_the_formula() {
        let tables = Normalisation::mnist().tables();
        assert_eq!(tables.len(), 1);
        assert_eq!(tables[0][0], -0.1307 / 0.3081);
        assert_eq!(tables[0][255], (1.0 - 0.1307) / 0.3081);
    }

    #[test]
    fn channels_are_adapted() {
        let rgb = Normalisation::mnist().for_channels(3).unwrap();
        assert_eq!(rgb.mean, [0.1307; 3]);
        let grey = Normalisation::imagenet().for_channels(1).unwrap();
        assert!((grey.mean[0] - 0.458_971).abs() < 1e-5);
        assert!(Normalisation::imagenet().for_channels(2).is_err());
    }

    #[test]
    fn senseless_numbers_are_refused() {
        for (mean, std) in [
            (vec![], vec![]),
            (vec![0.5], vec![0.0]),
            (vec![0.5], vec![-1.0]),
            (vec![0.5], vec![f32::NAN]),
            (vec![f32::INFINITY], vec![1.0]),
            (vec![0.5, 0.5], vec![1.0]),
        ] {
            assert!(Normalisation { mean, std }.validate().is_err());
        }
    }
}
