//! A finished velocity network: its file, and what its metadata tells.

use crate::error::{DiffusionError, Result};
use crate::source::Source;
use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use taper_layers::{ParameterStore, ShapeRecorder};
use taper_train::MODEL_FILE;
use taper_velocity::registry::CONFIG_METADATA_KEY;
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
    /// As metadata of `model.safetensors`; the network also under the zoo's key, so that `taper run` and
    /// [`load_velocity`](taper_weights::load_velocity) know its skip balance and heads.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub fn metadata(&self) -> Result<BTreeMap<String, String>> {
        let refused = |error| DiffusionError::setting("network", error, "a network's shape");
        let all = serde_json::to_string(self).map_err(refused)?;
        let network = serde_json::to_string(&self.network).map_err(refused)?;
        Ok(BTreeMap::from([
            (METADATA_KEY.to_string(), all),
            (CONFIG_METADATA_KEY.to_string(), network),
        ]))
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

#[cfg(test)]
mod tests {
    use super::*;
    use taper_velocity::{SongUNetConfig, registry};

    #[test]
    fn the_zoo_reads_what_a_training_saved() {
        let network = SongUNetConfig {
            phi: Some(0.75),
            ..SongUNetConfig::small(8, 1)
        };
        let origin = Origin {
            network: VelocityConfig::SongUnet(network).with_heads(2),
            data: "digits".parse().unwrap(),
            shape: vec![1, 8, 8],
            method: "cud".to_string(),
        };
        let store = ParameterStore::new(0, &Device::Cpu);
        origin.network.build(store.var_builder(DType::F32)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        taper_weights::save(&path, &store.state(), &origin.metadata().unwrap()).unwrap();
        let entry = registry::find("unet_small_8").unwrap();
        let loaded = taper_weights::load_velocity(entry, &path, None).unwrap();
        assert_eq!(loaded.config, origin.network);
        assert_eq!(load_network(&path).unwrap().origin, origin);
    }
}
