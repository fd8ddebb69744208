//! `taper models list|info`.

mod info;
mod list;
mod velocity;

use crate::Status;
use crate::output::Output;
use clap::{Args, Subcommand};

/// The zoo.
#[derive(Debug, Args)]
pub struct ModelsArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Every model, or those that a glob names.
    List(list::ListArgs),
    /// One model: tensors, stages, known weights.
    Info(info::InfoArgs),
}

pub fn execute(args: &ModelsArgs, output: &Output) -> anyhow::Result<Status> {
    match &args.verb {
        Verb::List(args) => list::execute(args, output),
        Verb::Info(args) => info::execute(args, output),
    }
}
