//! `taper data download NAME`.

use crate::Status;
use crate::download::DownloadBar;
use crate::output::Output;
use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::{Path, PathBuf};
use taper::data::published::{self, PublishedDigest, PublishedFile};
use taper::data::{DATA_VARIABLE, SetKind};
use taper::weights::hub::{Digest, Fetched, Hub, HubError, HubSettings};

/// Fetches a data set from where its authors publish it, and checks it by its published digest.
///
/// A transfer that breaks is resumed by the same command; no file gets its name before it is whole.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: taper data download mnist --dir data/mnist
         taper train resnet8 --data mnist:data/mnist --epochs 1

With TAPER_DATA set, `taper data download mnist` puts it where `--data mnist` looks.
HF_HUB_OFFLINE=1 forbids the network here too.")]
pub struct DownloadArgs {
    /// The data set.
    name: Name,
    /// Its folder [default: $TAPER_DATA/NAME].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Fetch the files from this address instead; the digests stay the same.
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    Cifar10,
    Cifar100,
    Mnist,
    FashionMnist,
}

impl Name {
    fn kind(self) -> SetKind {
        match self {
            Self::Cifar10 => SetKind::Cifar10,
            Self::Cifar100 => SetKind::Cifar100,
            Self::Mnist => SetKind::Mnist,
            Self::FashionMnist => SetKind::FashionMnist,
        }
    }
}

#[derive(Debug, Serialize)]
struct Answer {
    name: &'static str,
    path: PathBuf,
    files: Vec<PathBuf>,
    cached: bool,
    /// What to pass as `--data`.
    data: String,
}

pub fn execute(args: &DownloadArgs, output: &Output) -> anyhow::Result<Status> {
    let kind = args.name.kind();
    let directory = directory(args, kind)?;
    let settings = HubSettings::from_environment();
    let mut bar = DownloadBar::new(output, settings.progress_bars);
    let hub = Hub::new(settings)?;
    std::fs::create_dir_all(&directory)
        .with_context(|| format!("--dir {}", directory.display()))?;
    let (mut files, mut cached) = (Vec::new(), true);
    for file in published::files(kind) {
        cached &= install(&hub, file, args.mirror.as_deref(), &directory, &mut bar)?;
        match file.members {
            [] => files.push(directory.join(file.name)),
            members => files.extend(members.iter().map(|member| directory.join(member.path))),
        }
    }
    drop(bar);
    let answer = Answer {
        name: kind.name(),
        data: format!("{}:{}", kind.name(), directory.display()),
        path: directory,
        files,
        cached,
    };
    let from = if cached { "was there" } else { "fetched" };
    output.remark(&format!("{from} and verified; --data {}", answer.data));
    output.answer(&answer, || answer.path.display().to_string())?;
    Ok(Status::Done)
}

fn directory(args: &DownloadArgs, kind: SetKind) -> anyhow::Result<PathBuf> {
    if let Some(directory) = &args.dir {
        return Ok(directory.clone());
    }
    match std::env::var_os(DATA_VARIABLE).filter(|value| !value.is_empty()) {
        Some(folder) => Ok(PathBuf::from(folder).join(kind.name())),
        None => anyhow::bail!(
            "--dir: not given, and {DATA_VARIABLE} is not set; say where the files shall lie, for example --dir data/{}",
            kind.name()
        ),
    }
}

/// Makes `file` whole in `directory`; true if it was.
fn install(
    hub: &Hub,
    file: &PublishedFile,
    mirror: Option<&str>,
    directory: &Path,
    bar: &mut DownloadBar,
) -> anyhow::Result<bool> {
    if !file.members.is_empty() && published::is_unpacked(file.members, directory)? {
        return Ok(true);
    }
    let path = directory.join(file.name);
    let fetched = fetch(hub, file, mirror, &path, bar)?;
    if file.members.is_empty() {
        return Ok(fetched.cached);
    }
    published::unpack(&path, file.members, directory)?;
    std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
    Ok(false)
}

/// From the first address that has it.
fn fetch(
    hub: &Hub,
    file: &PublishedFile,
    mirror: Option<&str>,
    path: &Path,
    bar: &mut DownloadBar,
) -> Result<Fetched, HubError> {
    let digest = match file.digest {
        PublishedDigest::Sha256(digits) => Digest::Sha256(digits.to_string()),
        PublishedDigest::Md5(digits) => Digest::Md5(digits.to_string()),
    };
    let given = mirror.map(|mirror| vec![mirror]);
    let folders = given.unwrap_or_else(|| file.folders.to_vec());
    let mut last: Option<HubError> = None;
    for folder in folders {
        if let Some(error) = &last {
            tell(bar, error);
        }
        let url = format!("{}/{}", folder.trim_end_matches('/'), file.name);
        match hub.fetch_url_to(&url, path, &digest, &mut |event| bar.tell(event)) {
            Ok(fetched) => return Ok(fetched),
            // Another address may do better; another disk or another mode would be needed else.
            Err(error @ (HubError::Io { .. } | HubError::Offline { .. })) => return Err(error),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| HubError::Specification {
        spec: file.name.to_string(),
        reason: "no address is known; name one with --mirror".to_string(),
    }))
}

fn tell(bar: &mut DownloadBar, error: &HubError) {
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default().to_string();
    bar.tell(taper::weights::hub::Event::Note(first));
}
