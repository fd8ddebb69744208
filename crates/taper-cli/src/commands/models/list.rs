//! `taper models list [GLOB]`.

use crate::Status;
use crate::output::Output;
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
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
    pub input: [usize; 3],
    pub classes: usize,
    /// How many published files fit; `info` lists them.
    #[serde(skip)]
    pub known_weights: usize,
}

impl From<&ModelEntry> for ModelRow {
    fn from(entry: &ModelEntry) -> Self {
        Self {
            name: entry.name,
            task: entry.task,
            parameters: entry.parameters,
            tensors: entry.tensors,
            macs: entry.macs,
            input: entry.input,
            classes: entry.classes,
            known_weights: entry.weights.len(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Answer {
    models: Vec<ModelRow>,
}

pub fn execute(args: &ListArgs, output: &Output) -> anyhow::Result<Status> {
    let models: Vec<ModelRow> = registry::list(&args.glob)
        .into_iter()
        .map(ModelRow::from)
        .collect();
    if models.is_empty() && !output.json {
        // An empty list is an answer to a script, and a question to a person.
        registry::find(&args.glob)?;
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
        let [channels, height, width] = model.input;
        table.add_row([
            model.name.to_string(),
            model.task.to_string(),
            grouped(model.parameters as u64),
            format!("{:.1} M", model.macs as f64 / 1e6),
            format!("{channels}×{height}×{width}"),
            model.classes.to_string(),
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

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1234567, "1,234,567"),
        ] {
            assert_eq!(super::grouped(number), text);
        }
    }
}
