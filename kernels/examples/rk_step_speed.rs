//! Milliseconds of the Catch-Up Distillation arithmetic and of the CTC loss, with the fraction of
//! copy bandwidth that their least bytes make: fastest of many runs.
//!
//!     cargo run --release -p taper-kernels --example rk_step_speed [threads [name]]
//!
//! With a name, only lines that contain it. `rk_step_speed.py` runs this program line by line in
//! alternation with PyTorch.

use candle_core::{DType, Device, Result, Tensor, Var};
use std::io::Write;
use std::time::{Duration, Instant};
use taper_kernels::testing::uniform;
use taper_kernels::{
    CatchUpWeights, CtcOptions, SamplerStep, StageRule, catchup_loss, ctc_loss, interpolate,
    rk_stage, rk_step, sampler_update, threads,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn single(index: u64, dims: &[usize]) -> Result<Tensor> {
    uniform("rk_step_speed", index, dims, -1.0, 1.0)?.to_dtype(DType::F32)
}

/// Seconds of the fastest run of at least 15, over at least 0.3 s.
fn fastest(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let (begin, mut best, mut runs) = (Instant::now(), Duration::MAX, 0);
    while runs < 15 || begin.elapsed() < Duration::from_millis(300) {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed());
        runs += 1;
    }
    Ok(best.as_secs_f64())
}

/// Bytes a second of a copy on all threads, read and write counted.
fn copy_bandwidth(bytes: usize) -> Result<f64> {
    const CHUNK: usize = 1 << 16;
    let source = vec![1f32; bytes / 4];
    let mut copy = vec![0f32; bytes / 4];
    let seconds = fastest(|| {
        threads::for_each_chunk(&mut copy, CHUNK, |index, part| {
            part.copy_from_slice(&source[index * CHUNK..][..CHUNK]);
        });
        std::hint::black_box(&copy);
        Ok(())
    })?;
    Ok(2.0 * bytes as f64 / seconds)
}

/// One size's lines.
struct Table {
    name: String,
    elements: usize,
    copy: f64,
}

impl Table {
    /// Measures `run`, which must move `bytes` for each element at least.
    fn line(&self, what: &str, bytes: usize, run: impl FnMut() -> Result<()>) -> Result<()> {
        let name = format!("{what} {}", self.name);
        if !wanted(&name) {
            return Ok(());
        }
        let seconds = fastest(run)?;
        let moved = (bytes * self.elements) as f64 / seconds;
        let line = format!(
            "{name:44} {:9.4} ms {:7.2} GB/s {:5.2} of copy",
            seconds * 1e3,
            moved / 1e9,
            moved / self.copy
        );
        // A closed pipe is no reason to stop measuring.
        let _ = writeln!(std::io::stdout(), "{line}");
        Ok(())
    }
}

/// Whether the second argument, if there is one, asks for this line.
fn wanted(name: &str) -> bool {
    std::env::args()
        .nth(2)
        .is_none_or(|part| name.contains(&part))
}

fn catch_up(dims: &[usize]) -> Result<()> {
    let name: Vec<String> = dims.iter().map(usize::to_string).collect();
    let elements = dims.iter().product();
    let table = Table {
        name: name.join("x"),
        elements,
        copy: copy_bandwidth(4 * elements)?,
    };
    let tensors: Vec<Tensor> = (0..7)
        .map(|index| single(index, dims))
        .collect::<Result<_>>()?;
    let (x, z) = (&tensors[0], &tensors[1]);
    let slopes: Vec<&Tensor> = tensors[1..5].iter().collect();
    let t = uniform("rk_step_speed t", 0, &dims[..1], 0.1, 1.0)?.to_dtype(DType::F32)?;
    table.line("interpolate", 16, || interpolate(x, z, &t).map(drop))?;
    for order in 1..=4 {
        let bytes = [12, 20, 28, 24][order - 1];
        table.line(&format!("rk_step {order}"), bytes, || {
            rk_step(x, &slopes[..order], &t, StageRule::Paper).map(drop)
        })?;
    }
    table.line("rk_stage 3", 16, || {
        rk_stage(x, &slopes[..2], &[1.75, 0.25], &t).map(drop)
    })?;
    let plain = SamplerStep {
        h: 0.1,
        t: 0.5,
        clamp: None,
    };
    let clamped = SamplerStep {
        clamp: Some((-1.0, 1.0)),
        ..plain
    };
    table.line("sampler euler", 12, || {
        sampler_update(x, z, None, &plain).map(drop)
    })?;
    table.line("sampler ab2", 16, || {
        sampler_update(x, z, Some(slopes[1]), &plain).map(drop)
    })?;
    table.line("sampler clamp", 12, || {
        sampler_update(x, z, None, &clamped).map(drop)
    })?;
    let heads: Vec<Var> = tensors[..3]
        .iter()
        .map(Var::from_tensor)
        .collect::<Result<_>>()?;
    let heads: Vec<&Tensor> = heads.iter().map(|head| head.as_tensor()).collect();
    let targets: Vec<&Tensor> = tensors[3..6].iter().collect();
    let mask: Vec<u8> = (0..dims[0])
        .map(|sample| u8::from(sample % 16 != 0))
        .collect();
    let mask = Tensor::from_vec(mask, dims[0], &Device::Cpu)?;
    for n in 1..=3 {
        let weights = CatchUpWeights {
            catch_up: &[1.0; 3][..n],
            truth: &[1.0; 3][..n],
            samples: None,
        };
        let loss = || {
            catchup_loss(
                &heads[..n],
                &targets[..n],
                &tensors[6],
                Some(&mask),
                &weights,
            )
        };
        table.line(
            &format!("catchup_loss {n} with gradients"),
            4 * (3 * n + 1),
            || loss().map(drop),
        )?;
        table.line(
            &format!("catchup_loss {n} and backward"),
            4 * (3 * n + 1),
            || loss()?.backward().map(drop),
        )?;
    }
    Ok(())
}

fn ctc(frames: usize, batch: usize, classes: usize, longest: usize) -> Result<()> {
    let name = format!("{frames}x{batch}x{classes}x{longest}");
    let table = Table {
        name,
        elements: frames * batch * classes,
        copy: f64::INFINITY,
    };
    let log_probs = uniform("rk_step_speed ctc", 0, &[frames, batch, classes], -4.0, 4.0)?;
    let log_probs =
        taper_kernels::log_softmax(&log_probs.to_dtype(DType::F32)?, candle_core::D::Minus1)?;
    let count = batch * longest;
    let targets = (0..count)
        .map(|index| 1 + (index * 7919 % (classes - 1)) as u32)
        .collect();
    let targets = Tensor::from_vec::<_, u32>(targets, (batch, longest), &Device::Cpu)?;
    let (inputs, lengths) = (vec![frames; batch], vec![longest; batch]);
    let loss = |log_probs: &Tensor| {
        ctc_loss(
            log_probs,
            &targets,
            &inputs,
            &lengths,
            &CtcOptions::default(),
        )
    };
    table.line("ctc_loss", 4, || loss(&log_probs).map(drop))?;
    let log_probs = Var::from_tensor(&log_probs)?;
    table.line("ctc_loss and backward", 8, || {
        loss(&log_probs)?.backward().map(drop)
    })
}

fn main() -> Result<()> {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok());
    threads::set_threads(count.unwrap_or(2));
    for dims in [[128, 3, 32, 32], [1024, 3, 64, 64]] {
        if std::env::args()
            .nth(2)
            .is_none_or(|part| !part.contains("ctc"))
        {
            catch_up(&dims)?;
        }
    }
    ctc(200, 16, 32, 40)?;
    ctc(500, 8, 5000, 60)
}
