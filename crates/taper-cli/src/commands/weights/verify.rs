//! `taper weights verify F`.

use super::limits::LimitArgs;
use crate::Status;
use crate::download;
use crate::network;
use crate::output::Output;
use clap::Args;
use std::path::PathBuf;
use taper::weights::{Verification, VerifyOptions, verify};

/// Checks a checkpoint, and lists everything that is wrong.
///
/// Digest (as given, and the eight digits in a name such as resnet20-12fca82f.th), structure (every
/// byte is read), finite numbers, and names, types and shapes against a network. Exit code 1 when a check fails.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: taper weights verify resnet20-12fca82f.th --model akamaster_resnet20"
)]
pub struct VerifyArgs {
    /// A checkpoint: a file or folder, OWNER/NAME[/FILE] of the hub, an address, or a file of
    /// `weights list`.
    #[arg(value_name = "F")]
    file: PathBuf,
    /// The network that it should fit.
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// The SHA-256 that the file should have.
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// The number of classes that it should have.
    #[arg(long, value_name = "K", requires = "model")]
    classes: Option<usize>,
    #[command(flatten)]
    limits: LimitArgs,
}

pub fn execute(args: &VerifyArgs, output: &Output) -> anyhow::Result<Status> {
    let options = VerifyOptions {
        sha256: args.sha256.clone(),
        model: args.model.as_deref().map(network::entry).transpose()?,
        classes: args.classes,
        limits: args.limits.limits(),
    };
    let path = download::resolve(&args.file, output)?;
    let found = verify(path, &options)?;
    output.answer(&found, || describe(&found))?;
    Ok(match found.ok {
        true => Status::Done,
        false => Status::Differs,
    })
}

fn describe(found: &Verification) -> String {
    let mut lines = vec![format!(
        "{}: {}",
        found.file.display(),
        if found.ok { "verified" } else { "FAILED" }
    )];
    for check in &found.checks {
        let mark = if check.ok { "ok" } else { "FAILED" };
        for (index, detail) in check.details.iter().enumerate() {
            let (mark, name) = if index == 0 {
                (mark, check.check)
            } else {
                ("", "")
            };
            lines.push(format!("  {mark:<7} {name:<10} {detail}"));
        }
    }
    if let Some(known) = found.known {
        lines.push(format!("  it is the published {known}"));
    }
    lines.join("\n")
}
