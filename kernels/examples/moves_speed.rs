//! Milliseconds of copies, sums, gathers and scatters: fastest of many runs.
//!
//!     cargo run --release -p taper-kernels --example moves_speed [threads [name]]
//!
//! With a name, only lines that contain it. `moves_speed.py` prints the same lines for PyTorch.

use candle_core::{DType, Result, Tensor};
use std::io::Write;
use std::time::{Duration, Instant};
use taper_kernels::testing::uniform;
use taper_kernels::{copy_strided, permute, sum_axes};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn single(dims: &[usize]) -> Result<Tensor> {
    uniform("moves_speed", 0, dims, -1.0, 1.0)?.to_dtype(DType::F32)
}

/// The fastest run of at least 15, over at least 0.2 s.
fn line(name: &str, run: impl Fn() -> Result<Tensor>) -> Result<()> {
    if std::env::args()
        .nth(2)
        .is_some_and(|part| !name.contains(&part))
    {
        return Ok(());
    }
    let (begin, mut best, mut runs) = (Instant::now(), Duration::MAX, 0);
    while runs < 15 || begin.elapsed() < Duration::from_millis(200) {
        let begin = Instant::now();
        let result = run()?;
        best = best.min(begin.elapsed());
        drop(result);
        runs += 1;
    }
    // A closed pipe is no reason to stop measuring.
    let _ = writeln!(
        std::io::stdout(),
        "{name:36} {:8.3}",
        best.as_secs_f64() * 1e3
    );
    Ok(())
}

fn main() -> Result<()> {
    let threads = std::env::args()
        .nth(1)
        .and_then(|count| count.parse().ok())
        .unwrap_or(2);
    taper_kernels::threads::set_threads(threads);
    let matrix = single(&[2048, 1024])?;
    let images = single(&[32, 64, 32, 32])?;
    let small = single(&[64, 16, 32, 32])?;
    let last = images.permute((0, 2, 3, 1))?.contiguous()?;
    let colours = single(&[32, 3, 224, 224])?;
    line("sum over axis 0", || sum_axes(&matrix, &[0]))?;
    line("sum over axis 1", || sum_axes(&matrix, &[1]))?;
    line("full sum", || sum_axes(&matrix, &[0, 1]))?;
    line("sum over (2, 3)", || sum_axes(&images, &[2, 3]))?;
    line("sum over (0, 2, 3)", || sum_axes(&images, &[0, 2, 3]))?;
    line("sum over (0, 2, 3) small", || sum_axes(&small, &[0, 2, 3]))?;
    line("sum over 1", || sum_axes(&images, &[1]))?;
    line("sum over 0 of 200000x10", || {
        sum_axes(
            &matrix
                .flatten_all()?
                .narrow(0, 0, 2_000_000)?
                .reshape((200_000, 10))?,
            &[0],
        )
    })?;
    line("sum over 1 of 200000x10", || {
        sum_axes(
            &matrix
                .flatten_all()?
                .narrow(0, 0, 2_000_000)?
                .reshape((200_000, 10))?,
            &[1],
        )
    })?;
    line("copy NCHW to NHWC", || permute(&images, &[0, 2, 3, 1]))?;
    line("copy NHWC to NCHW", || permute(&last, &[0, 3, 1, 2]))?;
    line("copy NCHW to NHWC small", || permute(&small, &[0, 2, 3, 1]))?;
    line("copy NCHW to NHWC 3 channels", || {
        permute(&colours, &[0, 2, 3, 1])
    })?;
    line("copy transpose(0, 1)", || copy_strided(&matrix.t()?))?;
    line("copy transpose(0, 1) of images", || {
        copy_strided(&images.transpose(0, 1)?)
    })?;
    line("copy transpose(1, 2) of 4 axes", || {
        copy_strided(&images.transpose(1, 2)?)
    })?;
    line("copy narrow", || copy_strided(&matrix.narrow(1, 3, 1000)?))?;
    line("copy broadcast", || {
        copy_strided(&matrix.narrow(0, 0, 1)?.broadcast_as((2048, 1024))?)
    })?;
    line("copy broadcast column", || {
        copy_strided(
            &matrix
                .narrow(1, 0, 1)?
                .contiguous()?
                .broadcast_as((2048, 1024))?,
        )
    })?;
    Ok(())
}
