//! A checkpoint in memory, and reading one from a safetensors file.

use crate::WeightsError;
use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Tensors by name, and the free-form metadata of the file's header.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    /// Where it came from, for messages.
    pub path: PathBuf,
    /// Ordered by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Header metadata.
    pub metadata: BTreeMap<String, String>,
}

/// Reads a `.safetensors` file onto the CPU.
///
/// # Errors
/// [`WeightsError::Read`] when the file cannot be opened, [`WeightsError::Format`] when it is
/// empty, truncated, or another format under this name.
pub fn load(path: impl AsRef<Path>) -> Result<Checkpoint, WeightsError> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(|source| WeightsError::Read {
        path: path.to_path_buf(),
        source,
    })?;
    let format = |reason: String| WeightsError::Format {
        path: path.to_path_buf(),
        reason,
    };
    if let Some(other) = other_format(&bytes) {
        return Err(format(format!("found {other}; expected safetensors")));
    }
    let (_, header) = SafeTensors::read_metadata(&bytes)
        .map_err(|error| format(format!("not a whole safetensors file: {error}")))?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|error| format(format!("not a whole safetensors file: {error}")))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let tensor = candle_core::safetensors::Load::load(&view, &Device::Cpu)
            .map_err(|error| format(format!("tensor {name}: {error}")))?;
        tensors.insert(name, tensor);
    }
    let metadata = header.metadata().clone().unwrap_or_default();
    Ok(Checkpoint {
        path: path.to_path_buf(),
        tensors,
        metadata: metadata.into_iter().collect(),
    })
}

/// Names well-known files that are no safetensors, by their first bytes.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    const LEGACY_TORCH: &[u8] = &[0x80, 0x02, 0x8a, 0x0a];
    match bytes {
        [] => Some("an empty file"),
        [b'P', b'K', 3, 4, ..] => Some("a ZIP archive (PyTorch or NumPy)"),
        _ if bytes.starts_with(LEGACY_TORCH) => Some("a PyTorch file of before 1.6"),
        [0x80, 2..=5, ..] => Some("a Python pickle"),
        _ if bytes.starts_with(b"version https://git-lfs") => Some("a Git LFS pointer"),
        _ if bytes.starts_with(b"<") => Some("an HTML or XML page"),
        _ if bytes.starts_with(b"\x93NUMPY") => Some("a NumPy array"),
        _ => None,
    }
}
