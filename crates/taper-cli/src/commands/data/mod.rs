//! `taper data download`.

mod download;

use crate::Status;
use crate::output::Output;
use clap::{Args, Subcommand};

/// Data sets.
#[derive(Debug, Args)]
pub struct DataArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Fetch a data set to where `--data` finds it, verified.
    Download(download::DownloadArgs),
}

pub fn execute(args: &DataArgs, output: &Output) -> anyhow::Result<Status> {
    match &args.verb {
        Verb::Download(args) => download::execute(args, output),
    }
}
