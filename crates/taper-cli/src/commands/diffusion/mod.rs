//! `taper diffusion`: train velocity networks, draw samples, measure them.

mod eval;
mod sample;
mod train;

use crate::Status;
use crate::args::Global;
use crate::output::Output;
use anyhow::Context;
use clap::{Args, Subcommand};
use std::path::Path;
use taper::diffusion::samplers::{Rule, SamplerConfig};
use taper::diffusion::{SavedNetwork, load_network};

/// Trains velocity networks, draws samples and measures them.
#[derive(Debug, Args)]
#[command(after_help = "Example: taper diffusion train --data checkerboard --method cud --order 2")]
pub struct DiffusionArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Train by flow matching, Catch-Up, Consistency or Progressive Distillation.
    Train(train::TrainArgs),
    /// Draw samples as a picture, as images or as tensors.
    Sample(sample::SampleArgs),
    /// Distances between samples and data.
    Eval(eval::EvalArgs),
}

pub fn execute(args: DiffusionArgs, global: &Global, output: &Output) -> anyhow::Result<Status> {
    global.require_cpu("diffusion")?;
    match args.verb {
        Verb::Train(args) => train::execute(args, global, output),
        Verb::Sample(args) => sample::execute(&args, global, output),
        Verb::Eval(args) => eval::execute(&args, global, output),
    }
}

/// How to sample; shared by `sample` and `eval`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sampling")]
struct SamplingArgs {
    /// Numbers of steps, a row of the answer each.
    #[arg(
        long,
        value_name = "N,N,…",
        value_delimiter = ',',
        default_value = "1,2,4,8,16"
    )]
    steps: Vec<usize>,
    /// euler, heun, ab2, ab3, rk4, or the adaptive dopri5.
    #[arg(long, value_name = "RULE", default_value = "euler")]
    rule: Rule,
    /// The head, from 1; networks of orders 2 and 3 have as many.
    #[arg(long, value_name = "J", default_value_t = 1)]
    head: usize,
    /// Momentum of euler.
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    momentum: f64,
    /// Clamp every estimate of an image to its range, −1 … 1.
    #[arg(long)]
    clamp: bool,
    /// Error that dopri5 allows [default: 1e-3].
    #[arg(long, value_name = "X")]
    tolerance: Option<f64>,
    /// Evaluations that dopri5 may take a sample [default: 1000].
    #[arg(long, value_name = "N")]
    evaluations: Option<usize>,
    /// The class, for networks with classes [default: in turn].
    #[arg(long, value_name = "K")]
    class: Option<u32>,
    /// Samples a pass: bounds the memory, changes no sample.
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch: usize,
}

impl SamplingArgs {
    /// One sampler a row; the adaptive rule has one row.
    fn samplers(&self) -> anyhow::Result<Vec<(String, SamplerConfig)>> {
        anyhow::ensure!(
            !self.steps.is_empty(),
            "--steps: expected at least one number"
        );
        let usual = SamplerConfig::default();
        let of = |steps| SamplerConfig {
            rule: self.rule,
            steps,
            momentum: self.momentum,
            clamp: self.clamp.then_some([-1.0, 1.0]),
            tolerance: self.tolerance.unwrap_or(usual.tolerance),
            evaluations: self.evaluations.unwrap_or(usual.evaluations),
        };
        let samplers: Vec<_> = match self.rule {
            Rule::Dopri5 => vec![("ad".to_string(), of(usual.steps))],
            _ => self.steps.iter().map(|&n| (n.to_string(), of(n))).collect(),
        };
        for (_, sampler) in &samplers {
            sampler
                .validate()
                .map_err(|error| anyhow::anyhow!("--{error}"))?;
        }
        Ok(samplers)
    }
}

fn open(flag: &str, path: &Path) -> anyhow::Result<SavedNetwork> {
    load_network(path).with_context(|| format!("{flag}{}", path.display()))
}
