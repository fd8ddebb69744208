//! The loader: the same batches whatever the workers, errors that arrive, threads that end.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use taper_data::{
    AugmentationPolicy, AugmentationStep, Batch, DataError, DataSpec, ImageSet, Loader,
    LoaderConfig, Normalisation, Part,
};

fn cifar_like(count: usize) -> Arc<ImageSet> {
    let pixels = (0..count).flat_map(planes).collect();
    let labels = (0..count as u32).map(|i| i % 10).collect();
    let names = (0..10).map(|c| c.to_string()).collect();
    Arc::new(ImageSet::from_pixels([3, 32, 32], pixels, labels, names).unwrap())
}

/// All kinds of steps that keep the size.
fn policy() -> AugmentationPolicy {
    let mut policy = AugmentationPolicy::standard();
    policy.steps.push(AugmentationStep::RandAugment {
        operations: 2,
        magnitude: 9,
        bins: 31,
    });
    policy.steps.push(AugmentationStep::Cutout {
        length: 16,
        holes: 1,
    });
    policy
}

fn config(workers: usize) -> LoaderConfig {
    LoaderConfig {
        batch: 16,
        workers,
        policy: policy(),
        ..LoaderConfig::training(Normalisation::cifar10(), 5)
    }
}

type Content = (Vec<u32>, Vec<u32>, Vec<u32>);

/// Indices, labels and the bits of the pixels.
fn content(batch: &Batch) -> Content {
    let pixels = batch
        .images
        .flatten_all()
        .unwrap()
        .to_vec1::<f32>()
        .unwrap();
    let labels = batch.labels.to_vec1().unwrap();
    let bits = pixels.iter().map(|p| p.to_bits()).collect();
    (batch.indices.clone(), labels, bits)
}

fn epoch(loader: &Loader, epoch: u64, first: usize) -> Vec<Content> {
    loader
        .epoch(epoch, first)
        .map(|b| content(&b.unwrap()))
        .collect()
}

#[test]
fn any_number_of_workers_and_any_start_give_the_same_batches() {
    let set = cifar_like(100);
    let loader = |workers| Loader::new(Arc::clone(&set), config(workers)).unwrap();
    let alone = loader(0);
    let expected = [epoch(&alone, 0, 0), epoch(&alone, 1, 0)];
    assert_ne!(
        expected[0], expected[1],
        "each epoch has its own order and augmentation"
    );
    for workers in [1, 2, 5] {
        let loader = loader(workers);
        for (number, expected) in expected.iter().enumerate() {
            assert!(
                epoch(&loader, number as u64, 0) == *expected,
                "{workers} workers"
            );
            for first in [1, 3, 6] {
                assert!(
                    epoch(&loader, number as u64, first) == expected[first..],
                    "from {first}"
                );
            }
        }
        assert!(epoch(&loader, 0, 7).is_empty() && epoch(&loader, 0, 99).is_empty());
    }
    let other = Loader::new(
        set,
        LoaderConfig {
            seed: 6,
            ..config(0)
        },
    )
    .unwrap();
    assert_ne!(epoch(&other, 0, 0), expected[0]);
}

#[test]
fn an_epoch_has_every_image_once_with_its_label() {
    let set = cifar_like(100);
    let loader = Loader::new(Arc::clone(&set), config(2)).unwrap();
    let batches: Vec<Batch> = loader.epoch(3, 0).map(Result::unwrap).collect();
    let sizes: Vec<usize> = batches.iter().map(|b| b.indices.len()).collect();
    assert_eq!(sizes, [16, 16, 16, 16, 16, 16, 4]);
    assert_eq!(batches[6].images.dims(), [4, 3, 32, 32]);
    let mut seen: Vec<u32> = Vec::new();
    for batch in &batches {
        let labels = batch.labels.to_vec1::<u32>().unwrap();
        assert!(batch.indices.iter().zip(&labels).all(|(i, l)| i % 10 == *l));
        seen.extend(&batch.indices);
    }
    assert_ne!(seen, (0..100).collect::<Vec<_>>(), "shuffled");
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    let whole = LoaderConfig {
        drop_last: true,
        shuffle: false,
        ..config(1)
    };
    let loader = Loader::new(set, whole).unwrap();
    assert_eq!(
        (loader.batches_per_epoch(), loader.images_per_epoch()),
        (6, 96)
    );
    let indices: Vec<u32> = loader
        .epoch(0, 0)
        .flat_map(|b| b.unwrap().indices)
        .collect();
    assert_eq!(indices, (0..96).collect::<Vec<_>>());
}

#[test]
fn without_augmentation_pixels_are_exactly_normalised() {
    let loader = Loader::new(
        cifar_like(3),
        LoaderConfig::evaluation(Normalisation::cifar10()),
    )
    .unwrap();
    let batch = loader.epoch(0, 0).next().unwrap().unwrap();
    let values = batch
        .images
        .flatten_all()
        .unwrap()
        .to_vec1::<f32>()
        .unwrap();
    let constants = Normalisation::cifar10();
    for (at, value) in values.iter().enumerate() {
        let channel = at % PIXELS / 1024;
        let pixel = f32::from(planes(at / PIXELS)[at % PIXELS]);
        let expected = (pixel / 255.0 - constants.mean[channel]) / constants.std[channel];
        assert_eq!(*value, expected);
    }
}

#[test]
fn cutout_erases_to_the_mean() {
    let cut = AugmentationPolicy {
        steps: vec![AugmentationStep::Cutout {
            length: 8,
            holes: 1,
        }],
    };
    let set =
        ImageSet::from_pixels([1, 16, 16], vec![200; 256], vec![0], vec!["a".into()]).unwrap();
    let config = LoaderConfig {
        policy: cut,
        ..LoaderConfig::evaluation(Normalisation::mnist())
    };
    let batch = Loader::new(set.into(), config)
        .unwrap()
        .epoch(0, 0)
        .next()
        .unwrap()
        .unwrap();
    let values = batch
        .images
        .flatten_all()
        .unwrap()
        .to_vec1::<f32>()
        .unwrap();
    let erased = values.iter().filter(|v| **v == 0.0).count();
    assert!((16..=64).contains(&erased), "{erased}");
    let rest = (200.0f32 / 255.0 - 0.1307) / 0.3081;
    assert!(values.iter().all(|v| *v == 0.0 || *v == rest));
}

#[test]
fn digits_are_made_to_fit_the_network() {
    let spec: DataSpec = "digits".parse().unwrap();
    let config = LoaderConfig {
        size: Some([32, 32]),
        channels: Some(3),
        policy: spec.training_policy([32, 32]),
        ..LoaderConfig::training(spec.normalisation(), 0)
    };
    let loader = Loader::new(spec.open_part(Part::Train).unwrap().into(), config).unwrap();
    assert_eq!(loader.shape(), [3, 32, 32]);
    let batch = loader.epoch(0, 0).next().unwrap().unwrap();
    assert_eq!(batch.images.dims(), [64, 3, 32, 32]);
    let planes: Vec<Vec<f32>> = (0..3)
        .map(|c| {
            batch
                .images
                .get(0)
                .unwrap()
                .get(c)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1()
                .unwrap()
        })
        .collect();
    assert!(
        planes[0] == planes[1] && planes[1] == planes[2],
        "grey in three channels"
    );
}

fn folder(count: u8) -> (tempfile::TempDir, Arc<ImageSet>) {
    let root = tempfile::tempdir().unwrap();
    for i in 0..count {
        let png = grey_png(40 + u32::from(i), 50, i * 10);
        write(root.path().join(format!("test/{}/{i}.png", i % 2)), png);
    }
    let spec: DataSpec = format!("folder:{}", root.path().display()).parse().unwrap();
    let set = spec.open_part(Part::Test).unwrap();
    (root, set.into())
}

#[test]
fn files_are_decoded_on_demand_by_any_number_of_workers() {
    let (_root, set) = folder(12);
    let config = |workers| LoaderConfig {
        batch: 5,
        workers,
        policy: AugmentationPolicy::imagenet([24, 20]),
        ..LoaderConfig::training(Normalisation::imagenet(), 1)
    };
    let loader = |workers| Loader::new(Arc::clone(&set), config(workers)).unwrap();
    let expected = epoch(&loader(0), 0, 0);
    assert_eq!(loader(0).shape(), [3, 24, 20]);
    assert!(loader(0).set().shape().is_none(), "still in files");
    for workers in [1, 3] {
        assert!(epoch(&loader(workers), 0, 0) == expected);
    }
    let measured = LoaderConfig {
        policy: AugmentationPolicy::imagenet_evaluation([28, 28]),
        ..config(2)
    };
    let loader = Loader::new(Arc::clone(&set), measured).unwrap();
    assert_eq!(
        loader.epoch(0, 0).next().unwrap().unwrap().images.dims(),
        [5, 3, 28, 28]
    );
    let resized = LoaderConfig {
        policy: AugmentationPolicy::none(),
        size: Some([8, 8]),
        ..config(2)
    };
    let loader = Loader::new(set, resized).unwrap();
    assert_eq!(
        loader.set().shape(),
        Some([3, 8, 8]),
        "small enough to decode ahead"
    );
}

#[test]
fn a_workers_error_arrives_in_its_place_and_ends_the_epoch() {
    let (root, set) = folder(12);
    write(root.path().join("test/0/6.png"), "damaged");
    for workers in [0, 1, 4] {
        let config = LoaderConfig {
            batch: 1,
            shuffle: false,
            workers,
            policy: AugmentationPolicy::imagenet([8, 8]),
            ..LoaderConfig::training(Normalisation::imagenet(), 1)
        };
        let loader = Loader::new(Arc::clone(&set), config).unwrap();
        // files 0, 10, 2, 4, 6, 8 (by name) of class 0 come first
        let results: Vec<_> = loader.epoch(0, 0).collect();
        let error = results.last().unwrap().as_ref().unwrap_err();
        assert!(error.to_string().contains("6.png: not an image"), "{error}");
        assert_eq!(results.len(), 5, "{workers} workers");
    }
}

#[test]
fn dropping_an_epoch_early_ends_its_threads() {
    let loader = Loader::new(cifar_like(200), config(3)).unwrap();
    for taken in 0..8 {
        let mut batches = loader.epoch(0, 0);
        for _ in 0..taken {
            batches.next().unwrap().unwrap();
        }
        drop(batches); // joins the threads: a worker that waited for ever would hang here
    }
    let mut batches = loader.epoch(0, 0);
    assert_eq!(batches.wait(), Duration::ZERO);
    assert!(batches.by_ref().all(|b| b.is_ok()));
    assert!(batches.wait() > Duration::ZERO);
    assert!(batches.next().is_none());
}

#[test]
fn settings_that_do_not_fit_are_refused_by_name() {
    let set = cifar_like(4);
    let refused = |change: &dyn Fn(&mut LoaderConfig), name: &str| {
        let mut config = config(1);
        change(&mut config);
        let error = Loader::new(Arc::clone(&set), config).unwrap_err();
        assert!(matches!(error, DataError::Setting { .. }), "{error}");
        assert!(error.to_string().contains(name), "no {name} in: {error}");
    };
    refused(&|c| c.batch = 0, "batch: found 0");
    refused(&|c| c.workers = 99_999, "workers");
    refused(&|c| c.size = Some([0, 3]), "size");
    refused(&|c| c.channels = Some(2), "channels");
    refused(&|c| c.normalisation.std[1] = 0.0, "normalisation.std");
    refused(
        &|c| c.normalisation = Normalisation::identity(2),
        "normalisation",
    );
    refused(
        &|c| c.policy.steps.swap(0, 3),
        "step 1: found a step after cutout",
    );
    refused(
        &|c| {
            c.policy.steps.push(AugmentationStep::Cutout {
                length: 0,
                holes: 1,
            })
        },
        "step 4, cutout",
    );
    refused(
        &|c| c.policy.steps[1] = AugmentationStep::HorizontalFlip { probability: 1.5 },
        "probability",
    );
    refused(
        &|c| {
            c.policy = AugmentationPolicy::imagenet([8, 8]);
            c.size = Some([9, 9]);
        },
        "[8, 8], the size that the augmentation gives",
    );
    let (_root, files) = folder(2);
    let error =
        Loader::new(files, LoaderConfig::evaluation(Normalisation::imagenet())).unwrap_err();
    assert!(error.to_string().contains("images' sizes vary"), "{error}");
}
