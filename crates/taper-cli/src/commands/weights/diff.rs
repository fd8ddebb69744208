//! `taper weights diff A B`.

use super::convert::open;
use super::limits::LimitArgs;
use crate::Status;
use crate::network;
use crate::output::Output;
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use taper::vision::registry;
use taper::weights::{Difference, Unmatched, WeightsError, compare, fit_of};

/// Compares two checkpoints tensor by tensor, or one with a network of the zoo.
///
/// Names, shapes, types and numbers; of a network, names, shapes and types. Exit code 1 when they differ.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: taper weights diff resnet20-12fca82f.th resnet20.safetensors
         taper weights diff resnet20.safetensors akamaster_resnet20")]
pub struct DiffArgs {
    /// A checkpoint: a file or folder, OWNER/NAME[/FILE] of the hub, an address, or a file of
    /// `weights list`.
    #[arg(value_name = "A")]
    a: PathBuf,
    /// Another, or a network of the zoo.
    #[arg(value_name = "B|MODEL")]
    b: PathBuf,
    /// Numbers that are at most this far apart are equal.
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = tolerance)]
    tolerance: f64,
    #[command(flatten)]
    limits: LimitArgs,
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number >= 0.0 && number.is_finite() => Ok(number),
        _ => Err("expected a number of at least 0".to_string()),
    }
}

#[derive(Debug, Serialize)]
struct Answer {
    a: PathBuf,
    b: PathBuf,
    equal: bool,
    #[serde(flatten)]
    difference: Difference,
}

pub fn execute(args: &DiffArgs, output: &Output) -> anyhow::Result<Status> {
    let difference = difference(args, output)?;
    let answer = Answer {
        a: args.a.clone(),
        b: args.b.clone(),
        equal: difference.is_none(),
        difference,
    };
    output.answer(&answer, || describe(&answer))?;
    Ok(match answer.equal {
        true => Status::Done,
        false => Status::Differs,
    })
}

fn difference(args: &DiffArgs, output: &Output) -> anyhow::Result<Difference> {
    let a = open(&args.a, &args.limits, output)?;
    if let Some(entry) = model(&args.b) {
        let found = fit_of(&a, entry, None)?;
        let (difference, _) = found.map_err(|details| WeightsError::Misfit {
            path: a.path().to_path_buf(),
            model: entry.name.to_string(),
            details,
        })?;
        return Ok(difference);
    }
    let b = open(&args.b, &args.limits, output).map_err(|error| {
        let name = args.b.display().to_string();
        match args.b.exists() || name.contains(['/', '.']) {
            true => error,
            // Neither a file nor a path: a network was meant.
            false => network::entry(&name).err().unwrap_or(error),
        }
    })?;
    Ok(compare(&a, &b, args.tolerance)?)
}

/// The network of that name, unless a file has it.
fn model(name: &Path) -> Option<&'static taper::vision::ModelEntry> {
    if name.exists() {
        return None;
    }
    registry::find(name.to_str()?).ok()
}

/// Lines of one kind that the report for people lists.
const LISTED: usize = 20;

fn describe(answer: &Answer) -> String {
    let found = &answer.difference;
    let (a, b) = (answer.a.display(), answer.b.display());
    if answer.equal {
        return format!("{a} and {b}: equal, {} tensors", found.compared);
    }
    let mut lines = vec![format!(
        "{a} and {b} differ; {} tensors have the same name",
        found.compared
    )];
    let mut list = |title: String, items: Vec<String>| {
        if items.is_empty() {
            return;
        }
        lines.push(format!("{title}: {}", items.len()));
        lines.extend(items.iter().take(LISTED).map(|item| format!("  {item}")));
        if items.len() > LISTED {
            lines.push(format!("  and {} more", items.len() - LISTED));
        }
    };
    let names = |names: &[Unmatched]| -> Vec<String> {
        let line = |name: &Unmatched| match &name.nearest {
            Some(near) => format!("{} (nearest: {near})", name.name),
            None => name.name.clone(),
        };
        names.iter().map(line).collect()
    };
    list(format!("missing, in {b} only"), names(&found.missing));
    list(format!("extra, in {a} only"), names(&found.extra));
    let shapes = found.shapes.iter();
    list(
        "of another shape".into(),
        shapes
            .map(|t| format!("{}: {:?}, {:?}", t.name, t.a, t.b))
            .collect(),
    );
    let dtypes = found.dtypes.iter();
    list(
        "of another type".into(),
        dtypes
            .map(|t| format!("{}: {}, {}", t.name, t.a, t.b))
            .collect(),
    );
    let values = found.values.iter();
    list(
        "of other numbers".into(),
        values
            .map(|t| match t.max_abs {
                Some(apart) => {
                    format!("{}: {} numbers, at most {apart:.3e} apart", t.name, t.count)
                }
                None => format!("{}: {} numbers, some not finite", t.name, t.count),
            })
            .collect(),
    );
    lines.join("\n")
}
