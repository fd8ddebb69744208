//! `taper weights convert IN OUT`.

use super::limits::LimitArgs;
use super::progress::WriteBar;
use crate::Status;
use crate::download::{self, megabytes};
use crate::output::Output;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;
use taper::weights::{
    ConvertOptions, ConvertReport, Dialect, DialectChoice, Direction, ElementType, TensorFile,
    WeightsError, convert,
};

/// Turns a checkpoint of any kind into safetensors, in constant memory.
///
/// Without flags names stay those of the file: wrappers (state_dict, model, …) are taken off, nested
/// dictionaries are joined by dots, nothing is stripped. Pickle is read as data and never executed.
/// The steps follow each other: keep and drop, strip, dialect, rename, dtype.
///
/// In a pattern `*` stands for any run of characters, `?` for one, `{n}` for a run of digits; a
/// pattern without them means the tensor of that name, or all below the module of that name.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: taper weights convert resnet20-12fca82f.th resnet20.safetensors --dialect akamaster
         taper weights convert a.pth b.safetensors --rename 'blocks.{n}.*=layer{n}.*' --dtype f16
         taper weights convert b.safetensors a.safetensors --dialect timm --reverse

Dialects: repdistiller akamaster distiller torchvision timm lukemelas d-li14 norm-imagenet edm cud
guided-diffusion cud-imagenet wenet espnet; auto takes the one that knows every name")]
pub struct ConvertArgs {
    /// A checkpoint: a file or folder, OWNER/NAME[/FILE] of the hub, an address, or a file of
    /// `weights list`.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The safetensors file to write.
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// Rename by the key map of a family of published files, to the zoo's names; or `auto`.
    #[arg(long, value_name = "D")]
    dialect: Option<String>,
    /// Read the key map backwards: from the zoo's names to those of the published file.
    #[arg(long, requires = "dialect")]
    reverse: bool,
    /// Turn floating numbers into this type; integers and complex numbers stay.
    #[arg(long, value_name = "T", ignore_case = true)]
    dtype: Option<Precision>,
    /// Take this prefix off the names that have it; may be given several times.
    #[arg(long, value_name = "P")]
    strip: Vec<String>,
    /// Rename what matches the pattern FROM; wildcards go to the same ones in TO.
    #[arg(long, value_name = "FROM=TO", value_parser = pair)]
    rename: Vec<(String, String)>,
    /// Keep only tensors that match.
    #[arg(long, value_name = "G")]
    keep: Vec<String>,
    /// Leave out tensors that match.
    #[arg(long, value_name = "G")]
    drop: Vec<String>,
    /// Replace OUT if it is there.
    #[arg(long)]
    force: bool,
    /// Say what would be done, write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Where the file comes from, for the header [default: its name].
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,
    /// Its licence, for the header.
    #[arg(long, visible_alias = "license", value_name = "TEXT")]
    licence: Option<String>,
    #[command(flatten)]
    limits: LimitArgs,
}

/// Types that numbers can be turned into.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Precision {
    F32,
    F16,
    Bf16,
    F64,
}

impl Precision {
    fn element_type(self) -> ElementType {
        match self {
            Self::F32 => ElementType::F32,
            Self::F16 => ElementType::F16,
            Self::Bf16 => ElementType::BF16,
            Self::F64 => ElementType::F64,
        }
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (from, to) = text.split_once('=').ok_or("expected FROM=TO")?;
    match from {
        "" => Err("FROM is empty; expected FROM=TO".to_string()),
        _ => Ok((from.to_string(), to.to_string())),
    }
}

#[derive(Debug, Serialize)]
struct Answer {
    input: PathBuf,
    output: PathBuf,
    dry_run: bool,
    seconds: f64,
    #[serde(flatten)]
    report: ConvertReport,
}

pub fn execute(args: &ConvertArgs, output: &Output) -> anyhow::Result<Status> {
    let start = Instant::now();
    let dialect = match args.dialect.as_deref() {
        None => DialectChoice::None,
        Some("auto") => DialectChoice::Auto,
        Some(name) => DialectChoice::Named(Dialect::find(name)?),
    };
    let input = download::resolve(&args.input, output)?;
    // An address says more than the name of its file in the cache.
    let fetched = (input != args.input).then(|| args.input.display().to_string());
    let options = ConvertOptions {
        dtype: args.dtype.map(Precision::element_type),
        strip: args.strip.clone(),
        rename: args.rename.clone(),
        keep: args.keep.clone(),
        drop: args.drop.clone(),
        dialect,
        direction: match args.reverse {
            true => Direction::ToOriginal,
            false => Direction::ToZoo,
        },
        limits: args.limits.limits(),
        force: args.force,
        dry_run: args.dry_run,
        source: args.source.clone().or(fetched),
        licence: args.licence.clone(),
    };
    let mut bar = WriteBar::new(&args.output, output)?;
    let report = match convert(&input, &args.output, &options, &mut |done, total| {
        bar.tell(done, total)
    }) {
        Err(WeightsError::Stopped { .. }) if bar.interrupted() => {
            output.remark(&format!("{}: not written", args.output.display()));
            return Ok(Status::Interrupted);
        }
        report => report?,
    };
    for note in &report.notes {
        output.remark(note);
    }
    let answer = Answer {
        input,
        output: args.output.clone(),
        dry_run: args.dry_run,
        seconds: start.elapsed().as_secs_f64(),
        report,
    };
    output.answer(&answer, || match output.quiet {
        true => answer.output.display().to_string(),
        false => describe(&answer),
    })?;
    Ok(Status::Done)
}

/// Names of one kind that the report for people lists.
const LISTED: usize = 5;

fn describe(answer: &Answer) -> String {
    let report = &answer.report;
    let mut lines = vec![format!(
        "{} ({}) {} {}: {} tensors, {}",
        answer.input.display(),
        report.container,
        if answer.dry_run { "would go to" } else { "→" },
        answer.output.display(),
        report.tensors,
        megabytes(report.bytes)
    )];
    if let Some(wrapper) = &report.wrapper {
        lines.push(format!("  unwrapped   {wrapper}"));
    }
    let mut list = |what: &str, names: Vec<String>| {
        if names.is_empty() {
            return;
        }
        let more = names.len().saturating_sub(LISTED);
        let listed: Vec<String> = names.iter().take(LISTED).cloned().collect();
        let tail = match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        lines.push(format!(
            "  {what:<11} {}: {}{tail}",
            names.len(),
            listed.join(", ")
        ));
    };
    let renamed = report.renamed.iter();
    list(
        "renamed",
        renamed
            .map(|name| format!("{} → {}", name.from, name.to))
            .collect(),
    );
    let permuted = report.permuted.iter();
    list(
        "permuted",
        permuted
            .map(|tensor| format!("{} ({})", tensor.name, tensor.how))
            .collect(),
    );
    list("dropped", report.dropped.clone());
    list("unknown", report.unknown.clone());
    let overflowed = report.overflowed.iter();
    list(
        "overflowed",
        overflowed
            .map(|tensor| format!("{} ({} numbers became infinite)", tensor.name, tensor.count))
            .collect(),
    );
    if report.cast > 0 {
        lines.push(format!("  cast        {} tensors", report.cast));
    }
    for (name, digest) in &report.sha256 {
        lines.push(format!("  SHA-256     {digest} of {name}"));
    }
    lines.join("\n")
}

/// Opens a checkpoint wherever it is.
pub(super) fn open(
    spec: &std::path::Path,
    limits: &LimitArgs,
    output: &Output,
) -> anyhow::Result<TensorFile> {
    let path = download::resolve(spec, output)?;
    Ok(TensorFile::open(path, &limits.limits())?)
}
