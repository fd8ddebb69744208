//! The real sets, where they are at hand (`common::shared`).
//!
//! The SHA-256 below are those of the pixels (planes, official order) and labels (one byte each)
//! of the official binary releases, whose own published SHA-1 were checked.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use std::path::Path;

use common::shared;
use sha2::{Digest, Sha256};
use taper_data::{DataError, DataSpec, ImageSet, Normalisation, Part};

fn open(set: &str, folder: &Path, part: Part) -> ImageSet {
    let spec: DataSpec = format!("{set}:{}", folder.display()).parse().unwrap();
    spec.open_part(part).unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn assert_content(set: &ImageSet, pixels: &str, labels: &str) {
    assert_eq!(sha256(set.pixels().unwrap()), pixels);
    let bytes: Vec<u8> = set.labels().iter().map(|&label| label as u8).collect();
    assert_eq!(sha256(&bytes), labels);
}

/// Mean and deviation of every channel, pixels scaled to 0..1.
fn moments(set: &ImageSet) -> (Vec<f64>, Vec<f64>) {
    let [channels, height, width] = set.shape().unwrap();
    let planes = set.pixels().unwrap().chunks_exact(height * width);
    let (mut sums, mut squares) = (vec![0u64; channels], vec![0u64; channels]);
    for (index, plane) in planes.enumerate() {
        for &pixel in plane {
            sums[index % channels] += u64::from(pixel);
            squares[index % channels] += u64::from(pixel).pow(2);
        }
    }
    let count = (set.len() * height * width) as f64;
    let mean = |sum: &u64| *sum as f64 / count / 255.0;
    let means: Vec<f64> = sums.iter().map(mean).collect();
    let deviation = |(square, mean): (&u64, &f64)| {
        (*square as f64 / count / 255.0f64.powi(2) - mean * mean).sqrt()
    };
    let deviations = squares.iter().zip(&means).map(deviation).collect();
    (means, deviations)
}

fn assert_moments(set: &ImageSet, constants: &Normalisation) {
    let (means, deviations) = moments(set);
    for (channel, (mean, deviation)) in means.iter().zip(&deviations).enumerate() {
        let expected = (
            f64::from(constants.mean[channel]),
            f64::from(constants.std[channel]),
        );
        assert!(
            (mean - expected.0).abs() < 1e-3,
            "channel {channel}: mean {mean}"
        );
        assert!(
            (deviation - expected.1).abs() < 1e-3,
            "channel {channel}: deviation {deviation}"
        );
    }
}

#[test]
fn cifar10_is_the_official_release() {
    let Some(folder) = shared("cifar10") else {
        return;
    };
    let train = open("cifar10", &folder, Part::Train);
    assert_eq!(train.len(), 50_000);
    assert_eq!(train.labels()[..10], [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]);
    assert_content(
        &train,
        "9d5c2eddadb0deff02c14c350c0385aab7b1d5ff1edfeb4997c8dc8644960111",
        "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
    );
    assert_moments(&train, &Normalisation::cifar10());
    let test = open("cifar10", &folder, Part::Test);
    assert_eq!(test.len(), 10_000);
    assert_eq!(test.labels()[..10], [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]);
    assert_content(
        &test,
        "177777c33ba79825320efa646ad04a94bdc3c80e4ebe3bd21724f8cdfd4b9d56",
        "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
    );
}

#[test]
fn cifar100_opens_for_evaluation_without_its_training_part() {
    let Some(folder) = shared("cifar100") else {
        return;
    };
    let test = open("cifar100", &folder, Part::Test);
    assert_eq!((test.len(), test.classes()), (10_000, 100));
    assert_eq!(test.labels()[..10], [49, 33, 72, 51, 71, 92, 15, 14, 23, 0]);
    assert_content(
        &test,
        "83c56492b2c11211ad1bb2dbd4f2eef4170a0441e41a41f3039c3144b1f5a511",
        "4dad7d09c7c97d33f6cb928d705cf4196221316fd6e31bdd978a08ed9103ee0b",
    );
    let spec: DataSpec = format!("cifar100:{}", folder.display()).parse().unwrap();
    if let Err(error) = spec.open_part(Part::Train) {
        assert!(matches!(error, DataError::MissingPart { .. }), "{error}");
        assert!(error.to_string().contains("train.parquet"), "{error}");
    }
}

#[test]
fn mnist_is_the_official_release() {
    let Some(folder) = shared("mnist") else {
        return;
    };
    let train = open("mnist", &folder, Part::Train);
    assert_eq!((train.len(), train.shape()), (60_000, Some([1, 28, 28])));
    assert_eq!(train.labels()[..10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
    assert_moments(&train, &Normalisation::mnist());
    let test = open("mnist", &folder, Part::Test);
    assert_eq!(test.len(), 10_000);
    assert_eq!(test.labels()[..10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
    let spec: DataSpec = format!("mnist:{}", folder.display()).parse().unwrap();
    assert_eq!(
        spec.verify().unwrap().len(),
        4,
        "all four files are listed and match"
    );
}

#[test]
fn fashion_mnist_is_read_where_the_package_is_installed() {
    let spec: DataSpec = "fashion-mnist".parse().unwrap();
    let train = match spec.open_part(Part::Train) {
        Ok(train) => train,
        Err(DataError::NotFound { looked_in, .. }) => {
            println!("SKIPPED: no Fashion-MNIST in {looked_in:?}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(train.len(), 60_000);
    assert_moments(&train, &Normalisation::fashion_mnist());
}
