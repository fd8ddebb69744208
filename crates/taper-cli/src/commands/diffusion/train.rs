//! `taper diffusion train --data SPEC --method METHOD`.

use crate::Status;
use crate::args::Global;
use crate::interrupt;
use crate::output::Output;
use crate::settings::Settings;
use crate::training;
use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use taper::diffusion::objectives::catch_up::{Stages, Weighting};
use taper::diffusion::objectives::coupling::{CouplingConfig, PRIOR_WEIGHT};
use taper::diffusion::{
    AdditionalConfig, DiffusionConfig, Method, Source, adam_training, check_settings,
    train_diffusion,
};
use taper::train::RunDirectory;
use taper::velocity::{MlpConfig, VelocityConfig};

/// Pairs of noise and estimate that `--additional` draws for each stage.
const ADDITIONAL_PAIRS: usize = 10_000;

/// Which coefficients orders 2 and 3 use.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum StageRule {
    /// As published.
    Paper,
    /// The highest order on the same nodes.
    Corrected,
}

/// Trains a velocity network.
///
/// Without further flags the settings are such that two cores need minutes: a perceptron for points,
/// a small U-Net for images. --published takes the networks and settings of the paper's code.
#[derive(Debug, Args)]
#[command(after_help = "Example: taper diffusion train --data digits --method cud --epochs 2")]
pub struct TrainArgs {
    /// checkerboard, moons, gaussians, digits, or NAME:DIR with NAME cifar10, mnist, fashion-mnist, …
    #[arg(long, value_name = "SPEC", required_unless_present_any = ["resume", "recipe"])]
    data: Option<Source>,
    /// flow, cud, consistency, progressive [default: cud].
    #[arg(long, value_name = "METHOD")]
    method: Option<Method>,
    /// Order of Catch-Up Distillation: 1, 2 or 3 (RK12, RK23, RK34).
    #[arg(long, value_name = "N")]
    order: Option<usize>,
    /// Coefficients of orders 2 and 3.
    #[arg(long, value_name = "RULE")]
    stage_rule: Option<StageRule>,
    /// Weigh the catch-up term so that Euler with N steps is served best.
    #[arg(long, value_name = "N")]
    for_steps: Option<usize>,
    /// Learn which noise belongs to which data.
    #[arg(long)]
    coupling: bool,
    /// The network, by its name in the zoo.
    #[arg(long, value_name = "MODEL")]
    network: Option<String>,
    /// A run or file of weights to distil from [default: a teacher is trained first].
    #[arg(long, value_name = "PATH")]
    teacher_weights: Option<PathBuf>,
    /// After the main training, N epochs over 10,000 pairs for each of three stages to one step.
    #[arg(long, value_name = "N")]
    additional: Option<u64>,
    /// The networks and settings of the paper's code, for MNIST and CIFAR-10.
    #[arg(long)]
    published: bool,
    /// Passes over the training data; points have epochs of 500 steps.
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Samples a step.
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Learning rate after the warm-up.
    #[arg(long, value_name = "X")]
    lr: Option<f64>,
    /// Decay of the moving average of the parameters.
    #[arg(long, value_name = "X")]
    ema: Option<f64>,
    /// Write a checkpoint every N steps besides the one after each epoch.
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<u64>,
    /// Settings in TOML; flags override them.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Any setting of config.toml, as `catch_up.reciprocal=8`.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// The run's directory [default: runs/DATE-diffusion-N].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the run in this directory; takes its settings.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["data", "method", "order", "stage_rule", "for_steps", "coupling", "network", "teacher_weights", "additional", "published", "epochs", "batch", "lr", "ema", "recipe", "set", "out"])]
    resume: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    event: &'static str,
    data: String,
    method: &'static str,
    loss: f64,
    metrics: &'a BTreeMap<String, Option<f64>>,
    /// Steps for which Euler's rule is served best, a head each.
    best_steps: Vec<f64>,
    out: PathBuf,
    seconds: f64,
}

pub fn execute(args: TrainArgs, global: &Global, output: &Output) -> anyhow::Result<Status> {
    let (config, run) = match &args.resume {
        Some(directory) => {
            let run = RunDirectory::open(directory)?;
            (run.config::<DiffusionConfig>()?, run)
        }
        None => {
            let config = configure(&args, global)?;
            check_settings(&config)?;
            let directory = training::directory(args.out.as_deref(), "diffusion");
            (config.clone(), RunDirectory::create(directory, &config)?)
        }
    };
    let stop = interrupt::flag()?;
    let mut progress = training::progress(output);
    let trained = train_diffusion(&config, &run, &mut progress, &stop)?;
    progress.clear();
    let Some(trained) = trained else {
        return Ok(training::interrupted("diffusion train", &run, output));
    };
    let heads = 1..=config.trained_network().heads();
    let ahead = heads.filter_map(|head| config.catch_up.look_ahead(head));
    // Without a catch-up term or without the true velocity no number of steps is served best.
    let ahead = ahead.filter(|look_ahead| look_ahead.is_finite() && *look_ahead > 0.0);
    let answer = Answer {
        event: "result",
        data: config.data.to_string(),
        method: config.method.name(),
        loss: trained.loss,
        metrics: &trained.metrics,
        best_steps: match config.method {
            Method::Cud => ahead.map(|look_ahead| 0.5 / look_ahead).collect(),
            _ => Vec::new(),
        },
        out: run.path().to_path_buf(),
        seconds: trained.seconds,
    };
    output.answer(&answer, || match output.quiet {
        true => answer.out.display().to_string(),
        false => describe(&answer),
    })?;
    Ok(Status::Done)
}

fn describe(answer: &Answer<'_>) -> String {
    let mut text = format!(
        "{} on {}: loss {:.4}",
        answer.method, answer.data, answer.loss
    );
    for (name, value) in answer.metrics {
        if let Some(value) = value {
            text += &format!(", {name} {value:.4}");
        }
    }
    if let [first, ..] = answer.best_steps[..] {
        text += &format!("\nthe weights suit about {first:.0} Euler steps");
    }
    text + &format!("\n{:.0} s, {}", answer.seconds, answer.out.display())
}

fn configure(args: &TrainArgs, global: &Global) -> anyhow::Result<DiffusionConfig> {
    let method = args.method.unwrap_or(Method::Cud);
    // A recipe that is a whole config.toml replaces all of this.
    let data = match &args.data {
        Some(data) => data.clone(),
        None => recipe_data(args)?,
    };
    let base = match args.published {
        true => DiffusionConfig::published(data.clone(), method).with_context(|| {
            format!(
                "--published: {data} has no published recipe; mnist, fashion-mnist and cifar10 have"
            )
        })?,
        false => DiffusionConfig::small(data.clone(), method),
    };
    let mut settings = Settings::new(&base)?;
    if let Some(recipe) = &args.recipe {
        settings.recipe(recipe)?;
    }
    settings.set("data", args.data.as_ref())?;
    settings.set("method", args.method)?;
    settings.set("seed", global.seed)?;
    settings.set("batch", args.batch)?;
    settings.set("catch_up.order", args.order)?;
    let stages = args.stage_rule.map(|rule| match rule {
        StageRule::Paper => Stages::Paper,
        StageRule::Corrected => Stages::Corrected,
    });
    settings.set("catch_up.stage_rule", stages)?;
    let weighting = args.for_steps.map(|steps| Weighting::ForSteps { steps });
    settings.set("catch_up.weighting", weighting)?;
    if let Some(name) = &args.network {
        let entry = taper::velocity::registry::find(name).context("--network")?;
        settings.set("network", Some((entry.config)()))?;
    }
    settings.set("teacher.weights", args.teacher_weights.as_deref())?;
    settings.set("training.epochs", args.epochs)?;
    settings.set("training.optimizer.learning_rate", args.lr)?;
    settings.set("training.ema", args.ema)?;
    settings.set("training.checkpoint_every_steps", args.checkpoint_every)?;
    if args.coupling {
        settings.set("coupling", Some(coupling(&base, args)?))?;
    }
    if let Some(epochs) = args.additional {
        settings.set("additional", Some(additional(epochs)))?;
    }
    for assignment in &args.set {
        settings.assign(assignment)?;
    }
    settings.finish()
}

/// The data that a recipe names.
fn recipe_data(args: &TrainArgs) -> anyhow::Result<Source> {
    let path = args.recipe.as_deref().context("--data: missing")?;
    let text =
        std::fs::read_to_string(path).with_context(|| format!("--recipe {}", path.display()))?;
    let table: toml::Table = text
        .parse()
        .with_context(|| format!("--recipe {}", path.display()))?;
    let data = table.get("data").and_then(toml::Value::as_str);
    let data =
        data.with_context(|| format!("--recipe {}: no data; give --data", path.display()))?;
    data.parse().map_err(anyhow::Error::msg)
}

/// An encoder of the network's kind with twice its outputs.
fn coupling(base: &DiffusionConfig, args: &TrainArgs) -> anyhow::Result<CouplingConfig> {
    let network = match &args.network {
        Some(name) => (taper::velocity::registry::find(name)
            .context("--network")?
            .config)(),
        None => base.network.clone(),
    };
    let encoder = match network {
        VelocityConfig::Mlp(_) => VelocityConfig::Mlp(MlpConfig::coupling_2d()),
        VelocityConfig::SongUnet(mut config) => {
            config.outputs = 2 * config.inputs;
            // The published encoders are narrow and have no balance of skips.
            config.width = config.width.min(32);
            config.blocks = config.blocks.min(2);
            config.phi = None;
            config.classes = None;
            VelocityConfig::SongUnet(config)
        }
        _ => anyhow::bail!("--coupling: set coupling.encoder in a recipe for this network"),
    };
    Ok(CouplingConfig {
        weight: PRIOR_WEIGHT,
        encoder,
    })
}

/// Fewer pairs and steps than published, for two cores; the rate is that of MNIST's recipe.
fn additional(epochs: u64) -> AdditionalConfig {
    AdditionalConfig::published(ADDITIONAL_PAIRS, adam_training(epochs, 3e-4, 0.0, 0.999))
}
