//! The embedded digits: 1,797 handwritten digits of 8x8 pixels (licence and source: `data/NOTICE.md`).
//!
//! Split: each class is shuffled with a fixed seed and cut into halves, so both parts hold the
//! classes alike: 897 images to learn from, 900 to measure on (one image is 0.11 points). Of the
//! five classes with an odd number of images the first four give the odd one to the test part. The
//! distributed copy does not say who wrote which digit, so writers occur in both parts.

use std::path::Path;

use rand::seq::SliceRandom;
use taper_kernels::random;

use crate::class_names;
use crate::error::{DataError, Result};
use crate::image_set::{ImageSet, Part};
use crate::readers::idx;

const IMAGES: &[u8] = include_bytes!("../data/digits-images-idx3-ubyte.gz");
const LABELS: &[u8] = include_bytes!("../data/digits-labels-idx1-ubyte.gz");
/// The largest pixel value stored.
const LARGEST: u16 = 16;
/// The seed of the split: fixed, so that both parts are the same for everybody.
const SPLIT_SEED: u64 = 0;
/// Images of the test part; the training part has the other 897.
const TEST_IMAGES: usize = 900;

/// One part of the embedded digits: grey, 8x8, stored 0..16 scaled to 0..255.
///
/// # Errors
/// None unless the embedded files are damaged.
pub fn digits(part: Part) -> Result<ImageSet> {
    let all = all_digits()?;
    let (train, test) = split(all.labels());
    all.subset(match part {
        Part::Train => &train,
        Part::Test => &test,
    })
}

fn all_digits() -> Result<ImageSet> {
    let (images, labels) = (Path::new("embedded digits"), Path::new("embedded labels"));
    let mut rows = idx::parse(
        &idx::unpack(IMAGES, images)?,
        images,
        &idx::unpack(LABELS, labels)?,
        labels,
        10,
    )?;
    for pixel in &mut rows.pixels {
        let scaled = (u16::from(*pixel) * 255 + LARGEST / 2) / LARGEST;
        *pixel = u8::try_from(scaled)
            .map_err(|_| DataError::format(images, format!("pixel {pixel}"), "at most 16"))?;
    }
    rows.into_set(class_names::DIGITS.map(String::from).to_vec())
}

/// Indices of the training and of the test part, ascending.
fn split(labels: &[u32]) -> (Vec<usize>, Vec<usize>) {
    let (mut train, mut test) = (Vec::new(), Vec::new());
    let halves: usize = (0..10).map(|class| count(labels, class) / 2).sum();
    let mut odd_to_test = TEST_IMAGES.saturating_sub(halves);
    for class in 0..10 {
        let mut indices: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] == class).collect();
        indices.shuffle(&mut random::stream(
            SPLIT_SEED,
            "digits split",
            class.into(),
        ));
        let mut half = indices.len() / 2;
        if indices.len() % 2 == 1 && odd_to_test > 0 {
            half += 1;
            odd_to_test -= 1;
        }
        train.extend(indices.split_off(half));
        test.extend(indices);
    }
    train.sort_unstable();
    test.sort_unstable();
    (train, test)
}

fn count(labels: &[u32], class: u32) -> usize {
    labels.iter().filter(|&&label| label == class).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalisation::Normalisation;

    #[test]
    fn the_halves_are_disjoint_complete_and_stratified() {
        let all = all_digits().unwrap();
        assert_eq!(all.len(), 1797);
        let (train, test) = split(all.labels());
        assert_eq!((train.len(), test.len()), (897, 900));
        let mut union = [train.clone(), test.clone()].concat();
        union.sort_unstable();
        assert!(union.iter().copied().eq(0..1797));
        let (train, test) = (digits(Part::Train).unwrap(), digits(Part::Test).unwrap());
        for class in 0..10 {
            let difference = count(test.labels(), class).abs_diff(count(train.labels(), class));
            assert!(difference <= 1, "class {class}: {difference}");
        }
    }

    #[test]
    fn the_first_digit_is_the_zero_of_the_source() {
        let all = all_digits().unwrap();
        assert_eq!(all.labels()[..12], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
        // first row of digits.csv: 0,0,5,13,9,1,0,0 in sixteenths
        let row = [0, 0, 80, 207, 143, 16, 0, 0];
        assert_eq!(all.view(0).unwrap().pixels()[..8], row);
        assert_eq!(all.pixels().unwrap().iter().max(), Some(&255));
    }

    #[test]
    fn the_normalisation_is_that_of_the_training_part() {
        let train = digits(Part::Train).unwrap();
        let pixels: Vec<f64> = train
            .pixels()
            .unwrap()
            .iter()
            .map(|&p| f64::from(p) / 255.0)
            .collect();
        let mean = pixels.iter().sum::<f64>() / pixels.len() as f64;
        let variance = pixels.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / pixels.len() as f64;
        let constants = Normalisation::digits();
        let found = [mean, variance.sqrt()];
        let expected = [constants.mean[0], constants.std[0]].map(f64::from);
        let close = found
            .iter()
            .zip(expected)
            .all(|(f, e)| (f - e).abs() < 1e-4);
        assert!(close, "mean and deviation {found:?}, expected {expected:?}");
    }
}
