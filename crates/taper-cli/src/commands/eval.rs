//! `taper eval MODEL --weights F --data SPEC`.

use crate::Status;
use crate::args::Global;
use crate::network;
use crate::output::Output;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use taper::data::{DataSpec, Normalisation};
use taper::distill::{ClassifierData, score};

/// Scores a network on the test part of a data set.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: taper eval resnet8 --weights runs/a/model.safetensors --data digits"
)]
pub struct EvalArgs {
    /// The model.
    model: String,
    /// Its weights: a file, OWNER/NAME[/FILE] of the hub, an address, or a file of `weights list`.
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// The data set: digits, or NAME:DIR with NAME cifar10, cifar100, mnist, fashion-mnist, folder.
    #[arg(long, value_name = "SPEC")]
    data: DataSpec,
    /// Number of classes; the weights tell it, this only checks.
    #[arg(long, value_name = "K")]
    classes: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Answer {
    model: &'static str,
    data: String,
    count: usize,
    top1: f64,
    top5: f64,
    loss: f64,
}

pub fn execute(args: &EvalArgs, global: &Global, output: &Output) -> anyhow::Result<Status> {
    global.require_cpu("eval")?;
    let entry = network::entry(&args.model)?;
    let loaded = network::load(entry, &args.weights, args.classes, output)?;
    let normalisation = Normalisation {
        mean: loaded.normalisation.mean.clone(),
        std: loaded.normalisation.std.clone(),
    };
    let data = ClassifierData::open_test(&args.data, entry.input, Some(normalisation))?;
    anyhow::ensure!(
        data.classes() == loaded.config.classes(),
        "{}: {} classes, {} has {}",
        args.weights.display(),
        loaded.config.classes(),
        args.data,
        data.classes()
    );
    let scores = score(&data, &loaded)?;
    let answer = Answer {
        model: entry.name,
        data: args.data.to_string(),
        count: scores.count,
        top1: scores.top1,
        top5: scores.top5,
        loss: scores.loss,
    };
    output.answer(&answer, || {
        format!(
            "{} on {} ({} images): top-1 {:.2} %, top-5 {:.2} %, loss {:.4}",
            answer.model, answer.data, answer.count, answer.top1, answer.top5, answer.loss
        )
    })?;
    Ok(Status::Done)
}
