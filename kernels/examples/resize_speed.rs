//! Milliseconds of resizing, forward and backward; `resize_speed.py` beside it prints PyTorch's.
//!
//!     cargo run --release -p taper-kernels --example resize_speed [threads [part of a name]]
//!
//! Like every program that trains with Taper, this one sets an allocator that keeps its pages.
#![allow(clippy::print_stdout)]

use candle_core::{DType, Result, Tensor, Var};
use std::time::{Duration, Instant};
use taper_kernels::testing::uniform;
use taper_kernels::{resize_bilinear2d, resize_nearest2d};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Batch, channels, input and output sizes.
/// Batch, channels, and sizes of input and output.
type Row = (usize, usize, (usize, usize), (usize, usize));

const ROWS: &[Row] = &[
    (16, 64, (16, 16), (32, 32)),
    (16, 128, (8, 8), (16, 16)),
    (8, 32, (64, 64), (128, 128)),
    (64, 1, (8, 8), (32, 32)),
    (1, 3, (480, 640), (224, 224)),
    (16, 64, (32, 32), (16, 16)),
    (16, 64, (14, 14), (33, 33)),
    (4, 128, (1, 200), (1, 400)),
];

/// The fastest run of at least 15, over at least 0.1 s.
fn fastest(mut run: impl FnMut() -> Result<Duration>) -> Result<f64> {
    let (begin, mut best, mut runs) = (Instant::now(), Duration::MAX, 0);
    while runs < 15 || begin.elapsed() < Duration::from_millis(100) {
        best = best.min(run()?);
        runs += 1;
    }
    Ok(best.as_secs_f64() * 1e3)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().and_then(|count| count.parse().ok());
    taper_kernels::threads::set_threads(threads.unwrap_or(2));
    let part = arguments.next().unwrap_or_default();
    for &(batch, channels, input, output) in ROWS {
        let x = uniform("speed", 0, &[batch, channels, input.0, input.1], -1.0, 1.0)?;
        let x = Var::from_tensor(&x.to_dtype(DType::F32)?)?;
        for method in ["bilinear", "bilinear corners", "nearest"] {
            let name = format!(
                "{method} {batch}x{channels} {}x{}-{}x{}",
                input.0, input.1, output.0, output.1
            );
            if !name.contains(&part) {
                continue;
            }
            let resize = |x: &Tensor| match method {
                "nearest" => resize_nearest2d(x, output),
                _ => resize_bilinear2d(x, output, method == "bilinear corners"),
            };
            let forward = fastest(|| {
                let begin = Instant::now();
                resize(&x)?;
                Ok(begin.elapsed())
            })?;
            let both = fastest(|| {
                let begin = Instant::now();
                resize(&x)?.backward()?;
                Ok(begin.elapsed())
            })?;
            println!("{name:44} fwd {forward:8.3} fwd+bwd {both:8.3}");
        }
    }
    Ok(())
}
