//! What a conversion will write, decided from names, types and shapes alone.

use super::names::Patterns;
use super::write::{METADATA, sort};
use super::{
    ConvertOptions, ConvertReport, DialectChoice, Payload, Permuted, PlannedTensor, Renamed,
};
use crate::dialect::{Change, Status, row_order, translate};
use crate::reader::TensorEntry;
use crate::{ElementType, TensorFile, WeightsError};
use std::collections::BTreeMap;

/// Tensors in the order in which they are written, and what is known before that.
pub(crate) struct Plan {
    pub(crate) tensors: Vec<PlannedTensor<'static>>,
    pub(crate) report: ConvertReport,
}

/// Groups of tied tensors, and names of one, that a note lists.
const LISTED: usize = 4;

/// Types that numbers can be cast to.
pub(crate) const PRECISIONS: [ElementType; 4] = [
    ElementType::F16,
    ElementType::BF16,
    ElementType::F32,
    ElementType::F64,
];

pub(crate) fn plan(file: &TensorFile, options: &ConvertOptions) -> Result<Plan, WeightsError> {
    if let Some(dtype) = options.dtype.filter(|dtype| !PRECISIONS.contains(dtype)) {
        return Err(WeightsError::Option {
            option: format!("--dtype {dtype}"),
            reason: "expected f16, bf16, f32 or f64".into(),
        });
    }
    let patterns = Patterns::new(file, options)?;
    patterns.check()?;
    let mut report = empty_report(file);
    let mut entries: Vec<&TensorEntry> = Vec::new();
    for entry in file.entries() {
        match patterns.wanted(&entry.name) {
            true => entries.push(entry),
            false => report.dropped.push(entry.name.clone()),
        }
    }
    let mut names: Vec<String> = entries.iter().map(|entry| entry.name.clone()).collect();
    patterns.strip(&mut names)?;
    let changes = by_dialect(file, options, &mut names, &mut entries, &mut report)?;
    patterns.rename(&mut names)?;
    check_names(file, &entries, &names)?;
    let mut tensors = Vec::new();
    for ((entry, name), change) in entries.iter().zip(names).zip(changes) {
        let tensor = planned(file, options, entry, name, &change, &mut report)?;
        report.bytes = report.bytes.saturating_add(tensor.bytes());
        tensors.push(tensor);
    }
    if tensors.is_empty() {
        return Err(WeightsError::Format {
            path: file.path().to_path_buf(),
            reason: format!("no tensor is left to write of {}", file.entries().len()),
        });
    }
    report.tensors = tensors.len();
    report.notes.extend(shared(&entries));
    sort(&mut tensors);
    Ok(Plan { tensors, report })
}

fn empty_report(file: &TensorFile) -> ConvertReport {
    ConvertReport {
        container: file.container(),
        wrapper: file.wrapper().map(str::to_string),
        dialect: None,
        tensors: 0,
        bytes: 0,
        renamed: Vec::new(),
        permuted: Vec::new(),
        cast: 0,
        overflowed: Vec::new(),
        dropped: Vec::new(),
        unknown: Vec::new(),
        beside: file.beside().len(),
        notes: file.notes().to_vec(),
        sha256: BTreeMap::new(),
    }
}

/// Renames by the dialect; drops what it drops. Gives each tensor's change.
fn by_dialect(
    file: &TensorFile,
    options: &ConvertOptions,
    names: &mut Vec<String>,
    entries: &mut Vec<&TensorEntry>,
    report: &mut ConvertReport,
) -> Result<Vec<Change>, WeightsError> {
    let (wanted, option) = match options.dialect {
        DialectChoice::None => return Ok(vec![Change::default(); names.len()]),
        DialectChoice::Auto => (None, "auto"),
        DialectChoice::Named(dialect) => (Some(dialect), dialect.name),
    };
    let texts: Vec<&str> = names.iter().map(String::as_str).collect();
    let found =
        translate(wanted, options.direction, &texts).map_err(|reason| WeightsError::Request {
            path: file.path().to_path_buf(),
            option: format!("--dialect {option}"),
            reason,
        })?;
    report.dialect = Some(found.dialect.name.to_string());
    report.notes.push(format!(
        "dialect {} ({}), network {}",
        found.dialect.name, found.dialect.about, found.network
    ));
    report
        .notes
        .extend(found.dialect.remark.map(str::to_string));
    let mut changes = Vec::new();
    let (old_names, old_entries) = (std::mem::take(names), std::mem::take(entries));
    for ((named, old), entry) in found.names.into_iter().zip(old_names).zip(old_entries) {
        match named.status {
            Status::Dropped => {
                report.dropped.push(entry.name.clone());
                continue;
            }
            Status::Unknown => report.unknown.push(old),
            Status::Known => {}
        }
        names.push(named.name);
        entries.push(entry);
        changes.push(named.change);
    }
    Ok(changes)
}

fn check_names(
    file: &TensorFile,
    entries: &[&TensorEntry],
    names: &[String],
) -> Result<(), WeightsError> {
    let refused = |reason: String| WeightsError::Format {
        path: file.path().to_path_buf(),
        reason,
    };
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (entry, name) in entries.iter().zip(names) {
        if name == METADATA {
            return Err(refused(format!(
                "tensor {}: {METADATA} is no name for a tensor in safetensors; --rename it",
                entry.name
            )));
        }
        if let Some(other) = seen.insert(name, &entry.name) {
            return Err(refused(format!(
                "tensors {other} and {} would both be named {name}",
                entry.name
            )));
        }
    }
    Ok(())
}

fn planned(
    file: &TensorFile,
    options: &ConvertOptions,
    entry: &TensorEntry,
    name: String,
    change: &Change,
    report: &mut ConvertReport,
) -> Result<PlannedTensor<'static>, WeightsError> {
    let refused = |reason: String| WeightsError::Format {
        path: file.path().to_path_buf(),
        reason: format!("tensor {}: {reason}", entry.name),
    };
    let dtype = match options.dtype {
        Some(dtype) if entry.dtype.is_float() && !entry.dtype.is_complex() => dtype,
        _ => entry.dtype,
    };
    if dtype.safetensors_name().is_none() {
        return Err(refused(format!(
            "safetensors has no type for {dtype} numbers; leave it out with --drop {}",
            entry.name
        )));
    }
    let changed = entry.rearranged(change).map_err(refused)?;
    if let Some(how) = describe(change, &entry.shape, &changed.shape) {
        report.permuted.push(Permuted {
            name: name.clone(),
            how,
        });
    }
    if entry.name != name {
        report.renamed.push(Renamed {
            from: entry.name.clone(),
            to: name.clone(),
        });
    }
    report.cast += usize::from(dtype != entry.dtype);
    Ok(PlannedTensor {
        name,
        dtype,
        shape: changed.shape.clone(),
        from: entry.dtype,
        payload: Payload::Entry(changed),
    })
}

fn describe(change: &Change, before: &[usize], after: &[usize]) -> Option<String> {
    let mut parts = Vec::new();
    if let Some((from, to, _)) = change.rows {
        parts.push(format!("rows {} to {}", row_order(from), row_order(to)));
    }
    if change.transpose {
        parts.push("transposed".to_string());
    }
    if change.rank.is_some() && before != after {
        parts.push(format!("shape {before:?} to {after:?}"));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Tied tensors: the output has each in full.
fn shared(entries: &[&TensorEntry]) -> Option<String> {
    let mut groups: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for entry in entries {
        let group = groups.entry(entry.storage_address()).or_default();
        group.push(&entry.name);
    }
    let mut groups: Vec<_> = groups
        .into_values()
        .filter(|group| group.len() > 1)
        .collect();
    groups.sort();
    let count: usize = groups.iter().map(Vec::len).sum();
    let listed: Vec<String> = groups
        .iter()
        .take(LISTED)
        .map(|group| {
            let more = if group.len() > LISTED { ", …" } else { "" };
            let names: Vec<&str> = group.iter().take(LISTED).copied().collect();
            names.join(", ") + more
        })
        .collect();
    let more = if groups.len() > LISTED { "; …" } else { "" };
    (count > 0).then(|| {
        format!(
            "{count} tensors share their storage with others ({}{more}): each is written in full",
            listed.join("; ")
        )
    })
}
