//! A classifier of the zoo with the weights of a file.

use crate::compare::{Difference, compare_with_network};
use crate::fit::wrapper_prefix;
use crate::merge::unfold_batch_norm;
use crate::{Checkpoint, FitReport, TensorFile, WeightsError, fit, load};
use candle_core::{DType, Device};
use std::collections::BTreeMap;
use std::path::Path;
use taper_layers::ParameterStore;
use taper_vision::registry::CONFIG_METADATA_KEY;
use taper_vision::{Classifier, ModelConfig, ModelEntry};

/// Key of the metadata under which Taper keeps the [`InputNormalisation`] as JSON.
pub const NORMALISATION_METADATA_KEY: &str = "taper.normalisation";

/// What a network's training images were normalised with, a channel; pixels are in 0..1.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct InputNormalisation {
    /// Subtracted.
    pub mean: Vec<f32>,
    /// Divided by.
    pub std: Vec<f32>,
}

/// A frozen classifier, and what its file told.
pub struct LoadedClassifier {
    /// For evaluation: keeps no graph.
    pub model: Box<dyn Classifier>,
    /// Its configuration: classes and flags as in the file.
    pub config: ModelConfig,
    /// Its tensors.
    pub store: ParameterStore,
    /// What was taken and what was left.
    pub report: FitReport,
    /// From the file's metadata where it tells, else as the registry says.
    pub normalisation: InputNormalisation,
}

/// Reads `path` into the network of `entry`; the number of classes is the file's.
///
/// # Errors
/// [`WeightsError`] naming the file and the tensors that do not fit.
pub fn load_classifier(
    entry: &'static ModelEntry,
    path: impl AsRef<Path>,
) -> Result<LoadedClassifier, WeightsError> {
    classifier_of(entry, load(path)?)
}

/// [`load_classifier`] of a file that was read.
pub(crate) fn classifier_of(
    entry: &'static ModelEntry,
    mut checkpoint: Checkpoint,
) -> Result<LoadedClassifier, WeightsError> {
    let config = config_of(entry, &checkpoint)?;
    let recorder = taper_layers::ShapeRecorder::default();
    config.build(recorder.var_builder())?;
    unfold_batch_norm(&mut checkpoint, &recorder.tensors())?;
    let store = ParameterStore::new(0, &Device::Cpu);
    let report = fit(
        &checkpoint,
        entry.name,
        &recorder.tensors(),
        &|name| entry.ignorable(name),
        &store,
    )?;
    let model = config.build(store.frozen(DType::F32))?;
    let normalisation = normalisation_of(entry, &config, &checkpoint)?;
    Ok(LoadedClassifier {
        model,
        config,
        store,
        report,
        normalisation,
    })
}

/// The configuration in the file's metadata, else the one that its names and shapes tell.
fn config_of(entry: &ModelEntry, checkpoint: &Checkpoint) -> Result<ModelConfig, WeightsError> {
    let shapes = checkpoint
        .tensors
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.dims().to_vec()))
        .collect();
    configuration(entry, &checkpoint.metadata, &shapes).map_err(|details| WeightsError::Misfit {
        path: checkpoint.path.clone(),
        model: entry.name.to_string(),
        details,
    })
}

/// The configuration that metadata or shapes tell; the reason when they tell none of `entry`'s.
fn configuration(
    entry: &ModelEntry,
    metadata: &BTreeMap<String, String>,
    shapes: &BTreeMap<String, Vec<usize>>,
) -> Result<ModelConfig, String> {
    let Some(text) = metadata.get(CONFIG_METADATA_KEY) else {
        return entry.config_for(shapes).map_err(|error| error.to_string());
    };
    let config: ModelConfig = serde_json::from_str(text)
        .map_err(|error| format!("metadata {CONFIG_METADATA_KEY}: {error}"))?;
    // The same network up to classes and flags; another name of the zoo is a mistake.
    match same_network(entry, &config) {
        true => Ok(config),
        false => Err(format!("its metadata describes another network: {text}")),
    }
}

/// How the file at hand differs from the network of `entry`, and the number of classes.
///
/// Only names, types and shapes are read.
///
/// # Errors
/// What Candle reports. The inner error is the reason why no configuration of the network fits.
#[allow(clippy::type_complexity)]
pub fn fit_of(
    file: &TensorFile,
    entry: &'static ModelEntry,
    classes: Option<usize>,
) -> Result<Result<(Difference, usize), String>, WeightsError> {
    let shapes = file
        .entries()
        .iter()
        .map(|tensor| (tensor.name.clone(), tensor.shape.clone()))
        .collect();
    let config = match configuration(entry, file.metadata(), &shapes) {
        Ok(config) => config,
        Err(reason) => return Ok(Err(reason)),
    };
    if let Some(classes) = classes.filter(|classes| *classes != config.classes()) {
        return Ok(Err(format!(
            "{} classes, expected {classes}",
            config.classes()
        )));
    }
    let recorder = taper_layers::ShapeRecorder::default();
    config.build(recorder.var_builder())?;
    let expected = crate::merge::folded_tensors(file.metadata(), recorder.tensors());
    let known = |name: &str| expected.iter().any(|info| info.name == name);
    let names: Vec<&str> = shapes.keys().map(String::as_str).collect();
    let prefix = wrapper_prefix(&names, &known);
    let ignorable = |name: &str| entry.ignorable(name);
    let difference = compare_with_network(file, prefix.len(), &expected, &ignorable);
    Ok(Ok((difference, config.classes())))
}

/// Whether `config` is `entry`'s, up to the number of classes and the flags of a distilled student.
fn same_network(entry: &ModelEntry, config: &ModelConfig) -> bool {
    let mut plain = config.clone().with_classes(entry.classes);
    match &mut plain {
        ModelConfig::WideResnet(config) => config.transform = false,
        ModelConfig::MobilenetV2(config) => config.final_relu = true,
        _ => {}
    }
    plain == entry.default_config()
}

fn normalisation_of(
    entry: &ModelEntry,
    config: &ModelConfig,
    checkpoint: &Checkpoint,
) -> Result<InputNormalisation, WeightsError> {
    if let Some(text) = checkpoint.metadata.get(NORMALISATION_METADATA_KEY) {
        return metadata(checkpoint, NORMALISATION_METADATA_KEY, text);
    }
    let known = entry.normalisation(config.classes());
    Ok(InputNormalisation {
        mean: known.mean.to_vec(),
        std: known.std.to_vec(),
    })
}

fn metadata<T: serde::de::DeserializeOwned>(
    checkpoint: &Checkpoint,
    key: &str,
    text: &str,
) -> Result<T, WeightsError> {
    serde_json::from_str(text).map_err(|error| WeightsError::Format {
        path: checkpoint.path.clone(),
        reason: format!("metadata {key}: {error}"),
    })
}
