//! `taper models info NAME`.

use super::list::{ModelRow, times};
use super::velocity;
use crate::Status;
use crate::network;
use crate::output::{Output, grouped};
use clap::Args;
use serde::Serialize;
use taper::layers::{Role, TensorInfo};
use taper::vision::ModelEntry;

/// Describes one model.
#[derive(Debug, Args)]
#[command(after_help = "Example: taper models info resnet20 --classes 10")]
pub struct InfoArgs {
    /// The model.
    name: String,
    /// Number of classes [default: the original's].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    classes: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Answer {
    #[serde(flatten)]
    model: ModelRow,
    family: &'static str,
    tensor_list: Vec<Tensor>,
    stages: Vec<Stage>,
    normalisation: Normalisation,
    weights: Vec<Weights>,
}

#[derive(Debug, Serialize)]
pub struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<usize>,
}

impl From<TensorInfo> for Tensor {
    fn from(info: TensorInfo) -> Self {
        Self {
            name: info.name,
            dtype: info.dtype.as_str().to_string(),
            shape: info.shape,
        }
    }
}

/// A line a tensor.
pub fn tensor_lines(tensors: &[Tensor]) -> impl Iterator<Item = String> {
    tensors
        .iter()
        .map(|tensor| format!("{:<44} {:<4} {:?}", tensor.name, tensor.dtype, tensor.shape))
}

#[derive(Debug, Serialize)]
struct Stage {
    channels: usize,
    stride: usize,
}

#[derive(Debug, Serialize)]
struct Normalisation {
    mean: [f32; 3],
    std: [f32; 3],
}

#[derive(Debug, Serialize)]
struct Weights {
    file: &'static str,
    source: &'static str,
    licence: &'static str,
    dataset: &'static str,
    classes: usize,
    top1: f64,
    sha256: &'static str,
}

pub fn execute(args: &InfoArgs, output: &Output) -> anyhow::Result<Status> {
    if let Ok(entry) = taper::velocity::registry::find(&args.name) {
        anyhow::ensure!(
            args.classes.is_none(),
            "--classes: {} has the classes of its original; leave it out",
            entry.name
        );
        return velocity::execute(entry, output);
    }
    let entry = network::entry(&args.name)?;
    let classes = args
        .classes
        .map_or(entry.classes, |classes| classes as usize);
    let answer = describe(entry, classes)?;
    output.answer(&answer, || text(&answer))?;
    Ok(Status::Done)
}

fn describe(entry: &'static ModelEntry, classes: usize) -> anyhow::Result<Answer> {
    let tensors = entry.tensor_list(classes)?;
    let elements = |shape: &[usize]| shape.iter().product::<usize>();
    let parameters = tensors
        .iter()
        .filter(|tensor| Role::of(&tensor.name) == Role::Parameter)
        .map(|tensor| elements(&tensor.shape))
        .sum();
    // Of all that is counted only the last layer grows with the classes.
    let head = |classes: usize| -> anyhow::Result<u64> {
        let tensors = entry.tensor_list(classes)?;
        let weight = tensors
            .iter()
            .find(|tensor| tensor.name == entry.head.weight);
        Ok(weight.map_or(0, |weight| elements(&weight.shape) as u64))
    };
    let macs = entry.macs - head(entry.classes)? + head(classes)?;
    let known = entry.normalisation(classes);
    Ok(Answer {
        model: ModelRow {
            parameters,
            tensors: tensors.len(),
            macs,
            classes: Some(classes),
            ..ModelRow::from(entry)
        },
        family: entry.family,
        tensor_list: tensors.into_iter().map(Tensor::from).collect(),
        stages: entry
            .stages
            .iter()
            .map(|stage| Stage {
                channels: stage.channels,
                stride: stage.stride,
            })
            .collect(),
        normalisation: Normalisation {
            mean: known.mean,
            std: known.std,
        },
        weights: entry
            .weights
            .iter()
            .map(|known| Weights {
                file: known.file,
                source: known.source,
                licence: known.licence,
                dataset: known.dataset,
                classes: known.classes,
                top1: known.accuracy,
                sha256: known.sha256,
            })
            .collect(),
    })
}

fn text(answer: &Answer) -> String {
    let model = &answer.model;
    let (height, width) = (model.input[1], model.input[2]);
    let mut lines = vec![
        format!("{} ({}, {})", model.name, model.task, answer.family),
        format!(
            "input       {}, mean {:?}, deviation {:?}",
            times(model.input),
            answer.normalisation.mean,
            answer.normalisation.std
        ),
        format!("classes     {}", model.classes.unwrap_or(0)),
        format!(
            "parameters  {} in {} tensors (buffers among them)",
            grouped(model.parameters as u64),
            model.tensors
        ),
        format!("MACs        {}", grouped(model.macs)),
    ];
    for (index, stage) in answer.stages.iter().enumerate() {
        let Stage { channels, stride } = stage;
        lines.push(format!(
            "stage f{index}    {channels}×{}×{}",
            height / stride,
            width / stride
        ));
    }
    for known in &answer.weights {
        lines.push(format!(
            "weights     {} ({}, {} %, {}) from {}",
            known.file, known.dataset, known.top1, known.licence, known.source
        ));
    }
    lines.push(String::new());
    lines.extend(tensor_lines(&answer.tensor_list));
    lines.join("\n")
}
