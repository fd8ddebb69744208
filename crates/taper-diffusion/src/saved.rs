//! A finished velocity network: its file, and what its metadata tells.

use crate::error::{DiffusionError, Result};
use crate::source::Source;
use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use taper_layers::{ParameterStore, ShapeRecorder};
use taper_train::MODEL_FILE;
use taper_velocity::{VelocityConfig, VelocityNetwork};

/// Key of the metadata under which a network's shape and origin stand as JSON.
pub const METADATA_KEY: &str = "taper.diffusion";

/// What the file of a velocity network tells besides its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The network.
    pub network: VelocityConfig,
    /// What it learnt from.
    pub data: Source,
    /// Shape of one sample.
    pub shape: Vec<usize>,
    /// The method, for people.
    pub method: String,
}

impl Origin {
    /// As metadata of `model.safetensors`.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn metadata(&self) -> Result<BTreeMap<String, String>> {
        let text = serde_json::to_string(self)
            .map_err(|error| DiffusionError::setting("network", error, "a network's shape"))?;
        Ok(BTreeMap::from([(METADATA_KEY.to_string(), text)]))
    }
}

/// A network for sampling.
pub struct SavedNetwork {
    /// Keeps no graph.
    pub network: Box<dyn VelocityNetwork>,
    /// Its tensors.
    pub store: ParameterStore,
    /// What the file tells.
    pub origin: Origin,
    /// The file.
    pub path: PathBuf,
}

/// Reads a run's directory (its `model.safetensors`) or a file of weights that Taper wrote.
///
/// # Errors
/// [`DiffusionError::File`] for a file without a description; those of reading and fitting it.
pub fn load_network(path: impl AsRef<Path>) -> Result<SavedNetwork> {
    let path = match path.as_ref() {
        path if path.is_dir() => path.join(MODEL_FILE),
        path => path.to_path_buf(),
    };
    let checkpoint = taper_weights::load(&path)?;
    let Some(text) = checkpoint.metadata.get(METADATA_KEY) else {
        return Err(DiffusionError::file(
            &path,
            format!(
                "no \"{METADATA_KEY}\" in its metadata; expected a network that \
                 `taper diffusion train` wrote"
            ),
        ));
    };
    let origin: Origin = serde_json::from_str(text)
        .map_err(|error| DiffusionError::file(&path, format!("its metadata: {error}")))?;
    let recorder = ShapeRecorder::default();
    origin.network.build(recorder.var_builder())?;
    let store = ParameterStore::new(0, &Device::Cpu);
    let name = format!("the {} network of its metadata", origin.method);
    taper_weights::fit(&checkpoint, &name, &recorder.tensors(), &|_| false, &store)?;
    Ok(SavedNetwork {
        network: origin.network.build(store.frozen(DType::F32))?,
        store,
        origin,
        path,
    })
}
