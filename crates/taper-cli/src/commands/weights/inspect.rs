//! `taper weights inspect F`.

use super::convert::open;
use super::limits::LimitArgs;
use crate::Status;
use crate::output::{Output, grouped};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use taper::weights::{Statistics, TensorEntry, TensorFile};

/// Shows what is in a checkpoint: a tree of its modules with totals, or every tensor.
#[derive(Debug, Args)]
#[command(after_help = "Example: taper weights inspect resnet20-12fca82f.th --flat --stats")]
pub struct InspectArgs {
    /// A checkpoint: a file or folder, OWNER/NAME[/FILE] of the hub, an address, or a file of
    /// `weights list`.
    #[arg(value_name = "F")]
    file: PathBuf,
    /// One line a tensor instead of the tree.
    #[arg(long)]
    flat: bool,
    /// Levels of modules that the tree shows.
    #[arg(long, value_name = "N", conflicts_with = "flat")]
    levels: Option<usize>,
    /// Read every number: smallest, largest, mean, deviation, how many are NaN or infinite.
    #[arg(long)]
    stats: bool,
    /// Show the tensors beside the weights too (optimiser states, a second set of weights).
    #[arg(long)]
    beside: bool,
    #[command(flatten)]
    limits: LimitArgs,
}

#[derive(Debug, Serialize)]
struct Answer {
    file: PathBuf,
    container: &'static str,
    wrapper: Option<String>,
    /// Numbers in all tensors.
    numbers: u64,
    bytes: u64,
    tensors: Vec<Row>,
    modules: Vec<Module>,
    beside: Vec<Row>,
    metadata: BTreeMap<String, String>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    numbers: u64,
    bytes: u64,
    #[serde(flatten)]
    statistics: Option<Statistics>,
}

/// All tensors below a name.
#[derive(Debug, Default, Serialize)]
struct Module {
    name: String,
    tensors: usize,
    numbers: u64,
    bytes: u64,
}

pub fn execute(args: &InspectArgs, output: &Output) -> anyhow::Result<Status> {
    let file = open(&args.file, &args.limits, output)?;
    let rows = |entries: &[TensorEntry]| -> anyhow::Result<Vec<Row>> {
        let mut rows = entries
            .iter()
            .map(|entry| row(&file, entry, args.stats))
            .collect::<anyhow::Result<Vec<_>>>()?;
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(rows)
    };
    let tensors = rows(file.entries())?;
    let beside = match args.beside {
        true => rows(file.beside())?,
        false => Vec::new(),
    };
    let answer = Answer {
        file: file.path().to_path_buf(),
        container: file.container().name(),
        wrapper: file.wrapper().map(str::to_string),
        numbers: tensors.iter().map(|row| row.numbers).sum(),
        bytes: tensors.iter().map(|row| row.bytes).sum(),
        modules: modules(&tensors),
        tensors,
        beside,
        metadata: file.metadata().clone(),
        notes: file.notes().to_vec(),
    };
    output.answer(&answer, || match (output.quiet, args.flat) {
        (true, _) => names(&answer.tensors),
        (false, true) => flat(&answer),
        (false, false) => tree(&answer, args.levels.unwrap_or(usize::MAX)),
    })?;
    Ok(Status::Done)
}

fn row(file: &TensorFile, entry: &TensorEntry, stats: bool) -> anyhow::Result<Row> {
    Ok(Row {
        name: entry.name.clone(),
        dtype: entry.dtype.to_string(),
        shape: entry.shape.clone(),
        numbers: entry.bytes() / entry.dtype.size() as u64,
        bytes: entry.bytes(),
        statistics: stats.then(|| file.statistics(entry)).transpose()?,
    })
}

/// Totals of every module, by name.
fn modules(rows: &[Row]) -> Vec<Module> {
    let mut modules: BTreeMap<&str, Module> = BTreeMap::new();
    for row in rows {
        for (at, _) in row.name.match_indices('.') {
            let module = modules.entry(&row.name[..at]).or_default();
            module.tensors += 1;
            module.numbers += row.numbers;
            module.bytes += row.bytes;
        }
    }
    let named = modules.into_iter().map(|(name, module)| Module {
        name: name.to_string(),
        ..module
    });
    named.collect()
}

fn names(rows: &[Row]) -> String {
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    names.join("\n")
}

fn heading(answer: &Answer) -> Vec<String> {
    let mut lines = vec![format!(
        "{}: {}, {} tensors, {} numbers, {} bytes",
        answer.file.display(),
        answer.container,
        answer.tensors.len(),
        grouped(answer.numbers),
        grouped(answer.bytes)
    )];
    if let Some(wrapper) = &answer.wrapper {
        lines.push(format!("found under {wrapper}"));
    }
    lines.extend(answer.notes.iter().cloned());
    for (key, value) in &answer.metadata {
        let value: String = value.chars().take(100).collect();
        lines.push(format!("{key} = {value}"));
    }
    lines.push(String::new());
    lines
}

fn flat(answer: &Answer) -> String {
    let mut lines = heading(answer);
    let width = answer.tensors.iter().map(|row| row.name.len()).max();
    let width = width.unwrap_or(0).min(60);
    for row in &answer.tensors {
        lines.push(format!("{:<width$}  {}", row.name, details(row)));
    }
    beside(answer, &mut lines);
    lines.join("\n")
}

/// Type, shape, bytes and, if they were read, statistics.
fn details(row: &Row) -> String {
    let shape = format!("{:?}", row.shape);
    let mut text = format!("{:<5} {shape:<20} {:>12}", row.dtype, grouped(row.bytes));
    if let Some(found) = &row.statistics {
        let number = |value: Option<f64>| match value {
            Some(value) => format!("{value:.4e}"),
            None => "-".to_string(),
        };
        text += &format!(
            "  min {} max {} mean {} std {}",
            number(found.min),
            number(found.max),
            number(found.mean),
            number(found.std)
        );
        if !found.is_finite() {
            text += &format!("  {} NaN, {} infinite", found.nan, found.inf);
        }
    }
    text
}

fn tree(answer: &Answer, levels: usize) -> String {
    let mut lines = heading(answer);
    let totals: BTreeMap<&str, &Module> = answer
        .modules
        .iter()
        .map(|module| (module.name.as_str(), module))
        .collect();
    let mut shown: Vec<&str> = Vec::new();
    for row in &answer.tensors {
        let parts: Vec<&str> = row.name.split('.').collect();
        let (leaf, above) = (parts.len() - 1, parts.iter().take(parts.len() - 1));
        let same = shown
            .iter()
            .zip(above.clone())
            .take_while(|(a, b)| *a == *b);
        let same = same.count();
        let mut end: usize = parts[..same].iter().map(|part| part.len() + 1).sum();
        for (level, part) in parts.iter().enumerate().take(leaf).skip(same) {
            end += part.len();
            if level < levels
                && let Some(module) = totals.get(&row.name[..end])
            {
                let label = format!("{}{part}", "  ".repeat(level));
                lines.push(format!(
                    "{label:<32} {:>5} tensors {:>14} numbers {:>14} bytes",
                    module.tensors,
                    grouped(module.numbers),
                    grouped(module.bytes)
                ));
            }
            end += 1;
        }
        shown = above.copied().collect();
        if leaf < levels {
            let label = format!("{}{}", "  ".repeat(leaf), parts[leaf]);
            lines.push(format!("{label:<32} {}", details(row)));
        }
    }
    beside(answer, &mut lines);
    lines.join("\n")
}

fn beside(answer: &Answer, lines: &mut Vec<String>) {
    if answer.beside.is_empty() {
        return;
    }
    lines.push(String::new());
    lines.push("beside the weights".to_string());
    for row in &answer.beside {
        lines.push(format!("{:<32} {}", row.name, details(row)));
    }
}
