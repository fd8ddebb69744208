//! How many images a second one thread prepares: `cargo run --release -p taper-data --example throughput`.
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::time::Instant;

use taper_data::{
    AugmentationPolicy, AugmentationStep, DataError, ImageSet, Loader, LoaderConfig, Normalisation,
};

/// Images of CIFAR's size, as many as an epoch has.
const COUNT: usize = 50_000;
/// Epochs timed for each policy.
const EPOCHS: u64 = 5;

fn main() -> Result<(), DataError> {
    let pixels = (0..COUNT * 3072).map(|i| (i % 251) as u8).collect();
    let labels = (0..COUNT as u32).map(|i| i % 10).collect();
    let names = (0..10).map(|class| class.to_string()).collect();
    let set = Arc::new(ImageSet::from_pixels([3, 32, 32], pixels, labels, names)?);
    let with = |step: AugmentationStep| {
        let mut policy = AugmentationPolicy::standard();
        policy.steps.push(step);
        policy
    };
    let cutout = with(AugmentationStep::Cutout {
        length: 16,
        holes: 1,
    });
    let rand_augment = with(AugmentationStep::RandAugment {
        operations: 2,
        magnitude: 9,
        bins: 31,
    });
    for (name, policy) in [
        ("none", AugmentationPolicy::none()),
        ("standard", AugmentationPolicy::standard()),
        ("standard, cutout", cutout),
        ("standard, rand-augment", rand_augment),
    ] {
        let config = LoaderConfig {
            workers: 0,
            policy,
            ..LoaderConfig::training(Normalisation::cifar10(), 0)
        };
        let loader = Loader::new(Arc::clone(&set), config)?;
        let mut seconds = Vec::new();
        for epoch in 0..EPOCHS {
            let start = Instant::now();
            for batch in loader.epoch(epoch, 0) {
                std::hint::black_box(batch?);
            }
            seconds.push(start.elapsed().as_secs_f64());
        }
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        println!(
            "{name}: {:.0} images/s on one thread",
            COUNT as f64 / median
        );
    }
    Ok(())
}
