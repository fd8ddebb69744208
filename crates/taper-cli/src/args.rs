//! The command line as parsed; names and flags are fixed, scripts call them.

use crate::commands::{
    bench, completions, data, diffusion, distill, eval, models, run, train, weights,
};
use clap::{Args, Parser, Subcommand};

/// Distil, train, evaluate and run small neural networks.
#[derive(Debug, Parser)]
#[command(name = "taper", version, about, max_term_width = 100)]
#[command(after_help = "Example: taper distill")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// Where to compute: `cpu` or `cuda[:N]`.
    #[arg(
        long,
        global = true,
        default_value = "cpu",
        value_name = "cpu|cuda[:N]"
    )]
    pub device: DeviceName,
    /// Threads to compute with; results do not depend on it [default: one a core].
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Fixes data order, augmentation, initialisation and noise.
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u64>,
    /// One JSON object (or one a line, for long work) on stdout.
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress on stderr, and on stdout only what was asked for.
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

impl Global {
    /// `--threads`, or one a core.
    pub fn thread_count(&self) -> usize {
        match self.threads {
            Some(count) => usize::from(count),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// The device that computes: the CPU, saying so, where there is no CUDA driver.
    pub fn device(&self) -> anyhow::Result<candle_core::Device> {
        let DeviceName::Cuda(index) = self.device else {
            return Ok(candle_core::Device::Cpu);
        };
        match taper::kernels::cuda_or_cpu(index) {
            Ok((device, note)) => {
                if let Some(note) = note {
                    anstream::eprintln!("--device cuda:{index}: {note}");
                }
                Ok(device)
            }
            Err(_) if !cfg!(feature = "cuda") => anyhow::bail!(
                "--device cuda:{index}: this program was compiled without CUDA; use --device cpu"
            ),
            Err(error) => {
                let text = error.to_string();
                let reason = text.lines().next().unwrap_or_default();
                anyhow::bail!("--device cuda:{index}: {reason}; `taper doctor` lists the GPUs")
            }
        }
    }

    /// For commands that compute on the CPU only: refuses a GPU that is there.
    pub fn require_cpu(&self, command: &str) -> anyhow::Result<()> {
        let device = self.device()?;
        anyhow::ensure!(
            device.is_cpu(),
            "--device {}: `taper {command}` computes on the CPU so far; use --device cpu",
            self.device
        );
        Ok(())
    }
}

/// `cpu`, `cuda` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceName {
    Cpu,
    Cuda(usize),
}

impl std::str::FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let index = match text.split_once(':') {
            None if text == "cpu" => return Ok(Self::Cpu),
            None if text == "cuda" => Some(0),
            Some(("cuda", index)) => index.parse().ok(),
            _ => None,
        };
        index
            .map(Self::Cuda)
            .ok_or_else(|| "expected cpu, cuda or cuda:N".to_string())
    }
}

impl std::fmt::Display for DeviceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Teach a small network from a larger one; without arguments, the quick start.
    Distill(distill::DistillArgs),
    /// Train a classifier on labels alone.
    Train(train::TrainArgs),
    /// Accuracy and loss of a network on the test part of a data set.
    Eval(eval::EvalArgs),
    /// Train velocity networks, draw samples, measure them.
    Diffusion(diffusion::DiffusionArgs),
    /// Run a network on a tensor file.
    Run(run::RunArgs),
    /// List the zoo, or describe one network.
    Models(models::ModelsArgs),
    /// Fetch checkpoints, and list those that the zoo knows.
    Weights(weights::WeightsArgs),
    /// Fetch data sets.
    Data(data::DataArgs),
    /// Time a training step, inference, or the operators.
    Bench(bench::BenchArgs),
    /// What this program and machine can do.
    Doctor,
    /// Shell completions on stdout.
    Completions(completions::CompletionsArgs),
    /// The manual page on stdout.
    Man,
}
