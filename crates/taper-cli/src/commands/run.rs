//! `taper run MODEL --weights W --input IN --output OUT [--all]`.

use super::run_velocity::{self, Kind, Phi};
use crate::Status;
use crate::args::Global;
use crate::network;
use crate::output::Output;
use crate::run_input;
use anyhow::Context;
use candle_core::Tensor;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use taper::layers::Mode;
use taper::vision::Features;

/// Images a pass: bounds the memory, changes no result.
const CHUNK: usize = 64;

/// Runs a network on a tensor file, or on images.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: taper run resnet20 --weights w.safetensors --input in.safetensors --output out.safetensors --all
         taper run akamaster_resnet20 --weights resnet20-12fca82f.th --input cat.png --output out.safetensors")]
pub struct RunArgs {
    /// The model.
    pub(super) model: String,
    /// Its weights: a file, OWNER/NAME[/FILE] of the hub, an address, or a file of `weights list`.
    #[arg(long, value_name = "FILE")]
    pub(super) weights: PathBuf,
    /// A file with the tensor `input`, f32 `[batch, channels, height, width]`, already normalised
    /// (.safetensors, .npz, a lone array in .npy); or an image or a folder of images (PNG, JPEG, WebP),
    /// which are resized and normalised as the weights and the registry say. For velocity networks `x`,
    /// `t` `[batch]` and, where there are classes, `class` `[batch]`.
    #[arg(long, value_name = "FILE")]
    pub(super) input: PathBuf,
    /// The safetensors file to write: `logits` `[batch, classes]`, or `velocity` of the shape of `x`.
    #[arg(long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// Write `embedding` and `stages.0`, `stages.1`, … too, or the further heads `velocity.2`, `velocity.3`.
    #[arg(long)]
    pub(super) all: bool,
    /// Number of classes; the weights tell it, this only checks.
    #[arg(long, value_name = "K")]
    pub(super) classes: Option<usize>,
    /// Velocity networks: the denoiser at noise level `t` in the place of the raw network.
    #[arg(long, value_name = "KIND", num_args = 0..=1, require_equals = true, default_missing_value = "edm")]
    pub(super) preconditioned: Option<Kind>,
    /// Velocity networks: the skip balance, a number or `off` [default: as the file's metadata or the registry].
    #[arg(long, value_name = "PHI")]
    pub(super) phi: Option<Phi>,
}

#[derive(Debug, Serialize)]
struct Answer {
    model: &'static str,
    output: PathBuf,
    tensors: BTreeMap<String, Vec<usize>>,
    ignored: Vec<String>,
    /// What was done to the images.
    prepared: Vec<String>,
}

pub fn execute(args: &RunArgs, global: &Global, output: &Output) -> anyhow::Result<Status> {
    global.require_cpu("run")?;
    for (flag, path) in [("--input", &args.input), ("--weights", &args.weights)] {
        anyhow::ensure!(
            !same_file(path, &args.output),
            "--output {}: is the {flag} file; name another to write to",
            args.output.display()
        );
    }
    if let Ok(entry) = taper::velocity::registry::find(&args.model) {
        return run_velocity::execute(args, entry, output);
    }
    let entry = network::entry(&args.model)?;
    for (flag, given) in [
        ("--preconditioned", args.preconditioned.is_some()),
        ("--phi", args.phi.is_some()),
    ] {
        anyhow::ensure!(
            !given,
            "{flag}: {} is a classifier; leave it out",
            entry.name
        );
    }
    let loaded = network::load(entry, &args.weights, args.classes, output)?;
    let read = run_input::read(&args.input, entry, &loaded.normalisation)?;
    let input = read.images;
    let tensors = in_chunks(&input, args.all, |images| {
        loaded.model.forward(images, Mode::Eval)
    })
    .with_context(|| format!("{} on {:?}", entry.name, input.dims()))?;
    finish(
        args,
        entry.name,
        &tensors,
        loaded.report.ignored,
        read.prepared,
        output,
    )
}

/// Writes the tensors, and says what was done.
pub(super) fn finish(
    args: &RunArgs,
    model: &'static str,
    tensors: &BTreeMap<String, Tensor>,
    ignored: Vec<String>,
    prepared: Vec<String>,
    output: &Output,
) -> anyhow::Result<Status> {
    taper::weights::save(&args.output, tensors, &BTreeMap::new())
        .with_context(|| format!("--output {}", args.output.display()))?;
    let answer = Answer {
        model,
        output: args.output.clone(),
        tensors: tensors
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.dims().to_vec()))
            .collect(),
        ignored,
        prepared,
    };
    output.answer(&answer, || match output.quiet {
        true => answer.output.display().to_string(),
        false => describe(&answer),
    })?;
    Ok(Status::Done)
}

/// Whether two paths lead to one file, links followed; a path to nothing is no file.
fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn in_chunks(
    input: &Tensor,
    all: bool,
    forward: impl Fn(&Tensor) -> candle_core::Result<Features>,
) -> candle_core::Result<BTreeMap<String, Tensor>> {
    let batch = input.dim(0)?;
    let mut parts: BTreeMap<String, Vec<Tensor>> = BTreeMap::new();
    for start in (0..batch).step_by(CHUNK) {
        let images = input.narrow(0, start, CHUNK.min(batch - start))?;
        let features = forward(&images.contiguous()?)?;
        let mut push = |name: String, tensor| parts.entry(name).or_default().push(tensor);
        push("logits".into(), features.logits);
        if all {
            push("embedding".into(), features.embedding);
            for (index, stage) in features.stages.into_iter().enumerate() {
                push(format!("stages.{index}"), stage);
            }
        }
    }
    joined(&parts)
}

/// The passes one after the other along the batch.
pub(super) fn joined(
    parts: &BTreeMap<String, Vec<Tensor>>,
) -> candle_core::Result<BTreeMap<String, Tensor>> {
    let parts = parts.iter();
    parts
        .map(|(name, parts)| Ok((name.clone(), Tensor::cat(parts, 0)?)))
        .collect()
}

fn describe(answer: &Answer) -> String {
    let mut lines = vec![format!("{} → {}", answer.model, answer.output.display())];
    for (name, shape) in &answer.tensors {
        lines.push(format!("  {name:<12} {shape:?}"));
    }
    lines.extend(answer.prepared.iter().map(|what| format!("  {what}")));
    if !answer.ignored.is_empty() {
        lines.push(format!(
            "  not used by the network: {}",
            answer.ignored.join(", ")
        ));
    }
    lines.join("\n")
}
