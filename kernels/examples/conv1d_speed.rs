//! Milliseconds of each pass of the 1-D convolutions; `conv1d_speed.py` beside it prints PyTorch's.
//!
//! Usage: `conv1d_speed [THREADS] [PART OF A NAME]`. Run with glibc told to keep its pages:
//! `MALLOC_TRIM_THRESHOLD_=1000000000 MALLOC_TOP_PAD_=300000000 MALLOC_MMAP_THRESHOLD_=1000000000`.
#![allow(clippy::print_stdout)]

use candle_core::{DType, Result, Tensor};
use std::time::Instant;
use taper_kernels::testing::uniform;
use taper_kernels::{
    Conv1dGeometry, ConvTranspose1dGeometry, conv_transpose1d, conv1d, conv1d_input_gradient,
    conv1d_weight_gradient, threads,
};

/// Name, batch, channels in and out, length, kernel, stride, padding, groups.
type Row = (
    &'static str,
    usize,
    (usize, usize),
    usize,
    usize,
    usize,
    usize,
    usize,
);

const ROWS: &[Row] = &[
    ("pointwise 256-512 T200", 4, (256, 512), 200, 1, 1, 0, 1),
    ("pointwise 512-256 T200", 4, (512, 256), 200, 1, 1, 0, 1),
    ("pointwise 256-256 T200", 4, (256, 256), 200, 1, 1, 0, 1),
    ("pointwise 256-512 T200 b1", 1, (256, 512), 200, 1, 1, 0, 1),
    ("k3 s2 80-256 T400", 4, (80, 256), 400, 3, 2, 1, 1),
    ("k3 s2 256-256 T200", 4, (256, 256), 200, 3, 2, 1, 1),
    ("k3 80-256 T400", 4, (80, 256), 400, 3, 1, 1, 1),
    ("k5 256-256 T200", 4, (256, 256), 200, 5, 1, 2, 1),
    ("k31 s2 1-16 L16384", 8, (1, 16), 16384, 31, 2, 15, 1),
    ("k31 s2 16-32 L8192", 8, (16, 32), 8192, 31, 2, 15, 1),
    ("k31 s2 32-32 L4096", 8, (32, 32), 4096, 31, 2, 15, 1),
    ("k31 s2 32-64 L2048", 8, (32, 64), 2048, 31, 2, 15, 1),
    ("k31 s2 64-128 L512", 8, (64, 128), 512, 31, 2, 15, 1),
    ("k31 s2 128-256 L128", 8, (128, 256), 128, 31, 2, 15, 1),
    ("k31 s2 256-512 L32", 8, (256, 512), 32, 31, 2, 15, 1),
    ("k31 s2 512-1024 L16", 8, (512, 1024), 16, 31, 2, 15, 1),
    ("depthwise k15 256 T200", 4, (256, 256), 200, 15, 1, 7, 256),
    ("depthwise k31 256 T200", 4, (256, 256), 200, 31, 1, 15, 256),
];

fn random(index: u64, dims: &[usize]) -> Result<Tensor> {
    uniform("speed", index, dims, -1.0, 1.0)?.to_dtype(DType::F32)
}

/// The fastest of at least 3 calls and 60 milliseconds, in milliseconds.
fn fastest(mut call: impl FnMut() -> Result<Tensor>) -> Result<f64> {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    let mut calls = 0;
    while calls < 3 || start.elapsed().as_millis() < 60 {
        let begin = Instant::now();
        call()?;
        best = best.min(begin.elapsed().as_secs_f64() * 1e3);
        calls += 1;
    }
    Ok(best)
}

/// Forward, input gradient, weight gradient, and the transposed convolution back to the input's length.
fn measure(row: &Row) -> Result<[f64; 4]> {
    let &(_, batch, (inputs, outputs), length, kernel, stride, padding, groups) = row;
    let geometry = Conv1dGeometry::with(stride, padding).grouped(groups);
    let x = random(1, &[batch, inputs, length])?;
    let w = random(2, &[outputs, inputs / groups, kernel])?;
    let dy = random(3, conv1d(&x, &w, None, &geometry)?.dims())?;
    let bias = random(4, &[inputs])?;
    let back = ConvTranspose1dGeometry {
        output_padding: stride - 1,
        groups,
        ..ConvTranspose1dGeometry::with(stride, padding)
    };
    Ok([
        fastest(|| conv1d(&x, &w, None, &geometry))?,
        fastest(|| conv1d_input_gradient(&dy, &w, x.dims3()?, &geometry))?,
        fastest(|| conv1d_weight_gradient(&x, &dy, w.dims3()?, &geometry))?,
        fastest(|| conv_transpose1d(&dy, &w, Some(&bias), &back))?,
    ])
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().and_then(|count| count.parse().ok());
    threads::set_threads(count.unwrap_or(2));
    let part = arguments.next().unwrap_or_default();
    for row in ROWS.iter().filter(|row| row.0.contains(&part)) {
        let [forward, dx, dw, transposed] = measure(row)?;
        println!(
            "{:26} {forward:8.3} {dx:8.3} {dw:8.3} {transposed:8.3}",
            row.0
        );
    }
    Ok(())
}
