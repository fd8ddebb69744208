//! `taper bench step|infer`.

mod infer;
mod measure;
mod step;

use crate::Status;
use crate::args::Global;
use crate::output::Output;
use clap::{Args, Subcommand};

/// Times networks.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// One training step: forward, cross-entropy, backward, SGD with momentum.
    #[command(after_help = "Example: taper bench step resnet20 --batch 64")]
    Step(measure::CaseArgs),
    /// One forward pass for evaluation.
    #[command(after_help = "Example: taper bench infer resnet20 --batch 1")]
    Infer(measure::CaseArgs),
}

pub fn execute(args: &BenchArgs, global: &Global, output: &Output) -> anyhow::Result<Status> {
    match &args.verb {
        Verb::Step(case) => step::execute(case, global, output),
        Verb::Infer(case) => infer::execute(case, global, output),
    }
}
