//! Milliseconds of each convolution pass; `conv2d_speed.py` beside it prints PyTorch's.
//!
//! Usage: `conv2d_speed [THREADS] [PART OF A NAME] [exact]`. Run with glibc told to keep its pages:
//! `MALLOC_TRIM_THRESHOLD_=1000000000 MALLOC_TOP_PAD_=300000000 MALLOC_MMAP_THRESHOLD_=1000000000`.
#![allow(clippy::print_stdout)]

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use rand::Rng;
use std::time::Instant;
use taper_kernels::{Conv2dGeometry, conv2d, random::stream, set_exact, threads};

/// Name, batch, channels in and out, map, kernel, stride, padding, groups.
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
    ("3x3 16-16 @32", 64, (16, 16), 32, 3, 1, 1, 1),
    ("3x3 32-32 @16", 64, (32, 32), 16, 3, 1, 1, 1),
    ("3x3 64-64 @8", 64, (64, 64), 8, 3, 1, 1, 1),
    ("3x3 128-128 @8", 64, (128, 128), 8, 3, 1, 1, 1),
    ("3x3 32-32 @32", 64, (32, 32), 32, 3, 1, 1, 1),
    ("3x3 64-64 @32 b16", 16, (64, 64), 32, 3, 1, 1, 1),
    ("3x3 128-128 @28 b16", 16, (128, 128), 28, 3, 1, 1, 1),
    ("3x3 s2 16-32 @32", 64, (16, 32), 32, 3, 2, 1, 1),
    ("3x3 s2 32-64 @16", 64, (32, 64), 16, 3, 2, 1, 1),
    ("stem 3-16 @32", 64, (3, 16), 32, 3, 1, 1, 1),
    ("1x1 s2 16-32 @32", 64, (16, 32), 32, 1, 2, 0, 1),
    ("1x1 64-128 @32 b32", 32, (64, 128), 32, 1, 1, 0, 1),
    ("1x1 16-96 @16", 64, (16, 96), 16, 1, 1, 0, 1),
    ("1x1 96-24 @16", 64, (96, 24), 16, 1, 1, 0, 1),
    ("dw 64 @32 b32", 32, (64, 64), 32, 3, 1, 1, 64),
    ("dw 144 @16", 64, (144, 144), 16, 3, 1, 1, 144),
    ("dw 192 @16", 64, (192, 192), 16, 3, 1, 1, 192),
    ("dw s2 64 @32 b32", 32, (64, 64), 32, 3, 2, 1, 64),
    ("dw s2 144 @16", 64, (144, 144), 16, 3, 2, 1, 144),
    ("dw 384 @8", 64, (384, 384), 8, 3, 1, 1, 384),
    ("5x5 32-32 @16", 64, (32, 32), 16, 5, 1, 2, 1),
    ("3x3 g4 64-64 @16", 64, (64, 64), 16, 3, 1, 1, 4),
];

/// Random numbers between −1 and 1.
fn random(dims: &[usize], seed: u64) -> Result<Tensor> {
    let mut stream = stream(seed, "speed", 0);
    let values: Vec<f32> = (0..dims.iter().product())
        .map(|_| stream.random::<f32>() * 2.0 - 1.0)
        .collect();
    Ok(Tensor::from_vec(values, dims, &Device::Cpu)?)
}

/// The fastest of at least 5 calls and 80 milliseconds, in milliseconds.
fn fastest(mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    let mut calls = 0;
    while calls < 5 || start.elapsed().as_millis() < 80 {
        let begin = Instant::now();
        call()?;
        best = best.min(begin.elapsed().as_secs_f64() * 1e3);
        calls += 1;
    }
    Ok(best)
}

/// Forward, input gradient, weight gradient of one row.
fn measure(row: &Row) -> Result<[f64; 3]> {
    let &(_, batch, (inputs, outputs), size, kernel, stride, padding, groups) = row;
    let geometry = Conv2dGeometry::with(stride, padding).grouped(groups);
    let x = random(&[batch, inputs, size, size], 1)?;
    let w = random(&[outputs, inputs / groups, kernel, kernel], 2)?;
    let dy = random(conv2d(&x, &w, None, &geometry)?.dims(), 3)?;
    let forward = fastest(|| {
        conv2d(&x, &w, None, &geometry)
            .map(drop)
            .map_err(Into::into)
    })?;
    let dx = fastest(|| {
        taper_kernels::conv2d_input_gradient(&dy, &w, x.dims4()?, &geometry)
            .map(drop)
            .map_err(Into::into)
    })?;
    let dw = fastest(|| {
        taper_kernels::conv2d_weight_gradient(&x, &dy, w.dims4()?, &geometry)
            .map(drop)
            .map_err(Into::into)
    })?;
    Ok([forward, dx, dw])
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let count = arguments.first().map_or("2", String::as_str);
    threads::set_threads(
        count
            .parse()
            .context("the first argument is a number of threads")?,
    );
    let part = arguments.get(1).map_or("", String::as_str);
    set_exact(arguments.get(2).is_some_and(|argument| argument == "exact"));
    for row in ROWS.iter().filter(|row| row.0.contains(part)) {
        let [forward, dx, dw] = measure(row)?;
        println!("{:22} {forward:8.3} {dx:8.3} {dw:8.3}", row.0);
    }
    Ok(())
}
