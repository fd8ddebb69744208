//! `cargo bench`: the operators that a training step of a CIFAR network is made of, forward and backward.

#![allow(clippy::expect_used, reason = "a benchmark has nobody to report to")]

use candle_core::{Device, Tensor, Var};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand::Rng;
use taper::kernels::{Activation, Conv2dGeometry, batch_norm_train, conv2d, random, segment_match};

/// As the program: pages are kept, or the measured time is the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Images a step.
const BATCH: usize = 64;

fn noise(shape: &[usize], label: &str) -> Var {
    let mut stream = random::stream(0, label, 0);
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| stream.random_range(-1.0..1.0)).collect();
    let tensor = Tensor::from_vec(values, shape, &Device::Cpu);
    Var::from_tensor(&tensor.expect("shape")).expect("variable")
}

/// 3x3 convolutions of the three stages of a CIFAR ResNet.
fn convolution(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("conv2d 3x3 forward and backward");
    for (channels, size) in [(16, 32), (32, 16), (64, 8)] {
        let x = noise(&[BATCH, channels, size, size], "x");
        let w = noise(&[channels, channels, 3, 3], "w");
        let macs = BATCH * channels * channels * 9 * size * size;
        group.throughput(Throughput::Elements(3 * macs as u64));
        group.bench_function(format!("{channels}@{size}"), |bencher| {
            bencher.iter(|| {
                let y = conv2d(&x, &w, None, &Conv2dGeometry::with(1, 1)).expect("forward");
                y.sum_all()
                    .and_then(|sum| sum.backward())
                    .expect("backward")
            });
        });
    }
    group.finish();
}

fn batch_norm(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch_norm + relu forward and backward");
    for (channels, size) in [(16, 32), (32, 16), (64, 8)] {
        let x = noise(&[BATCH, channels, size, size], "x");
        let (gamma, beta) = (noise(&[channels], "gamma"), noise(&[channels], "beta"));
        // Forward: read, write. Backward: read twice x and the gradient, write once.
        let bytes = 4 * BATCH * channels * size * size * 7;
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("{channels}@{size}"), |bencher| {
            bencher.iter(|| {
                let (y, _) = batch_norm_train(&x, &gamma, &beta, None, 1e-5, Activation::Relu)
                    .expect("forward");
                y.sum_all()
                    .and_then(|sum| sum.backward())
                    .expect("backward")
            });
        });
    }
    group.finish();
}

/// NORM's feature loss with its gradient at the shapes of the method card, section 4.
fn norm_loss(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("segment_match forward and backward");
    for (channels, size, slices) in [(64, 8, 8), (128, 8, 8), (256, 8, 8), (512, 4, 8)] {
        let e = noise(&[BATCH, slices * channels, size, size], "e");
        let f = noise(&[BATCH, channels, size, size], "f");
        let teacher = f.as_tensor().detach();
        // Read E and F_t, write dE.
        let bytes = 4 * BATCH * channels * size * size * (2 * slices + 1);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("{slices}x{channels}@{size}"), |bencher| {
            bencher.iter(|| {
                let loss = segment_match(&e, &teacher, slices).expect("forward");
                loss.backward().expect("backward")
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = convolution, batch_norm, norm_loss
}
criterion_main!(benches);
