//! Milliseconds of convolution + batch norm + ReLU: forward, and forward with backward.
//!
//! `conv_bn_act_speed.py` beside it prints PyTorch's. Usage and allocator settings as in `conv2d_speed.rs`.
#![allow(clippy::print_stdout)]

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor, Var};
use rand::Rng;
use std::time::Instant;
use taper_kernels::{Activation, Conv2dGeometry, conv_bn_act, random::stream, threads};

/// Name, batch, channels in and out, map, kernel, stride, padding, with a residual?
type Row = (
    &'static str,
    usize,
    (usize, usize),
    usize,
    usize,
    usize,
    usize,
    bool,
);

const ROWS: &[Row] = &[
    ("3x3 16-16 @32", 64, (16, 16), 32, 3, 1, 1, false),
    ("3x3 16-16 @32 +res", 64, (16, 16), 32, 3, 1, 1, true),
    ("3x3 32-32 @16 +res", 64, (32, 32), 16, 3, 1, 1, true),
    ("3x3 64-64 @8 +res", 64, (64, 64), 8, 3, 1, 1, true),
    ("3x3 s2 16-32 @32", 64, (16, 32), 32, 3, 2, 1, false),
    ("1x1 64-128 @32 b32", 32, (64, 128), 32, 1, 1, 0, false),
];

/// A variable of random numbers between −1 and 1.
fn random(dims: &[usize], seed: u64) -> Result<Var> {
    let mut stream = stream(seed, "speed", 0);
    let values: Vec<f32> = (0..dims.iter().product())
        .map(|_| stream.random::<f32>() * 2.0 - 1.0)
        .collect();
    Ok(Var::from_tensor(&Tensor::from_vec(
        values,
        dims,
        &Device::Cpu,
    )?)?)
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

fn measure(row: &Row) -> Result<[f64; 2]> {
    let &(_, batch, (inputs, outputs), size, kernel, stride, padding, residual) = row;
    let geometry = Conv2dGeometry::with(stride, padding);
    let x = random(&[batch, inputs, size, size], 1)?;
    let w = random(&[outputs, inputs, kernel, kernel], 2)?;
    let gamma = Var::ones(outputs, DType::F32, &Device::Cpu)?;
    let beta = Var::zeros(outputs, DType::F32, &Device::Cpu)?;
    let side = size.div_ceil(stride);
    let other = random(&[batch, outputs, side, side], 3)?;
    let other = residual.then_some(other.as_tensor());
    let forward = || {
        conv_bn_act(
            &x,
            &w,
            &gamma,
            &beta,
            other,
            &geometry,
            1e-5,
            Activation::Relu,
        )
    };
    // A loss whose gradient costs next to nothing: backward of a narrow view would not be dense.
    let step = || -> Result<()> {
        forward()?.0.sum_all()?.backward()?;
        Ok(())
    };
    Ok([fastest(|| Ok(forward().map(drop)?))?, fastest(step)?])
}

fn main() -> Result<()> {
    let count = std::env::args().nth(1).unwrap_or_else(|| "2".into());
    threads::set_threads(
        count
            .parse()
            .context("the first argument is a number of threads")?,
    );
    let part = std::env::args().nth(2).unwrap_or_default();
    for row in ROWS.iter().filter(|row| row.0.contains(&part)) {
        let [forward, step] = measure(row)?;
        println!("{:22} {forward:8.3} {step:8.3}", row.0);
    }
    Ok(())
}
