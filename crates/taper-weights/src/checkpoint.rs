//! A checkpoint in memory.

use crate::{Limits, TensorFile, WeightsError};
use candle_core::Tensor;
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

/// Reads a checkpoint of any kind onto the CPU: safetensors, PyTorch, `.npz`, `.npy`, in one file
/// or in shards.
///
/// [`TensorFile`] reads single tensors of a large file.
///
/// ```
/// # fn main() -> Result<(), taper_weights::WeightsError> {
/// # let folder = std::env::temp_dir().join(format!("taper-load-{}", std::process::id()));
/// # let _ = std::fs::create_dir(&folder);
/// # let path = folder.join("weights.safetensors");
/// # let bias = candle_core::Tensor::new(&[1f32, 2.], &candle_core::Device::Cpu)?;
/// # taper_weights::save(&path, &[("fc.bias".to_string(), bias)].into(), &Default::default())?;
/// let checkpoint = taper_weights::load(&path)?;
/// let bias = &checkpoint.tensors["fc.bias"];
/// assert_eq!(bias.dims(), [2]);
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok(())
/// # }
/// ```
///
/// With the feature `hub` the path may also be an address, `OWNER/NAME[@REVISION][/FILE]` of the
/// Hugging Face hub, or a published file that the registry knows: see `hub::resolve`.
///
/// # Errors
/// As [`TensorFile::open`] and [`TensorFile::tensor`]; those of a download.
pub fn load(path: impl AsRef<Path>) -> Result<Checkpoint, WeightsError> {
    load_within(path, &Limits::default())
}

/// [`load`], with other caps on what an untrusted file may cost.
///
/// # Errors
/// As [`load`].
pub fn load_within(path: impl AsRef<Path>, limits: &Limits) -> Result<Checkpoint, WeightsError> {
    #[cfg(feature = "hub")]
    let path = crate::hub::resolve(path)?;
    let file = TensorFile::open(path, limits)?;
    let mut tensors = BTreeMap::new();
    for entry in file.entries() {
        tensors.insert(entry.name.clone(), file.read_tensor(entry)?);
    }
    Ok(Checkpoint {
        path: file.path().to_path_buf(),
        tensors,
        metadata: file.metadata().clone(),
    })
}
