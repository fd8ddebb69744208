//! `taper weights download REPO[/FILE]`.

use crate::Status;
use crate::download::{DownloadBar, megabytes};
use crate::output::Output;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use taper::weights::hub::{Digest, Fetched, Hub, HubSettings, Options};

/// Fetches weights, verifies every byte, and prints where they lie.
///
/// Files of the hub lie in the cache of the Hugging Face tools, so that what Python has fetched is
/// found, and the reverse. A transfer that breaks is resumed; a damaged copy is fetched anew.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: taper weights download timm/resnet18.a1_in1k
         taper weights download resnet20-12fca82f.th

Environment, as the Hugging Face tools read it: HF_HOME, HF_HUB_CACHE (where files lie),
HF_TOKEN, HF_TOKEN_PATH (gated and private repositories), HF_ENDPOINT (a mirror),
HF_HUB_OFFLINE=1 (nothing but the cache), HF_HUB_DISABLE_PROGRESS_BARS=1")]
pub struct DownloadArgs {
    /// OWNER/NAME[@REVISION][/FILE] of the hub (without /FILE its weights, found by looking), an
    /// https:// address, or a file that `taper weights list` names.
    #[arg(value_name = "REPO[/FILE]")]
    spec: String,
    /// Branch, tag or commit [default: main].
    #[arg(long, value_name = "R")]
    revision: Option<String>,
    /// Put a copy into this folder, and print its path.
    #[arg(long, value_name = "DIR")]
    local_dir: Option<PathBuf>,
    /// Demand this SHA-256.
    #[arg(long, value_name = "H")]
    sha256: Option<String>,
}

#[derive(Debug, Serialize)]
struct Answer {
    path: PathBuf,
    /// The commit of the repository that was used.
    revision: Option<String>,
    bytes: u64,
    cached: bool,
    verified_by: Option<&'static str>,
    digest: Option<String>,
    parts: Vec<PathBuf>,
}

pub fn execute(args: &DownloadArgs, output: &Output) -> anyhow::Result<Status> {
    let digest = args.sha256.as_deref().map(Digest::sha256).transpose()?;
    let options = Options {
        revision: args.revision.clone(),
        digest,
        local_dir: args.local_dir.clone(),
    };
    let settings = HubSettings::from_environment();
    let mut bar = DownloadBar::new(output, settings.progress_bars);
    let hub = Hub::new(settings)?;
    let fetched = hub.fetch(&args.spec, &options, &mut |event| bar.tell(event))?;
    drop(bar);
    output.remark(&describe(&fetched));
    let answer = Answer {
        revision: fetched.commit,
        bytes: fetched.bytes,
        cached: fetched.cached,
        verified_by: fetched.digest.as_ref().map(Digest::kind),
        digest: fetched.digest.map(|digest| digest.digits().to_string()),
        parts: fetched.parts,
        path: fetched.path,
    };
    output.answer(&answer, || answer.path.display().to_string())?;
    Ok(Status::Done)
}

/// For people: what was used, and how it was verified.
fn describe(fetched: &Fetched) -> String {
    let from = if fetched.cached { "on disk" } else { "fetched" };
    let mut text = format!("{} {from}", megabytes(fetched.bytes));
    if !fetched.parts.is_empty() {
        text += &format!(" in {} parts", fetched.parts.len());
    }
    if let Some(commit) = &fetched.commit {
        text += &format!(", commit {commit}");
    }
    match &fetched.digest {
        Some(digest) => text + &format!(", {} {} verified", digest.kind(), digest.digits()),
        None => text + ", not verified: no digest is known (--sha256)",
    }
}
