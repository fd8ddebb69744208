//! The weight w(epoch) of NORM's feature loss (method card, section 5), by fraction of training.

use serde::{Deserialize, Serialize};

/// Piecewise constant in the fraction of training done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightSchedule {
    /// 0.1 below epoch 10 of 240, 0.5 below 20, 1 below 180, 0.5 below 210, then 0.1.
    #[default]
    Cifar100,
    /// 0.1 below epoch 5 of 100, 0.5 below 15, 0.9 below 60, 0.5 below 80, then 0.1.
    ImageNet,
    /// 1 throughout.
    Constant,
}

impl WeightSchedule {
    /// (end of the interval, weight), the ends in epochs of [`Self::epochs`].
    const fn steps(self) -> &'static [(f64, f64)] {
        match self {
            Self::Cifar100 => &[(10., 0.1), (20., 0.5), (180., 1.0), (210., 0.5)],
            Self::ImageNet => &[(5., 0.1), (15., 0.5), (60., 0.9), (80., 0.5)],
            Self::Constant => &[],
        }
    }

    const fn epochs(self) -> f64 {
        match self {
            Self::Cifar100 => 240.,
            Self::ImageNet => 100.,
            Self::Constant => 1.,
        }
    }

    /// The weight when epoch `epoch` (from 0) of `epochs` is trained.
    pub fn weight(self, epoch: u64, epochs: u64) -> f64 {
        let last = match self {
            Self::Constant => 1.0,
            _ => 0.1,
        };
        // Compared as integers' products, so that a boundary epoch never falls to rounding.
        let done = epoch as f64 * self.epochs();
        self.steps()
            .iter()
            .find(|(end, _)| done < end * epochs as f64)
            .map_or(last, |(_, weight)| *weight)
    }
}

#[cfg(test)]
mod tests {
    use super::WeightSchedule;

    #[test]
    fn table_of_the_card() {
        let cifar = |epoch| WeightSchedule::Cifar100.weight(epoch, 240);
        for (epochs, weight) in [
            (0..10, 0.1),
            (10..20, 0.5),
            (20..180, 1.0),
            (180..210, 0.5),
            (210..241, 0.1),
        ] {
            epochs.for_each(|epoch| assert_eq!(cifar(epoch), weight, "epoch {epoch}"));
        }
        let imagenet = |epoch| WeightSchedule::ImageNet.weight(epoch, 100);
        for (epochs, weight) in [
            (0..5, 0.1),
            (5..15, 0.5),
            (15..60, 0.9),
            (60..80, 0.5),
            (80..101, 0.1),
        ] {
            epochs.for_each(|epoch| assert_eq!(imagenet(epoch), weight, "epoch {epoch}"));
        }
    }

    #[test]
    fn scales_with_the_number_of_epochs() {
        let weights: Vec<f64> = (0..24)
            .map(|epoch| WeightSchedule::Cifar100.weight(epoch, 24))
            .collect();
        assert_eq!(weights[..3], [0.1, 0.5, 1.0]);
        assert_eq!(weights[17..], [1.0, 0.5, 0.5, 0.5, 0.1, 0.1, 0.1]);
        assert_eq!(WeightSchedule::Constant.weight(3, 7), 1.0);
    }
}
