//! `taper diffusion sample RUN --out FILE`.

use super::{SamplingArgs, open};
use crate::Status;
use crate::args::Global;
use crate::output::Output;
use anyhow::Context;
use candle_core::Tensor;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use taper::diffusion::pictures::{Canvas, image_rows, png, point_panels, sample_image};
use taper::diffusion::{Generation, SavedNetwork, Source, generate};

/// Draws samples.
#[derive(Debug, Args)]
#[command(after_help = "Example: taper diffusion sample runs/my-run --count 8 --out samples.png")]
pub struct SampleArgs {
    /// A run of `taper diffusion train`, or a file of weights that it wrote.
    from: PathBuf,
    /// `.png`: one picture, a row for each number of steps; `.safetensors`: the tensors; else a folder of images.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Samples a row.
    #[arg(long, value_name = "N", default_value_t = 8)]
    count: usize,
    /// Index of the first; sample I of a seed is the same in any call.
    #[arg(long, value_name = "I", default_value_t = 0)]
    first: u64,
    /// Another run whose samples of the same noise stand below.
    #[arg(long, value_name = "RUN")]
    compare: Option<PathBuf>,
    #[command(flatten)]
    sampling: SamplingArgs,
}

#[derive(Debug, Serialize)]
struct Answer {
    out: PathBuf,
    shape: Vec<usize>,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    from: PathBuf,
    label: String,
    evaluations: usize,
    #[serde(skip)]
    samples: Tensor,
}

pub fn execute(args: &SampleArgs, global: &Global, output: &Output) -> anyhow::Result<Status> {
    let network = open("", &args.from)?;
    let other = args
        .compare
        .as_deref()
        .map(|path| open("--compare ", path))
        .transpose()?;
    if let Some(other) = &other {
        anyhow::ensure!(
            other.origin.shape == network.origin.shape,
            "--compare {}: its samples are {:?}, those of {} {:?}; expected the same shape",
            other.path.display(),
            other.origin.shape,
            network.path.display(),
            network.origin.shape
        );
    }
    let mut rows = draw(&network, args, global)?;
    if let Some(other) = &other {
        rows.extend(draw(other, args, global)?);
    }
    match args
        .out
        .extension()
        .and_then(|extension| extension.to_str())
    {
        Some("png") => picture(&network, &rows, &args.out)?,
        Some("safetensors") => tensors(&rows, &args.out)?,
        _ => images(&rows, &args.out)?,
    }
    let answer = Answer {
        out: args.out.clone(),
        shape: network.origin.shape.clone(),
        rows,
    };
    output.answer(&answer, || match output.quiet {
        true => answer.out.display().to_string(),
        false => describe(&answer),
    })?;
    Ok(Status::Done)
}

fn draw(network: &SavedNetwork, args: &SampleArgs, global: &Global) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (label, sampler) in args.sampling.samplers()? {
        let generation = Generation {
            count: args.count,
            seed: global.seed.unwrap_or(0),
            first: args.first,
            class: args.sampling.class,
            head: args.sampling.head,
            batch: args.sampling.batch,
            sampler,
        };
        let drawn = generate(&*network.network, &network.origin.shape, &generation)
            .map_err(|error| anyhow::anyhow!("{}: {error}", network.path.display()))?;
        rows.push(Row {
            from: network.path.clone(),
            label,
            evaluations: drawn.evaluations,
            samples: drawn.x,
        });
    }
    Ok(rows)
}

fn write(path: &Path, canvas: &Canvas) -> anyhow::Result<()> {
    taper::train::write_atomically(path, &[&png(canvas)?])
        .with_context(|| format!("--out {}", path.display()))
}

fn picture(network: &SavedNetwork, rows: &[Row], path: &Path) -> anyhow::Result<()> {
    let labelled: Vec<_> = rows
        .iter()
        .map(|row| (row.label.clone(), row.samples.clone()))
        .collect();
    let canvas = match &network.origin.data {
        Source::Toy(toy) => point_panels(&labelled, toy.extent())?,
        Source::Images(_) => image_rows(&labelled)?,
    };
    write(path, &canvas)
}

/// `samples` where there is one row, else `samples.0`, `samples.1`, … in the order of the rows.
fn tensors(rows: &[Row], path: &Path) -> anyhow::Result<()> {
    let name = |index: usize| match rows.len() {
        1 => "samples".to_string(),
        _ => format!("samples.{index}"),
    };
    let named = rows.iter().enumerate();
    let named: BTreeMap<_, _> = named
        .map(|(i, row)| (name(i), row.samples.clone()))
        .collect();
    taper::weights::save(path, &named, &BTreeMap::new())
        .with_context(|| format!("--out {}", path.display()))
}

/// `ROW-LABEL/000000.png`, … in a folder; a single row has no folder of its own.
fn images(rows: &[Row], path: &Path) -> anyhow::Result<()> {
    for (index, row) in rows.iter().enumerate() {
        let folder = match rows.len() {
            1 => path.to_path_buf(),
            _ => path.join(format!("{index}-{}", row.label)),
        };
        std::fs::create_dir_all(&folder).with_context(|| format!("--out {}", folder.display()))?;
        for sample in 0..row.samples.dim(0)? {
            let canvas = sample_image(&row.samples.get(sample)?)?;
            write(&folder.join(format!("{sample:06}.png")), &canvas)?;
        }
    }
    Ok(())
}

fn describe(answer: &Answer) -> String {
    let mut lines = Vec::new();
    for row in &answer.rows {
        lines.push(format!(
            "{}: {} steps, {} evaluations a sample",
            row.from.display(),
            row.label,
            row.evaluations
        ));
    }
    lines.push(answer.out.display().to_string());
    lines.join("\n")
}
