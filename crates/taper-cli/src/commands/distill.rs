//! `taper distill`: the quick start, or anybody's pair.

use crate::Status;
use crate::args::Global;
use crate::comparison_report;
use crate::interrupt;
use crate::output::Output;
use crate::seeds::Seeds;
use crate::settings::Settings;
use crate::training;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use taper::data::DataSpec;
use taper::distill::{Comparison, DistillConfig, Method, Tap, compare};
use taper::train::RunDirectory;

/// Passes over the data for a pair of one's own when nothing else is said.
const EPOCHS: u64 = 30;

/// Teaches a small network from a larger one.
///
/// Without arguments: ResNet-20 teaches ResNet-8 the embedded digits; the student alone, with KD and
/// with NORM, over several seeds.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: taper distill --teacher resnet20 --student resnet8 --method kd,norm \
--data digits --epochs 2 --seeds 0..1"
)]
pub struct DistillArgs {
    /// The teacher.
    #[arg(long, value_name = "MODEL")]
    teacher: Option<String>,
    /// Its weights [default: it is trained first].
    #[arg(long, value_name = "FILE")]
    teacher_weights: Option<PathBuf>,
    /// Passes over the data of the teacher's own training [default: as the student].
    #[arg(long, value_name = "N", conflicts_with = "teacher_weights")]
    teacher_epochs: Option<u64>,
    /// Where the teacher's feature is read: last, f0, f1, …
    #[arg(long, value_name = "TAP")]
    tap: Option<Tap>,
    /// The student.
    #[arg(long, value_name = "MODEL")]
    student: Option<String>,
    /// ce, kd, norm, norm_kd, and controls: ce_standardised, transform_only, one_slice
    /// [default: ce,kd,norm].
    #[arg(long, value_name = "METHOD", value_delimiter = ',')]
    method: Vec<Method>,
    /// The data set: digits, or NAME:DIR with NAME cifar10, cifar100, mnist, fashion-mnist, folder.
    #[arg(long, value_name = "SPEC")]
    data: Option<DataSpec>,
    /// Passes over the training data.
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Images a step.
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Learning rate before the schedule.
    #[arg(long, value_name = "X")]
    lr: Option<f64>,
    /// Seeds of the students: 3, a list 0,4,7 or a range 0..4 (0, 1, 2, 3 and 4).
    #[arg(long, value_name = "SEEDS")]
    seeds: Option<Seeds>,
    /// N of NORM.
    #[arg(long, value_name = "N")]
    slices: Option<usize>,
    /// Settings in TOML; flags override them.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Any setting of config.toml, as `norm.feature_weight=0.5`.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// The run's directory [default: runs/DATE-distill-N].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the run in this directory; takes its settings.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["teacher", "teacher_weights", "teacher_epochs", "tap", "student", "method", "data", "epochs", "batch", "lr", "seeds", "slices", "recipe", "set", "out"])]
    resume: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Answer<'a> {
    event: &'static str,
    #[serde(flatten)]
    comparison: &'a Comparison,
    teacher: &'a str,
    student: &'a str,
    data: String,
    out: PathBuf,
    seconds: f64,
}

pub fn execute(args: DistillArgs, global: &Global, output: &Output) -> anyhow::Result<Status> {
    global.require_cpu("distill")?;
    let begun = std::time::Instant::now();
    let (config, run) = match &args.resume {
        Some(directory) => {
            let run = RunDirectory::open(directory)?;
            (run.config::<DistillConfig>()?, run)
        }
        None => {
            let config = configure(&args, global)?;
            config.validate()?;
            let directory = training::directory(args.out.as_deref(), "distill");
            (config.clone(), RunDirectory::create(directory, &config)?)
        }
    };
    let stop = interrupt::flag()?;
    let mut progress = training::progress(output);
    let comparison = compare(&config, &run, &mut progress, &stop)?;
    progress.clear();
    let Some(comparison) = comparison else {
        return Ok(training::interrupted("distill", &run, output));
    };
    let text = comparison_report::write(&config, &comparison, &run)?;
    let answer = Answer {
        event: "result",
        comparison: &comparison,
        teacher: &config.teacher.model,
        student: &config.student,
        data: config.data.to_string(),
        out: run.path().to_path_buf(),
        seconds: begun.elapsed().as_secs_f64(),
    };
    output.answer(&answer, || match output.quiet {
        true => run.path().display().to_string(),
        false => format!("{text}\n{:.0} s, {}", answer.seconds, run.path().display()),
    })?;
    Ok(Status::Done)
}

fn configure(args: &DistillArgs, global: &Global) -> anyhow::Result<DistillConfig> {
    let quick = DistillConfig::quick_start();
    let own_pair = args.teacher.is_some()
        || args.student.is_some()
        || args.data.is_some()
        || args.recipe.is_some();
    let base = if own_pair {
        DistillConfig::pair(
            args.teacher.as_deref().unwrap_or(&quick.teacher.model),
            args.student.as_deref().unwrap_or(&quick.student),
            args.data.clone().unwrap_or(quick.data),
            args.epochs.unwrap_or(EPOCHS),
        )
    } else {
        quick
    };
    let mut settings = Settings::new(&base)?;
    if let Some(recipe) = &args.recipe {
        settings.recipe(recipe)?;
    }
    settings.set("teacher.model", args.teacher.as_deref())?;
    settings.set("teacher.weights", args.teacher_weights.as_deref())?;
    settings.set("teacher.tap", args.tap)?;
    settings.set("student", args.student.as_deref())?;
    settings.set("data", args.data.as_ref())?;
    settings.set("batch", args.batch)?;
    settings.set("norm.slices", args.slices)?;
    settings.set("training.epochs", args.epochs)?;
    settings.set("training.optimizer.learning_rate", args.lr)?;
    if !args.method.is_empty() {
        settings.set("methods", Some(&args.method))?;
    }
    if let Some(seed) = global.seed {
        settings.set("teacher.seed", Some(seed))?;
        let seeds: Vec<u64> = base.seeds.iter().map(|&index| seed + index).collect();
        settings.set("seeds", Some(seeds))?;
    }
    settings.set("seeds", args.seeds.as_ref().map(|seeds| &seeds.0))?;
    for assignment in &args.set {
        settings.assign(assignment)?;
    }
    let mut config: DistillConfig = settings.finish()?;
    // `--epochs` speaks of every training, unless the teacher has a number of its own.
    let teacher_epochs = args.teacher_epochs.or(args.epochs);
    if let Some(epochs) = teacher_epochs {
        let training = config.training.clone();
        config.teacher.training.get_or_insert(training).epochs = epochs;
    }
    Ok(config)
}
