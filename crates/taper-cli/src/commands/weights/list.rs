//! `taper weights list [GLOB]`.

use crate::Status;
use crate::download::megabytes;
use crate::output::Output;
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::path::PathBuf;
use taper::vision::registry;
use taper::weights::hub::{Hub, HubSettings};

/// Lists the published weights that the zoo knows; each was measured, and its digest is known.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: taper weights list 'akamaster*'
         taper weights download resnet20-12fca82f.th   (a name of the column `file`)")]
pub struct ListArgs {
    /// Models to list, or files; `*` stands for any run of characters, `?` for one.
    #[arg(default_value = "*")]
    glob: String,
}

#[derive(Debug, Serialize)]
struct Row {
    file: &'static str,
    model: &'static str,
    task: &'static str,
    dataset: &'static str,
    classes: usize,
    /// On the test set of `dataset`, in percent.
    top1: f64,
    licence: &'static str,
    bytes: u64,
    sha256: &'static str,
    source: &'static str,
    url: String,
    cached: bool,
    path: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Answer {
    weights: Vec<Row>,
}

pub fn execute(args: &ListArgs, output: &Output) -> anyhow::Result<Status> {
    let hub = Hub::new(HubSettings::from_environment())?;
    let weights = rows(&hub, &args.glob);
    if weights.is_empty() && !output.json {
        // An empty list is an answer to a script, and a question to a person.
        if !registry::list(&args.glob).is_empty() {
            anyhow::bail!(
                "{}: no published weights are known; `taper weights list` shows all there are",
                args.glob
            );
        }
        registry::find(&args.glob)?;
    }
    let answer = Answer { weights };
    output.answer(&answer, || match output.quiet {
        true => names(&answer.weights),
        false => table(&answer.weights),
    })?;
    Ok(Status::Done)
}

/// Of every model that the glob names; if none, of every file.
fn rows(hub: &Hub, glob: &str) -> Vec<Row> {
    let of = |models: &str, keep: &dyn Fn(&str) -> bool| -> Vec<Row> {
        let mut rows = Vec::new();
        for entry in registry::list(models) {
            for known in entry.weights.iter().filter(|known| keep(known.file)) {
                let path = hub.cached(known);
                rows.push(Row {
                    file: known.file,
                    model: entry.name,
                    task: entry.task,
                    dataset: known.dataset,
                    classes: known.classes,
                    top1: known.accuracy,
                    licence: known.licence,
                    bytes: known.bytes,
                    sha256: known.sha256,
                    source: known.source,
                    url: known.url(),
                    cached: path.is_some(),
                    path,
                });
            }
        }
        rows
    };
    let rows = of(glob, &|_| true);
    if !rows.is_empty() {
        return rows;
    }
    of("*", &|file| registry::matches(glob, file))
}

fn names(rows: &[Row]) -> String {
    let names: Vec<_> = rows.iter().map(|row| row.file).collect();
    names.join("\n")
}

fn table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header([
        "file", "model", "task", "data", "top-1 %", "licence", "size", "cached",
    ]);
    for row in rows {
        table.add_row([
            row.file.to_string(),
            row.model.to_string(),
            row.task.to_string(),
            row.dataset.to_string(),
            format!("{:.2}", row.top1),
            row.licence.to_string(),
            megabytes(row.bytes),
            if row.cached { "yes" } else { "no" }.to_string(),
        ]);
    }
    for column in [4, 6] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}
