//! A velocity network of the zoo with the weights of a file.

use crate::fit::unwrapped;
use crate::{Checkpoint, FitReport, WeightsError, fit, load};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::path::Path;
use taper_layers::ParameterStore;
use taper_velocity::registry::{
    self, CONFIG_METADATA_KEY, RESAMPLE_FILTER_VALUE, is_filter, tensor_list,
};
use taper_velocity::{VelocityConfig, VelocityEntry, VelocityNetwork};

/// A frozen velocity network, and what its file told.
pub struct LoadedVelocity {
    /// For evaluation: keeps no graph.
    pub network: Box<dyn VelocityNetwork>,
    /// Its configuration: heads, classes and labels as in the file.
    pub config: VelocityConfig,
    /// Its tensors.
    pub store: ParameterStore,
    /// What was taken and what was left.
    pub report: FitReport,
}

/// Reads `path` into the network of `entry`; heads, classes and augmentation labels are the file's.
///
/// `phi`, if given, replaces the skip balance of the metadata or the registry. Fixed filters may be absent.
///
/// # Errors
/// [`WeightsError`] naming the file and the tensors that do not fit.
pub fn load_velocity(
    entry: &'static VelocityEntry,
    path: impl AsRef<Path>,
    phi: Option<Option<f64>>,
) -> Result<LoadedVelocity, WeightsError> {
    let checkpoint = load(path)?;
    let mut config = config_of(entry, &checkpoint)?;
    if let Some(phi) = phi {
        config = config.with_phi(phi);
    }
    let expected = tensor_list(&config)?;
    let (filters, learnt): (Vec<_>, Vec<_>) =
        expected.into_iter().partition(|info| is_filter(&info.name));
    check_filters(entry, &checkpoint)?;
    let store = ParameterStore::new(0, &Device::Cpu);
    let ignorable = &VelocityEntry::ignorable;
    let mut report = fit(&checkpoint, entry.name, &learnt, ignorable, &store)?;
    for info in &filters {
        let filter = Tensor::full(RESAMPLE_FILTER_VALUE as f32, &*info.shape, &Device::Cpu)?;
        store.insert(&info.name, &filter)?;
    }
    // The filters are known, not ignored.
    report.ignored.retain(|name| !is_filter(name));
    let network = config.build(store.frozen(DType::F32))?;
    Ok(LoadedVelocity {
        network,
        config,
        store,
        report,
    })
}

/// The configuration in the file's metadata, else the one that its names and shapes tell.
fn config_of(
    entry: &VelocityEntry,
    checkpoint: &Checkpoint,
) -> Result<VelocityConfig, WeightsError> {
    if let Some(text) = checkpoint.metadata.get(CONFIG_METADATA_KEY) {
        let config: VelocityConfig =
            serde_json::from_str(text).map_err(|error| WeightsError::Format {
                path: checkpoint.path.clone(),
                reason: format!("metadata {CONFIG_METADATA_KEY}: {error}"),
            })?;
        if entry.same_network(&config) {
            return Ok(config);
        }
        return Err(misfit(
            entry,
            checkpoint,
            format!("its metadata describes another network: {text}"),
        ));
    }
    let known: BTreeMap<_, _> = tensor_list(&(entry.config)())?
        .into_iter()
        .map(|info| (info.name, ()))
        .collect();
    let (tensors, _) = unwrapped(&checkpoint.tensors, &|name| known.contains_key(name));
    let shapes = tensors
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.dims().to_vec()))
        .collect();
    Ok(entry.config_for(&shapes))
}

/// A filter in the file is the one that the networks apply.
fn check_filters(entry: &VelocityEntry, checkpoint: &Checkpoint) -> Result<(), WeightsError> {
    for (name, tensor) in checkpoint
        .tensors
        .iter()
        .filter(|(name, _)| registry::is_filter(name))
    {
        let values: Vec<f64> = tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?;
        if values.len() != 4 || values.iter().any(|&v| v != RESAMPLE_FILTER_VALUE) {
            let details = format!(
                "{name} is {:?} of {values:?}; the network resamples with the mean of 2x2 pixels, four times {RESAMPLE_FILTER_VALUE}",
                tensor.dims()
            );
            return Err(misfit(entry, checkpoint, details));
        }
    }
    Ok(())
}

fn misfit(entry: &VelocityEntry, checkpoint: &Checkpoint, details: String) -> WeightsError {
    WeightsError::Misfit {
        path: checkpoint.path.clone(),
        model: entry.name.to_string(),
        details,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// The state of a small U-Net, under a prefix, changed by `edit`.
    fn file(
        folder: &Path,
        prefix: &str,
        edit: impl Fn(&mut BTreeMap<String, Tensor>),
    ) -> (PathBuf, ParameterStore) {
        let entry = registry::find("unet_small_8").unwrap();
        let store = ParameterStore::new(4, &Device::Cpu);
        let config = (entry.config)().with_heads(2);
        config.build(store.var_builder(DType::F32)).unwrap();
        let mut state: BTreeMap<String, Tensor> = store
            .state()
            .into_iter()
            .map(|(name, tensor)| (format!("{prefix}{name}"), tensor))
            .collect();
        edit(&mut state);
        let path = folder.join("w.safetensors");
        crate::save(&path, &state, &BTreeMap::new()).unwrap();
        (path, store)
    }

    fn read(path: &Path) -> Result<LoadedVelocity, WeightsError> {
        load_velocity(registry::find("unet_small_8").unwrap(), path, None)
    }

    #[test]
    fn prefixes_heads_and_absent_filters() {
        let folder = tempfile::tempdir().unwrap();
        for prefix in ["", "module.", "model.", "encoder.", "module.model."] {
            let (path, store) = file(folder.path(), prefix, |state| {
                state.retain(|name, _| !is_filter(name));
                let labels = Tensor::zeros((16, 9), DType::F32, &Device::Cpu).unwrap();
                state.insert(format!("{prefix}map_augment.weight"), labels);
            });
            let loaded = read(&path).unwrap();
            assert_eq!(loaded.network.heads(), 2, "{prefix}");
            assert_eq!(loaded.report.ignored, ["map_augment.weight"], "{prefix}");
            assert!(loaded.store.state().keys().eq(store.state().keys()));
            for (name, tensor) in loaded.store.state() {
                let values = |tensor: &Tensor| -> Vec<f32> {
                    tensor.flatten_all().unwrap().to_vec1().unwrap()
                };
                assert_eq!(
                    values(&tensor),
                    values(&store.get(&name).unwrap()),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn another_filter_and_another_network_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = file(folder.path(), "", |state| {
            for (name, tensor) in state.iter_mut() {
                if is_filter(name) {
                    *tensor = (&*tensor * 0.5).unwrap();
                }
            }
        });
        let message = read(&path).err().unwrap().to_string();
        assert!(message.contains("mean of 2x2"), "{message}");
        let (path, _) = file(folder.path(), "", |state| {
            state.remove("map_layer0.bias");
        });
        let message = read(&path).err().unwrap().to_string();
        assert!(message.contains("missing: map_layer0.bias"), "{message}");
        let other = registry::find("cud_mnist").unwrap();
        let message = load_velocity(other, &path, None).err().unwrap().to_string();
        assert!(message.contains("cud_mnist"), "{message}");
    }
}
