//! `taper completions SHELL`.

use crate::Status;
use crate::args::Cli;
use clap::{Args, CommandFactory};
use std::io::Write;

/// Prints the completion script of a shell.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: taper completions bash > ~/.local/share/bash-completion/completions/taper"
)]
pub struct CompletionsArgs {
    /// The shell.
    shell: clap_complete::Shell,
}

pub fn execute(args: &CompletionsArgs) -> anyhow::Result<Status> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "taper", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(Status::Done)
}
