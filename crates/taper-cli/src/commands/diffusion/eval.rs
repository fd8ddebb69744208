//! `taper diffusion eval RUN`: distances between samples and data.

use super::{SamplingArgs, open};
use crate::Status;
use crate::args::Global;
use crate::output::Output;
use anyhow::Context;
use candle_core::Tensor;
use clap::Args;
use comfy_table::{Table, presets};
use serde::Serialize;
use std::path::PathBuf;
use taper::data::Part;
use taper::diffusion::measures::{
    Gaussian, frechet_distance, kernel_distance, precision_recall, reference_statistics,
};
use taper::diffusion::samplers::SamplerConfig;
use taper::diffusion::{
    Data, DiffusionError, Generation, ImageFeatures, SavedNetwork, Source, Toy, generate,
    point_scores,
};

/// Neighbours of precision and recall, as in their paper.
const NEIGHBOURS: usize = 3;
/// Images a pass.
const BATCH: usize = 128;

/// Measures samples.
///
/// Points: the exact Wasserstein distance, energy distance and straightness. Images: Fréchet and kernel
/// distance, precision and recall over the embedding of a classifier of the zoo.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: taper diffusion eval runs/my-run --classifier resnet8 --classifier-weights resnet8.safetensors"
)]
pub struct EvalArgs {
    /// A run of `taper diffusion train`, or a file of weights that it wrote.
    from: PathBuf,
    /// The data to compare with [default: those of the run].
    #[arg(long, value_name = "SPEC")]
    data: Option<Source>,
    /// Samples drawn [default: 2,000 points, or as many images as the data's part has, up to 10,000].
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// Another run, measured beside it with the same noise.
    #[arg(long, value_name = "RUN")]
    compare: Option<PathBuf>,
    /// The classifier whose embedding measures images.
    #[arg(long, value_name = "MODEL", requires = "classifier_weights")]
    classifier: Option<String>,
    /// Its weights.
    #[arg(long, value_name = "FILE", requires = "classifier")]
    classifier_weights: Option<PathBuf>,
    /// Compare with the training images instead of the test images.
    #[arg(long)]
    training_part: bool,
    /// Statistics of the data's features: a file with `mu` and `sigma` [default: measured on the data].
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    #[command(flatten)]
    sampling: SamplingArgs,
}

#[derive(Debug, Serialize)]
struct Answer {
    data: String,
    samples: usize,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    from: PathBuf,
    steps: String,
    head: usize,
    evaluations: usize,
    #[serde(flatten)]
    scores: Scores,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Scores {
    Points {
        w2: f64,
        energy: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        straightness: Option<f64>,
    },
    Images {
        frechet: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        kid: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        precision: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        recall: Option<f64>,
    },
}

pub fn execute(args: &EvalArgs, global: &Global, output: &Output) -> anyhow::Result<Status> {
    let mut networks = vec![open("", &args.from)?];
    if let Some(path) = &args.compare {
        networks.push(open("--compare ", path)?);
    }
    let data = args
        .data
        .clone()
        .unwrap_or_else(|| networks[0].origin.data.clone());
    let seed = global.seed.unwrap_or(0);
    let (samples, rows) = match &data {
        Source::Toy(toy) => points(&networks, args, *toy, seed)?,
        Source::Images(_) => images(&networks, args, &data, seed, output)?,
    };
    let answer = Answer {
        data: data.to_string(),
        samples,
        rows,
    };
    output.answer(&answer, || table(&answer))?;
    Ok(Status::Done)
}

fn points(
    networks: &[SavedNetwork],
    args: &EvalArgs,
    toy: Toy,
    seed: u64,
) -> anyhow::Result<(usize, Vec<Row>)> {
    let count = args.samples.unwrap_or(2_000);
    anyhow::ensure!(count > 0, "--samples 0: expected at least 1");
    let mut rows = Vec::new();
    for network in networks {
        let (path, shape) = (network.path.display(), &network.origin.shape);
        anyhow::ensure!(
            shape[..] == [2],
            "{path}: its samples are {shape:?}, not points"
        );
        let heads = network.network.heads();
        anyhow::ensure!(
            (1..=heads).contains(&args.sampling.head),
            "--head {}: {path} has {heads}",
            args.sampling.head
        );
        for (steps, sampler) in args.sampling.samplers()? {
            let head = args.sampling.head;
            let scores = point_scores(&*network.network, toy, head, &sampler, count, seed)?;
            rows.push(Row {
                from: network.path.clone(),
                steps,
                head,
                evaluations: scores.evaluations,
                scores: Scores::Points {
                    w2: scores.w2,
                    energy: scores.energy,
                    straightness: scores.straightness,
                },
            });
        }
    }
    Ok((count, rows))
}

/// What samples of images are compared with.
struct Against {
    features: ImageFeatures,
    /// Embeddings of the data, unless only statistics are given.
    data: Option<Tensor>,
    gaussian: Gaussian,
}

fn images(
    networks: &[SavedNetwork],
    args: &EvalArgs,
    source: &Source,
    seed: u64,
    output: &Output,
) -> anyhow::Result<(usize, Vec<Row>)> {
    let (Some(model), Some(weights)) = (&args.classifier, &args.classifier_weights) else {
        anyhow::bail!(
            "--classifier: missing; images are measured by the embedding of a classifier: \
             give --classifier MODEL --classifier-weights FILE"
        );
    };
    let features = ImageFeatures::load(model, weights)
        .with_context(|| format!("--classifier-weights {}", weights.display()))?;
    let part = match args.training_part {
        true => Part::Train,
        false => Part::Test,
    };
    let data = Data::open(source)?;
    let loader = data.images(part, BATCH)?;
    let count = args
        .samples
        .unwrap_or(loader.images_per_epoch().min(10_000));
    anyhow::ensure!(count > 1, "--samples {count}: expected at least 2");
    let (data, gaussian) = match &args.reference {
        Some(path) => (None, reference_statistics(path)?),
        None => {
            output.remark(&format!("features of {} images", loader.images_per_epoch()));
            let batches = loader.epoch(0, 0);
            let batches = batches.map(|batch| Ok(batch.map_err(DiffusionError::from)?.images));
            let (embeddings, moments) = features.survey(batches)?;
            (Some(embeddings), moments.gaussian()?)
        }
    };
    let against = Against {
        features,
        data,
        gaussian,
    };
    let mut rows = Vec::new();
    for network in networks {
        for (steps, sampler) in args.sampling.samplers()? {
            output.remark(&format!("{}: {steps} steps", network.path.display()));
            rows.push(image_row(
                network, args, &against, steps, &sampler, count, seed,
            )?);
        }
    }
    Ok((count, rows))
}

fn image_row(
    network: &SavedNetwork,
    args: &EvalArgs,
    against: &Against,
    steps: String,
    sampler: &SamplerConfig,
    count: usize,
    seed: u64,
) -> anyhow::Result<Row> {
    let mut evaluations = 0;
    let size = args.sampling.batch.max(1);
    let starts = (0..count).step_by(size);
    let batches = starts.map(|start| {
        let generation = Generation {
            count: size.min(count - start),
            seed,
            first: start as u64,
            class: args.sampling.class,
            head: args.sampling.head,
            batch: size,
            sampler: sampler.clone(),
        };
        let drawn = generate(&*network.network, &network.origin.shape, &generation)?;
        evaluations = evaluations.max(drawn.evaluations);
        Ok(drawn.x)
    });
    let (embeddings, moments) = against.features.survey(batches)?;
    let (kid, both) = match &against.data {
        Some(data) => (
            Some(kernel_distance(data, &embeddings, seed)?.mean),
            Some(precision_recall(data, &embeddings, NEIGHBOURS)?),
        ),
        None => (None, None),
    };
    Ok(Row {
        from: network.path.clone(),
        steps,
        head: args.sampling.head,
        evaluations,
        scores: Scores::Images {
            frechet: frechet_distance(&against.gaussian, &moments.gaussian()?)?,
            kid,
            precision: both.map(|both| both.precision),
            recall: both.map(|both| both.recall),
        },
    })
}

fn table(answer: &Answer) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    let points = answer
        .rows
        .iter()
        .any(|row| matches!(row.scores, Scores::Points { .. }));
    table.set_header(match points {
        true => vec!["", "steps", "forwards", "W2", "energy", "straightness"],
        false => vec![
            "",
            "steps",
            "forwards",
            "Fréchet",
            "KID",
            "precision",
            "recall",
        ],
    });
    let optional =
        |value: Option<f64>| value.map_or("–".to_string(), |value| format!("{value:.4}"));
    for row in &answer.rows {
        let mut cells = vec![
            row.from.display().to_string(),
            row.steps.clone(),
            row.evaluations.to_string(),
        ];
        cells.extend(match &row.scores {
            Scores::Points {
                w2,
                energy,
                straightness,
            } => [Some(*w2), Some(*energy), *straightness]
                .map(optional)
                .to_vec(),
            Scores::Images {
                frechet,
                kid,
                precision,
                recall,
            } => {
                let shares = [kid, precision, recall].map(|value| optional(*value));
                std::iter::once(format!("{frechet:.3}"))
                    .chain(shares)
                    .collect::<Vec<_>>()
            }
        });
        table.add_row(cells);
    }
    format!(
        "{} samples against {}\n{table}",
        answer.samples, answer.data
    )
}
