//! The moving averages that a training keeps beside its weights, in the place of the weights.

use super::{MergeOptions, MergeReport, write};
use crate::convert::{ConvertProgress, Payload, PlannedTensor};
use crate::reader::TensorEntry;
use crate::{TensorFile, WeightsError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Keys under which trainings keep moving averages; the longer names first.
const KEYS: &[&str] = &[
    "ema_model_state_dict",
    "model_ema_state_dict",
    "ema_state_dict",
    "state_dict_ema",
    "ema_params",
    "params_ema",
    "model_ema",
    "ema_model",
    "net_ema",
    "ema",
];

/// Containers inside of such a key, and before the names of the weights.
const CONTAINERS: &[&str] = &[
    "model_state_dict.",
    "state_dict.",
    "shadow.",
    "ema_model.",
    "module.",
    "_orig_mod.",
    "model.",
];

/// Writes the moving averages in `input` under the names of its weights; what has no average
/// (running statistics, where a training averages parameters alone) is that of the weights.
///
/// # Errors
/// [`WeightsError`]: no moving averages in the file, or one without a weight of its name.
pub fn take_ema(
    input: impl AsRef<Path>,
    output: impl AsRef<Path>,
    options: &MergeOptions,
    progress: ConvertProgress<'_>,
) -> Result<MergeReport, WeightsError> {
    let file = TensorFile::open(input, &options.limits)?;
    let format = |reason: String| WeightsError::Format {
        path: file.path().to_path_buf(),
        reason,
    };
    let Some((key, averages)) = averages(&file) else {
        return Err(format(format!(
            "no moving averages found; looked for {} beside the weights",
            KEYS.join(", ")
        )));
    };
    let weights = weights(&file, key);
    let by_name: BTreeMap<&str, &str> = weights
        .iter()
        .map(|(name, _)| (bare(name), name.as_str()))
        .collect();
    let mut taken: BTreeMap<String, &TensorEntry> = BTreeMap::new();
    for (name, entry) in &averages {
        let own = bare(name);
        // Counters of the average itself: how many updates it has seen.
        if ["num_updates", "n_averaged", "decay", "initted", "step"].contains(&own) {
            continue;
        }
        let name = match by_name.get(own) {
            Some(name) => (*name).to_string(),
            None if weights.is_empty() => own.to_string(),
            None => {
                return Err(format(format!(
                    "moving average {} has no weight of its name beside it",
                    entry.name
                )));
            }
        };
        if taken.insert(name, entry).is_some() {
            return Err(format(format!("two moving averages are named {own}")));
        }
    }
    let averaged = taken.len();
    for (name, entry) in &weights {
        taken.entry(name.clone()).or_insert(entry);
    }
    let mut notes = vec![format!("{averaged} moving averages of `{key}`")];
    if taken.len() > averaged {
        notes.push(format!(
            "{} tensors have none and are those of the weights",
            taken.len() - averaged
        ));
    }
    let tensors = taken.into_iter().map(|(name, entry)| PlannedTensor {
        name,
        dtype: entry.dtype,
        shape: entry.shape.clone(),
        from: entry.dtype,
        payload: Payload::Entry(entry.clone()),
    });
    write(
        output.as_ref(),
        &BTreeSet::from([file.path().to_path_buf()]),
        options,
        tensors.collect(),
        file.metadata(),
        notes,
        progress,
    )
}

type Group<'a> = Vec<(String, &'a TensorEntry)>;

/// The key of the moving averages and what is under it.
fn averages(file: &TensorFile) -> Option<(&'static str, Group<'_>)> {
    let all = || file.beside().iter().chain(file.entries());
    KEYS.iter().find_map(|key| {
        let group: Group<'_> = all()
            .filter_map(|entry| {
                let rest = entry.name.strip_prefix(key)?.strip_prefix('.')?;
                Some((rest.to_string(), entry))
            })
            .collect();
        (!group.is_empty()).then_some((*key, group))
    })
}

/// The weights beside the averages: those that were unwrapped, or the section `model.`.
fn weights<'a>(file: &'a TensorFile, key: &str) -> Group<'a> {
    let inside = |entry: &&TensorEntry| {
        let rest = entry.name.strip_prefix(key);
        rest.is_some_and(|rest| rest.starts_with('.'))
    };
    if !file.entries().iter().any(|entry| inside(&entry)) {
        let entries = file.entries().iter();
        return entries.map(|entry| (entry.name.clone(), entry)).collect();
    }
    let entries = file.entries().iter();
    entries
        .filter_map(|entry| Some((entry.name.strip_prefix("model.")?.to_string(), entry)))
        .collect()
}

/// A name without the containers before it.
fn bare(mut name: &str) -> &str {
    while let Some(rest) = CONTAINERS.iter().find_map(|part| name.strip_prefix(part)) {
        name = rest;
    }
    name
}
