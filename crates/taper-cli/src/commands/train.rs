//! `taper train MODEL --data SPEC --epochs N --batch N --lr X`.

use crate::Status;
use crate::args::Global;
use crate::interrupt;
use crate::output::Output;
use crate::settings::Settings;
use crate::training;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use taper::data::DataSpec;
use taper::distill::{ClassifierConfig, Scores, train_classifier};
use taper::train::RunDirectory;

/// Passes over the data when nothing else is said.
const EPOCHS: u64 = 30;

/// Trains a classifier on labels alone.
#[derive(Debug, Args)]
#[command(after_help = "Example: taper train resnet8 --data digits --epochs 2")]
pub struct TrainArgs {
    /// The model.
    #[arg(required_unless_present_any = ["resume", "recipe"])]
    model: Option<String>,
    /// The data set: digits, or NAME:DIR with NAME cifar10, cifar100, mnist, fashion-mnist, folder.
    #[arg(long, value_name = "SPEC")]
    data: Option<DataSpec>,
    /// Passes over the training data [default: 30].
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Images a step [default: 64].
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Learning rate before the schedule [default: 0.05].
    #[arg(long, value_name = "X")]
    lr: Option<f64>,
    /// ε of label smoothing.
    #[arg(long, value_name = "X")]
    label_smoothing: Option<f64>,
    /// Decay of the moving average of the parameters.
    #[arg(long, value_name = "X")]
    ema: Option<f64>,
    /// Write a checkpoint every N steps besides the one after each epoch.
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<u64>,
    /// Settings in TOML; flags override them.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Any setting of config.toml, as `training.clip_norm=1.0`.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// The run's directory [default: runs/DATE-train-N].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the run in this directory; takes its settings.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "data", "epochs", "batch", "lr", "recipe", "set", "out"])]
    resume: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    event: &'static str,
    model: &'a str,
    data: String,
    #[serde(flatten)]
    scores: Scores,
    out: PathBuf,
}

pub fn execute(args: TrainArgs, global: &Global, output: &Output) -> anyhow::Result<Status> {
    global.require_cpu("train")?;
    let (config, run) = match &args.resume {
        Some(directory) => {
            let run = RunDirectory::open(directory)?;
            (run.config::<ClassifierConfig>()?, run)
        }
        None => {
            let config = configure(&args, global)?;
            config.training.validate()?;
            taper::vision::registry::find(&config.model)?;
            let directory = training::directory(args.out.as_deref(), "train");
            (config.clone(), RunDirectory::create(directory, &config)?)
        }
    };
    let stop = interrupt::flag()?;
    let mut progress = training::progress(output);
    let scores = train_classifier(&config, &run, &mut progress, &stop)?;
    progress.clear();
    let Some(scores) = scores else {
        return Ok(training::interrupted("train", &run, output));
    };
    let answer = Answer {
        event: "result",
        model: &config.model,
        data: config.data.to_string(),
        scores,
        out: run.path().to_path_buf(),
    };
    output.answer(&answer, || match output.quiet {
        true => answer.out.display().to_string(),
        false => format!(
            "{} on {}: top-1 {:.2} %, top-5 {:.2} %, loss {:.4} on {} test images\n{}",
            answer.model,
            answer.data,
            scores.top1,
            scores.top5,
            scores.loss,
            scores.count,
            answer.out.display()
        ),
    })?;
    Ok(Status::Done)
}

fn configure(args: &TrainArgs, global: &Global) -> anyhow::Result<ClassifierConfig> {
    let digits = "digits".parse()?;
    let model = args.model.as_deref().unwrap_or_default();
    let mut settings = Settings::new(&ClassifierConfig::new(model, digits, EPOCHS))?;
    if let Some(recipe) = &args.recipe {
        settings.recipe(recipe)?;
    }
    settings.set("model", args.model.as_deref())?;
    settings.set("data", args.data.as_ref())?;
    settings.set("seed", global.seed)?;
    settings.set("batch", args.batch)?;
    settings.set("label_smoothing", args.label_smoothing)?;
    settings.set("training.epochs", args.epochs)?;
    settings.set("training.optimizer.learning_rate", args.lr)?;
    settings.set("training.ema", args.ema)?;
    settings.set("training.checkpoint_every_steps", args.checkpoint_every)?;
    for assignment in &args.set {
        settings.assign(assignment)?;
    }
    settings.finish()
}
