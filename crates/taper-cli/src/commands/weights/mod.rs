//! `taper weights list|download|…`.

mod download;
mod list;

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
}

pub fn execute(args: &WeightsArgs, _global: &Global, output: &Output) -> anyhow::Result<Status> {
    match &args.verb {
        Verb::List(args) => list::execute(args, output),
        Verb::Download(args) => download::execute(args, output),
    }
}
