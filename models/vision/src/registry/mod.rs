//! Every model of this crate: name, shape, size, stages, head, known weights.

mod entries;
mod weights;

pub use entries::MODELS;

use crate::{ModelConfig, UnknownModel, VisionError};
use std::collections::BTreeMap;
use taper_layers::{ShapeRecorder, TensorInfo, names};

/// Key of a safetensors file's metadata under which Taper keeps the [`ModelConfig`] as JSON:
/// names and shapes alone do not tell whether a MobileNetV2 has its last ReLU.
pub const CONFIG_METADATA_KEY: &str = "taper.model";

/// Prefixes that training scripts put before every name (data-parallel wrappers and the like).
pub const PREFIXES: [&str; 4] = ["module.", "_orig_mod.", "model.", "encoder."];

/// One row of the registry.
#[derive(Debug)]
#[non_exhaustive]
pub struct ModelEntry {
    /// Registered name, lower case.
    pub name: &'static str,
    /// What the model answers: `classify`.
    pub task: &'static str,
    /// The tag of its [`ModelConfig`].
    pub family: &'static str,
    /// Its configuration for a number of classes.
    pub config: fn(usize) -> ModelConfig,
    /// Number of classes where nothing else is said: that of the original or of its weights.
    pub classes: usize,
    /// Channels, height and width of the image it was made for.
    pub input: [usize; 3],
    /// Learnt numbers at the default number of classes.
    pub parameters: usize,
    /// Tensors of the state, batch norm's counters included.
    pub tensors: usize,
    /// Multiply-adds of convolutions and linear layers for one image.
    pub macs: u64,
    /// The feature maps of [`Features::stages`](crate::Features::stages), in order.
    pub stages: &'static [Stage],
    /// The last linear layer.
    pub head: Head,
    /// Mean and deviation of its training images; [`ModelEntry::normalisation`] knows the weights' own.
    pub default_normalisation: Normalisation,
    /// First parts of names that published files carry and no forward pass reads.
    pub unused: &'static [&'static str],
    /// Published weights that fit.
    pub weights: &'static [KnownWeights],
}

/// Channels of a feature map, and how many input pixels one step of it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// Number of channels.
    pub channels: usize,
    /// Input height over the map's height.
    pub stride: usize,
}

/// The last linear layer, and what lies between it and the last feature map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Name of its weight `[classes, channels · positions]`.
    pub weight: &'static str,
    /// Name of its bias `[classes]`.
    pub bias: &'static str,
    /// Whether a mean over pixels and the linear layer follow [`Trunk::last`](crate::Trunk::last)
    /// directly, so that a linear map of the channels folds into the weight.
    pub foldable: bool,
    /// Pixels that the pool leaves; column `channel · positions + position` of the weight.
    pub positions: usize,
}

/// Mean and standard deviation a channel, for pixels in 0..1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalisation {
    /// Subtracted.
    pub mean: [f32; 3],
    /// Divided by.
    pub std: [f32; 3],
}

/// A published file of weights.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct KnownWeights {
    /// File name.
    pub file: &'static str,
    /// GitHub repository and commit.
    pub source: &'static str,
    /// Address of the folder that holds the file, of that commit.
    pub folder: &'static str,
    /// Size of the file.
    pub bytes: u64,
    /// Licence, as an SPDX expression.
    pub licence: &'static str,
    /// Training set.
    pub dataset: &'static str,
    /// Number of classes.
    pub classes: usize,
    /// Top-1 accuracy on the test set in percent, measured with the original in f32.
    pub accuracy: f64,
    /// What the images were normalised with.
    pub normalisation: Normalisation,
    /// SHA-256 of the file.
    pub sha256: &'static str,
}

impl KnownWeights {
    /// Where the file is published.
    pub fn url(&self) -> String {
        format!("{}/{}", self.folder, self.file)
    }
}

/// The entry of that name; case and `-`, `_`, `.` do not matter.
///
/// # Errors
/// [`UnknownModel`], which lists the three nearest names.
pub fn find(name: &str) -> Result<&'static ModelEntry, UnknownModel> {
    let wanted = names::fold(name);
    let found = MODELS
        .iter()
        .find(|entry| names::fold(entry.name) == wanted);
    found.ok_or_else(|| UnknownModel::among(name, MODELS.iter().map(|entry| entry.name)))
}

/// The entries whose name matches `glob` (`*` any run of characters, `?` one), in natural order.
pub fn list(glob: &str) -> Vec<&'static ModelEntry> {
    let pattern = names::fold(glob);
    let mut found: Vec<_> = MODELS
        .iter()
        .filter(|entry| names::matches(&pattern, &names::fold(entry.name)))
        .collect();
    found.sort_by(|a, b| names::natural_order(a.name, b.name));
    found
}

/// Whether `name` matches `glob`, as [`list`] compares them.
pub fn matches(glob: &str, name: &str) -> bool {
    names::matches(&names::fold(glob), &names::fold(name))
}

/// A name of a file without the [`PREFIXES`] before it.
pub fn strip_prefixes(mut name: &str) -> &str {
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    name
}

impl ModelEntry {
    /// The configuration at the default number of classes.
    pub fn default_config(&self) -> ModelConfig {
        (self.config)(self.classes)
    }

    /// Name, type and shape of every tensor of the state, ordered by name.
    ///
    /// # Errors
    /// `classes` is 0.
    pub fn tensor_list(&self, classes: usize) -> candle_core::Result<Vec<TensorInfo>> {
        let recorder = ShapeRecorder::default();
        (self.config)(classes).build(recorder.var_builder())?;
        Ok(recorder.tensors())
    }

    /// The configuration that fits a file's tensors: number of classes from the head's weight,
    /// flags from the names present. `tensors` is name → shape; [`PREFIXES`] do not matter.
    ///
    /// # Errors
    /// [`VisionError::MissingHead`], [`VisionError::HeadShape`].
    pub fn config_for(
        &self,
        tensors: &BTreeMap<String, Vec<usize>>,
    ) -> Result<ModelConfig, VisionError> {
        let named = |wanted: &str| {
            let mut all = tensors.iter();
            all.find_map(|(name, shape)| (strip_prefixes(name) == wanted).then_some(shape))
        };
        let (model, tensor) = (self.name, self.head.weight);
        let columns = self.head_columns()?;
        let found = named(tensor).ok_or(VisionError::MissingHead {
            model,
            tensor,
            columns,
        })?;
        let classes = match found[..] {
            [classes, width] if classes > 0 && width == columns => classes,
            _ => {
                return Err(VisionError::HeadShape {
                    model,
                    tensor,
                    found: found.clone(),
                    columns,
                });
            }
        };
        let mut config = (self.config)(classes);
        if let ModelConfig::WideResnet(config) = &mut config {
            config.transform = named("transform.weight").is_some();
        }
        Ok(config)
    }

    fn head_columns(&self) -> candle_core::Result<usize> {
        let tensors = self.tensor_list(1)?;
        let weight = tensors.iter().find(|info| info.name == self.head.weight);
        Ok(weight
            .and_then(|info| info.shape.get(1).copied())
            .unwrap_or(0))
    }

    /// Whether a file may carry this tensor although the model has no use for it.
    ///
    /// NORM's student classes hold parameters that their forward pass never reads
    /// (`OSVAI/NORM models/cifar/*_student.py`).
    pub fn ignorable(&self, name: &str) -> bool {
        let name = strip_prefixes(name);
        self.unused.iter().any(|unused| {
            name.strip_prefix(unused)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// Whether a file may lack this tensor: batch norm's counter, which PyTorch before 0.4.1 did not write.
    pub fn optional(name: &str) -> bool {
        name.ends_with("num_batches_tracked")
    }

    /// What images are normalised with: as the known weights for that many classes, else as the family.
    pub fn normalisation(&self, classes: usize) -> Normalisation {
        let known = self.weights.iter().find(|known| known.classes == classes);
        known.map_or(self.default_normalisation, |known| known.normalisation)
    }
}

#[cfg(test)]
mod tests;
