//! Checkpoints in several files: an index, or the folder that holds one.

use super::source::Source;
use super::{Container, Limits, TensorFile};
use crate::WeightsError;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a folder is searched for, in this order.
const NAMES: &[&str] = &[
    "model.safetensors.index.json",
    "model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
];

/// Endings of checkpoints.
const ENDINGS: &[&str] = &[
    "safetensors",
    "pth",
    "pt",
    "th",
    "bin",
    "ckpt",
    "npz",
    "npy",
];

/// Files of one checkpoint, at most.
const SHARDS: usize = 512;

#[derive(serde::Deserialize)]
struct Index {
    #[serde(default)]
    metadata: BTreeMap<String, serde_json::Value>,
    weight_map: BTreeMap<String, String>,
}

/// The checkpoint in a folder: an index, a file of a usual name, or the only checkpoint there.
pub(crate) fn in_folder(folder: &Path) -> Result<PathBuf, WeightsError> {
    for name in NAMES {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    let read = |source| WeightsError::Read {
        path: folder.to_path_buf(),
        source,
    };
    let mut candidates = BTreeSet::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let text = path.to_string_lossy();
        let ending = path
            .extension()
            .and_then(|ending| ending.to_str())
            .unwrap_or_default();
        if (ENDINGS.contains(&ending) || text.ends_with(".index.json")) && path.is_file() {
            candidates.insert(path);
        }
    }
    let indices: Vec<&PathBuf> = candidates
        .iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .collect();
    match (&indices[..], candidates.len(), candidates.first()) {
        ([index], _, _) => Ok((*index).clone()),
        (_, 1, Some(only)) => Ok(only.clone()),
        (_, count, _) => Err(WeightsError::Format {
            path: folder.to_path_buf(),
            reason: format!(
                "a folder with {count} checkpoints; expected one, or an index file (*.index.json)"
            ),
        }),
    }
}

/// Whether the first bytes can be those of an index.
pub(crate) fn looks_like(head: &[u8], path: &Path) -> bool {
    head.trim_ascii_start().starts_with(b"{")
        && path
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("json"))
}

pub(crate) fn open(path: &Path, limits: &Limits) -> Result<TensorFile, WeightsError> {
    let source = Source::open(path)?;
    let format = |reason: String| source.format(reason);
    let region = source.whole();
    if region.length > limits.header_bytes {
        return Err(source.limit(
            format!("an index of {} bytes", region.length),
            "header_bytes",
        ));
    }
    let index: Index = serde_json::from_slice(&region.bytes()?)
        .map_err(|error| format(format!("index of shards: {error}")))?;
    let shards: BTreeSet<&String> = index.weight_map.values().collect();
    if shards.is_empty() || shards.len() > SHARDS {
        return Err(format(format!(
            "an index of {} files; expected 1 to {SHARDS}",
            shards.len()
        )));
    }
    if let Some(name) = shards.iter().find(|name| !is_plain(name)) {
        return Err(format(format!(
            "the index names {name:?}, which is no plain file name; refused"
        )));
    }
    let mut whole = TensorFile {
        path: path.to_path_buf(),
        container: Container::Sharded,
        entries: Vec::new(),
        beside: Vec::new(),
        wrapper: None,
        notes: Vec::new(),
        metadata: BTreeMap::new(),
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut file_bytes = region.length;
    let mut missing: BTreeMap<&String, &String> = index.weight_map.iter().collect();
    for shard in shards {
        let shard_source = Source::open(&folder.join(shard))?;
        file_bytes = file_bytes.saturating_add(shard_source.whole().length);
        let part = TensorFile::from_region(&shard_source.whole(), limits)?;
        let mut unlisted = 0;
        for entry in part.entries {
            if missing.get(&entry.name) == Some(&shard) {
                missing.remove(&entry.name);
                whole.entries.push(entry);
            } else {
                unlisted += 1;
                whole.beside.push(entry);
            }
        }
        if unlisted > 0 {
            whole.notes.push(format!(
                "{unlisted} tensors of {shard} are left out: the index does not list them there"
            ));
        }
        whole.metadata.extend(part.metadata);
        whole.notes.extend(part.notes);
    }
    if let Some((name, shard)) = missing.first_key_value() {
        return Err(format(format!(
            "the index says that {shard} has tensor {name}; it has not ({} missing)",
            missing.len()
        )));
    }
    for (key, value) in index.metadata {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_string);
        whole.metadata.entry(key).or_insert(text);
    }
    whole.check(file_bytes, limits)?;
    Ok(whole)
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0'])
}
