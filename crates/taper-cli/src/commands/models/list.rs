//! `taper models list [GLOB]`.

use crate::Status;
use crate::network;
use crate::output::{Output, grouped};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use taper::velocity::VelocityEntry;
use taper::vision::{ModelEntry, registry};

/// Lists the zoo.
#[derive(Debug, Args)]
#[command(after_help = "Example: taper models list 'resnet*'")]
pub struct ListArgs {
    /// Names to list; `*` stands for any run of characters, `?` for one.
    #[arg(default_value = "*")]
    glob: String,
}

#[derive(Debug, Serialize)]
pub struct ModelRow {
    pub name: &'static str,
    pub task: &'static str,
    pub parameters: usize,
    pub tensors: usize,
    pub macs: u64,
    /// Channels, height and width; coordinates of a point.
    pub input: &'static [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// How many published files fit; `info` lists them.
    #[serde(skip)]
    pub known_weights: usize,
}

impl From<&'static VelocityEntry> for ModelRow {
    fn from(entry: &'static VelocityEntry) -> Self {
        Self {
            name: entry.name,
            task: entry.task,
            parameters: entry.parameters,
            tensors: entry.tensors,
            macs: entry.macs,
            input: entry.input,
            classes: (entry.config)().classes(),
            known_weights: 0,
        }
    }
}

impl From<&'static ModelEntry> for ModelRow {
    fn from(entry: &'static ModelEntry) -> Self {
        Self {
            name: entry.name,
            task: entry.task,
            parameters: entry.parameters,
            tensors: entry.tensors,
            macs: entry.macs,
            input: &entry.input,
            classes: Some(entry.classes),
            known_weights: entry.weights.len(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Answer {
    models: Vec<ModelRow>,
}

pub fn execute(args: &ListArgs, output: &Output) -> anyhow::Result<Status> {
    let classifiers = registry::list(&args.glob).into_iter().map(ModelRow::from);
    let velocity = taper::velocity::registry::list(&args.glob);
    let models: Vec<_> = classifiers
        .chain(velocity.into_iter().map(ModelRow::from))
        .collect();
    if models.is_empty() && !output.json {
        // An empty list is an answer to a script, and a question to a person.
        return Err(network::unknown(&args.glob).into());
    }
    let answer = Answer { models };
    output.answer(&answer, || match output.quiet {
        true => names(&answer.models),
        false => table(&answer.models),
    })?;
    Ok(Status::Done)
}

fn names(models: &[ModelRow]) -> String {
    let names: Vec<_> = models.iter().map(|model| model.name).collect();
    names.join("\n")
}

fn table(models: &[ModelRow]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header([
        "model",
        "task",
        "parameters",
        "MACs",
        "input",
        "classes",
        "known weights",
    ]);
    for model in models {
        table.add_row([
            model.name.to_string(),
            model.task.to_string(),
            grouped(model.parameters as u64),
            format!("{:.1} M", model.macs as f64 / 1e6),
            times(model.input),
            model
                .classes
                .map_or_else(String::new, |classes| classes.to_string()),
            model.known_weights.to_string(),
        ]);
    }
    for column in [2, 3, 5, 6] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// `[3, 32, 32]` as `3×32×32`.
pub fn times(shape: &[usize]) -> String {
    let sizes: Vec<_> = shape.iter().map(usize::to_string).collect();
    sizes.join("×")
}
