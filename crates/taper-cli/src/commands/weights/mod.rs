//! `taper weights list|download|convert|inspect|diff|verify|merge`.

mod convert;
mod diff;
mod download;
mod inspect;
mod limits;
mod list;
mod merge;
mod progress;
mod verify;

use crate::Status;
use crate::args::Global;
use crate::output::Output;
use clap::{Args, Subcommand};

/// Checkpoints of any kind.
#[derive(Debug, Args)]
pub struct WeightsArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Published weights that the zoo knows: task, accuracy, licence, size, whether cached.
    List(list::ListArgs),
    /// Fetch weights from the Hugging Face hub or an address, verified.
    Download(download::DownloadArgs),
    /// Turn a checkpoint of any kind into safetensors.
    Convert(Box<convert::ConvertArgs>),
    /// Show what is in a checkpoint.
    Inspect(inspect::InspectArgs),
    /// Compare two checkpoints, or one with a network of the zoo.
    Diff(diff::DiffArgs),
    /// Check digest, structure, finite numbers, and whether a network takes it.
    Verify(verify::VerifyArgs),
    /// Fold a NORM student or batch norms, average checkpoints, take moving averages.
    Merge(merge::MergeArgs),
}

pub fn execute(args: &WeightsArgs, _global: &Global, output: &Output) -> anyhow::Result<Status> {
    match &args.verb {
        Verb::List(args) => list::execute(args, output),
        Verb::Download(args) => download::execute(args, output),
        Verb::Convert(args) => convert::execute(args, output),
        Verb::Inspect(args) => inspect::execute(args, output),
        Verb::Diff(args) => diff::execute(args, output),
        Verb::Verify(args) => verify::execute(args, output),
        Verb::Merge(args) => merge::execute(args, output),
    }
}
