//! What the benchmarks share: the case, the clock, the numbers.

use super::subject::Subject;
use crate::output::Output;
use candle_core::{DType, Device, Tensor};
use clap::Args;
use serde::Serialize;
use std::time::{Duration, Instant};
use taper::kernels::{memory, random};
use taper::layers::{ParameterStore, Role};

/// Steps before the clock runs.
const WARM_UP: usize = 3;
/// The clock runs at least so long and for so many steps.
const LEAST_TIME: Duration = Duration::from_secs(3);
const LEAST_STEPS: usize = 10;
const MOST_STEPS: usize = 2_000;

/// What to time.
#[derive(Debug, Args)]
pub struct CaseArgs {
    /// The model.
    pub model: String,
    /// Images a pass.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// Another input than the model's own.
    #[arg(long, value_name = "C,H,W", value_parser = shape)]
    pub data_shape: Option<[usize; 3]>,
    /// Steps to time [default: as many as fit three seconds, at least ten].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: Option<u32>,
    /// Number of classes [default: the original's].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub classes: Option<u32>,
}

fn shape(text: &str) -> Result<[usize; 3], String> {
    let numbers: Result<Vec<usize>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    match numbers.as_deref() {
        Ok(&[c, h, w]) if c * h * w > 0 => Ok([c, h, w]),
        _ => Err("expected three numbers from 1, as 3,32,32".into()),
    }
}

/// A network with its batch.
pub struct Case {
    pub subject: Subject,
    pub store: ParameterStore,
    pub images: Tensor,
    before: Held,
}

/// What the process held before there was a network.
struct Held {
    allocated: usize,
    resident: u64,
}

impl Held {
    fn now() -> Self {
        memory::reset_peak();
        Self {
            allocated: memory::live_bytes(),
            resident: status("VmRSS:"),
        }
    }
}

impl Case {
    pub fn new(args: &CaseArgs, seed: u64, device: &Device) -> anyhow::Result<Self> {
        let subject = Subject::find(&args.model, args.classes)?;
        let before = Held::now();
        let shape = subject.shape(args.batch as usize, args.data_shape);
        Ok(Self {
            subject,
            store: ParameterStore::new(seed, device),
            images: noise(&shape, seed)?.to_device(device)?,
            before,
        })
    }
}

/// Uniform numbers of mean 0 and variance 1.
fn noise(shape: &[usize], seed: u64) -> candle_core::Result<Tensor> {
    use rand::Rng;
    let mut stream = random::stream(seed, "bench", 0);
    let bound = 3f32.sqrt();
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count)
        .map(|_| stream.random_range(-bound..bound))
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(DType::F32)
}

/// The answer of a benchmark; `steps` is how many were timed.
#[derive(Debug, Serialize)]
pub struct Timing {
    model: &'static str,
    batch: usize,
    threads: usize,
    parameters: usize,
    steps: usize,
    median_s: f64,
    p20_s: f64,
    p80_s: f64,
    min_s: f64,
    images_per_s: f64,
    /// The most the process was given by the system.
    peak_bytes: u64,
    /// The most that network, optimiser, images and a step had allocated at once.
    allocated_peak_bytes: usize,
    /// By how much the process grew, pages kept for reuse counted.
    resident_growth_bytes: u64,
}

/// Runs `step` until it is warm, then times it.
pub fn measure(
    case: &Case,
    args: &CaseArgs,
    threads: usize,
    mut step: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Timing> {
    for _ in 0..WARM_UP {
        step()?;
    }
    let begun = Instant::now();
    let mut seconds = Vec::new();
    loop {
        let enough = match args.steps {
            Some(steps) => seconds.len() >= steps as usize,
            None => seconds.len() >= LEAST_STEPS && begun.elapsed() >= LEAST_TIME,
        };
        if enough || seconds.len() >= MOST_STEPS {
            break;
        }
        let start = Instant::now();
        step()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let quantile = |share: f64| seconds[((seconds.len() - 1) as f64 * share).round() as usize];
    let state = case.store.state();
    let parameters = state
        .iter()
        .filter(|(name, _)| Role::of(name) == Role::Parameter);
    let batch = args.batch as usize;
    Ok(Timing {
        model: case.subject.name(),
        batch,
        threads,
        parameters: parameters.map(|(_, tensor)| tensor.elem_count()).sum(),
        steps: seconds.len(),
        median_s: quantile(0.5),
        p20_s: quantile(0.2),
        p80_s: quantile(0.8),
        min_s: seconds[0],
        images_per_s: batch as f64 / quantile(0.5),
        peak_bytes: status("VmHWM:"),
        allocated_peak_bytes: memory::peak_bytes().saturating_sub(case.before.allocated),
        resident_growth_bytes: status("VmHWM:").saturating_sub(case.before.resident),
    })
}

/// A line of this process's status in bytes: what it holds now or held at most; 0 where the system does not tell.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

pub fn print(timing: &Timing, what: &str, output: &Output) -> anyhow::Result<()> {
    output.answer(timing, || {
        format!(
            "{} {what}, batch {}, {} threads: median {:.2} ms (20 % {:.2}, 80 % {:.2}, least {:.2}) over {} steps; {:.0} images/s; allocated at most {:.0} MB, resident {:.0} MB",
            timing.model,
            timing.batch,
            timing.threads,
            1e3 * timing.median_s,
            1e3 * timing.p20_s,
            1e3 * timing.p80_s,
            1e3 * timing.min_s,
            timing.steps,
            timing.images_per_s,
            timing.allocated_peak_bytes as f64 / 1e6,
            timing.peak_bytes as f64 / 1e6,
        )
    })
}
