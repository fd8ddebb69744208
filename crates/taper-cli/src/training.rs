//! What the training commands share: the run's directory, progress, the end.

use crate::Status;
use crate::output::Output;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use taper::train::{Progress, RunDirectory};

/// Where runs go when nothing else is said.
const RUNS: &str = "runs";

/// `--out`, or `runs/<date>-<command>-<n>`.
pub fn directory(out: Option<&Path>, command: &str) -> PathBuf {
    match out {
        Some(out) => out.to_path_buf(),
        None => RunDirectory::default_path(RUNS, command, SystemTime::now()),
    }
}

/// A bar, plain lines, JSON events or nothing.
pub fn progress(output: &Output) -> Progress {
    match (output.json, output.quiet) {
        (_, true) => Progress::quiet(),
        (true, false) => Progress::json(Box::new(std::io::stdout())),
        (false, false) => Progress::automatic(),
    }
}

/// Tells how to go on after Ctrl-C.
pub fn interrupted(command: &str, run: &RunDirectory, output: &Output) -> Status {
    let path = run.path().display();
    output.remark(&format!(
        "interrupted; go on with: taper {command} --resume {path}"
    ));
    Status::Interrupted
}
