//! The `taper` program: parses arguments, calls the library, prints. No science.

mod args;
mod commands;
mod comparison_report;
mod download;
mod environment;
mod interrupt;
mod network;
mod output;
mod run_input;
mod seeds;
mod settings;
mod training;

use args::{Cli, Command};
use clap::Parser;
use output::Output;
use std::process::ExitCode;
use taper::kernels::memory::Counting;

/// Keeps its pages: a training step frees and asks for the same blocks every time. Counted for `taper bench`.
#[global_allocator]
static ALLOCATOR: Counting<mimalloc::MiMalloc> = Counting(mimalloc::MiMalloc);

/// Exit code after Ctrl-C.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let cli = Cli::parse();
    environment::prepare(&cli.global);
    let output = Output::new(&cli.global);
    let result = taper::train::run_on_big_stack(move || dispatch(cli, &output))
        .map_err(anyhow::Error::from)
        .flatten();
    match result {
        Ok(Status::Done) => ExitCode::SUCCESS,
        Ok(Status::Differs) => ExitCode::FAILURE,
        Ok(Status::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::print_error(&error);
            ExitCode::FAILURE
        }
    }
}

/// How a command ended, when it did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Done,
    Interrupted,
    /// `diff` or `verify` found something, and has said what.
    Differs,
}

fn dispatch(cli: Cli, output: &Output) -> anyhow::Result<Status> {
    let global = &cli.global;
    taper::kernels::threads::set_threads(global.thread_count());
    match cli.command {
        Command::Distill(args) => commands::distill::execute(args, global, output),
        Command::Train(args) => commands::train::execute(args, global, output),
        Command::Eval(args) => commands::eval::execute(&args, global, output),
        Command::Diffusion(args) => commands::diffusion::execute(args, global, output),
        Command::Run(args) => commands::run::execute(&args, global, output),
        Command::Models(args) => commands::models::execute(&args, output),
        Command::Weights(args) => commands::weights::execute(&args, global, output),
        Command::Data(args) => commands::data::execute(&args, output),
        Command::Bench(args) => commands::bench::execute(&args, global, output),
        Command::Doctor => commands::doctor::execute(global, output),
        Command::Completions(args) => commands::completions::execute(&args),
        Command::Man => commands::man::execute(),
    }
}
