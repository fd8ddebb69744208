//! `taper models info NAME` for velocity networks.

use super::info::{Tensor, tensor_lines};
use super::list::{ModelRow, times};
use crate::Status;
use crate::output::{Output, grouped};
use serde::Serialize;
use taper::velocity::{Preconditioning, VelocityConfig, VelocityEntry, registry};

#[derive(Debug, Serialize)]
struct Answer {
    #[serde(flatten)]
    model: ModelRow,
    family: &'static str,
    config: VelocityConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    preconditioning: Option<Preconditioning>,
    tensor_list: Vec<Tensor>,
}

pub fn execute(entry: &'static VelocityEntry, output: &Output) -> anyhow::Result<Status> {
    let config = (entry.config)();
    let tensors = registry::tensor_list(&config)?;
    let answer = Answer {
        model: ModelRow::from(entry),
        family: entry.family,
        config,
        preconditioning: entry.preconditioning,
        tensor_list: tensors.into_iter().map(Tensor::from).collect(),
    };
    output.answer(&answer, || text(&answer))?;
    Ok(Status::Done)
}

fn text(answer: &Answer) -> String {
    let model = &answer.model;
    let mut lines = vec![
        format!("{} ({}, {})", model.name, model.task, answer.family),
        format!("input       {}", times(model.input)),
    ];
    if let Some(classes) = model.classes {
        lines.push(format!("classes     {classes}"));
    }
    if let Some(phi) = answer.config.phi() {
        lines.push(format!("phi         {phi}"));
    }
    if answer.preconditioning.is_some() {
        lines.push("denoiser    with EDM's preconditioning".into());
    }
    lines.push(format!(
        "parameters  {} in {} tensors (buffers among them)",
        grouped(model.parameters as u64),
        model.tensors
    ));
    lines.push(format!("MACs        {}", grouped(model.macs)));
    lines.push(String::new());
    lines.extend(tensor_lines(&answer.tensor_list));
    lines.join("\n")
}
