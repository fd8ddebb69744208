//! Each fast kernel, at each instruction set, against the specification in f64.

mod dense;
mod depthwise;
mod independence;
mod winograd;

use super::cpu;
use super::geometry::{Conv2dGeometry, Problem};
use super::select::Method;
use crate::random::stream;
use crate::simd::Level;
use rand::Rng;

/// A problem from batch, channels, input, kernel and geometry.
fn problem(
    batch: usize,
    channels: (usize, usize),
    input: (usize, usize),
    kernel: (usize, usize),
    geometry: Conv2dGeometry,
) -> Problem {
    Problem {
        batch,
        in_channels: channels.0,
        out_channels: channels.1,
        input,
        kernel,
        output: geometry
            .output_size(input, kernel)
            .expect("the kernel fits"),
        geometry,
    }
}

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut stream = stream(seed, "kernel test", 0);
    (0..count)
        .map(|_| stream.random::<f32>() * 2.0 - 1.0)
        .collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// The largest difference, relative to the root mean square of what is expected.
fn relative_error(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square: f64 = expected.iter().map(|value| value * value).sum();
    let scale = (square / expected.len().max(1) as f64).sqrt().max(1e-30);
    let difference = found
        .iter()
        .zip(expected)
        .map(|(&a, b)| (f64::from(a) - b).abs());
    difference.fold(0.0, |most, value| {
        if value.is_nan() {
            value
        } else {
            f64::max(most, value)
        }
    }) / scale
}

/// The three passes of `method`, each against the specification.
fn check(method: Method, p: &Problem, tolerance: f64) {
    let x = random(p.input_len(), 1);
    let w = random(p.weight_len(), 2);
    let dy = random(p.output_len(), 3);
    let bias = random(p.out_channels, 4);
    let y64 = cpu::forward(p, &wide(&x), &wide(&w), Some(&wide(&bias)));
    let dx64 = cpu::input_gradient(p, &wide(&dy), &wide(&w));
    let dw64 = cpu::weight_gradient(p, &wide(&x), &wide(&dy));
    for level in Level::available() {
        for (pass, error) in [
            (
                "forward",
                relative_error(&method.forward(level, p, &x, &w, Some(&bias)), &y64),
            ),
            (
                "input gradient",
                relative_error(&method.input_gradient(level, p, &dy, &w), &dx64),
            ),
            (
                "weight gradient",
                relative_error(&method.weight_gradient(level, p, &x, &dy), &dw64),
            ),
        ] {
            assert!(
                error < tolerance,
                "{method:?} {level:?} {pass} of {p:?}: {error:e}"
            );
        }
    }
}

const fn geometry(
    stride: (usize, usize),
    padding: (usize, usize),
    dilation: (usize, usize),
    groups: usize,
) -> Conv2dGeometry {
    Conv2dGeometry {
        stride,
        padding,
        dilation,
        groups,
    }
}
