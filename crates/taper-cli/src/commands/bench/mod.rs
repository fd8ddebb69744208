//! `taper bench step|infer|kernels`.

mod infer;
mod kernels;
mod measure;
mod step;
mod subject;

use crate::Status;
use crate::args::Global;
use crate::output::Output;
use clap::{Args, Subcommand};

/// Times networks and operators.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// One training step: forward, loss (cross-entropy; mean square for velocity networks), backward, SGD with momentum.
    #[command(after_help = "Example: taper bench step resnet20 --batch 64")]
    Step(measure::CaseArgs),
    /// One forward pass for evaluation.
    #[command(after_help = "Example: taper bench infer resnet20 --batch 1")]
    Infer(measure::CaseArgs),
    /// Every operator by itself: time, bytes moved, fraction of what the machine can do, PyTorch beside it.
    #[command(after_help = "Example: taper bench kernels relu")]
    Kernels(kernels::KernelsArgs),
}

pub fn execute(args: &BenchArgs, global: &Global, output: &Output) -> anyhow::Result<Status> {
    match &args.verb {
        Verb::Step(case) => step::execute(case, global, output),
        Verb::Infer(case) => infer::execute(case, global, output),
        Verb::Kernels(args) => kernels::execute(args, global, output),
    }
}
