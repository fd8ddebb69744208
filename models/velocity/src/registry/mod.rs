//! Every network of this crate: name, shape, size, preconditioning.

mod entries;

pub use entries::MODELS;

use crate::{Preconditioning, VelocityConfig};
use std::collections::{BTreeMap, BTreeSet};
use taper_layers::{ShapeRecorder, TensorInfo, UnknownModel, names};

/// Key of a safetensors file's metadata under which Taper keeps the [`VelocityConfig`] as JSON:
/// names and shapes alone do not tell the skip balance.
pub const CONFIG_METADATA_KEY: &str = "taper.velocity";

/// Last part of the names of fixed filters, which files may lack.
pub const RESAMPLE_FILTER: &str = "resample_filter";
/// The one value of such a filter's elements that the networks know: the mean of 2x2 pixels.
pub const RESAMPLE_FILTER_VALUE: f64 = 0.25;

/// One row of the registry.
#[derive(Debug)]
#[non_exhaustive]
pub struct VelocityEntry {
    /// Registered name, lower case.
    pub name: &'static str,
    /// What the network answers: `velocity`, `coupling` or `denoise`.
    pub task: &'static str,
    /// The tag of its [`VelocityConfig`].
    pub family: &'static str,
    /// Its configuration.
    pub config: fn() -> VelocityConfig,
    /// Shape of one sample.
    pub input: &'static [usize],
    /// Learnt numbers.
    pub parameters: usize,
    /// Tensors of the state, fixed filters included.
    pub tensors: usize,
    /// Multiply-adds of convolutions and linear layers for one sample.
    pub macs: u64,
    /// How the published weights make a denoiser of the network.
    pub preconditioning: Option<Preconditioning>,
}

/// The entry of that name; case and `-`, `_`, `.` do not matter.
///
/// # Errors
/// [`UnknownModel`], which lists the three nearest names.
pub fn find(name: &str) -> Result<&'static VelocityEntry, UnknownModel> {
    let wanted = names::fold(name);
    let found = MODELS
        .iter()
        .find(|entry| names::fold(entry.name) == wanted);
    found.ok_or_else(|| UnknownModel::among(name, MODELS.iter().map(|entry| entry.name)))
}

/// The entries whose name matches `glob` (`*` any run of characters, `?` one), in natural order.
pub fn list(glob: &str) -> Vec<&'static VelocityEntry> {
    let pattern = names::fold(glob);
    let mut found: Vec<_> = MODELS
        .iter()
        .filter(|entry| names::matches(&pattern, &names::fold(entry.name)))
        .collect();
    found.sort_by(|a, b| names::natural_order(a.name, b.name));
    found
}

/// Name, type and shape of every tensor of a network's state, ordered by name.
///
/// # Errors
/// A configuration that describes no network.
pub fn tensor_list(config: &VelocityConfig) -> candle_core::Result<Vec<TensorInfo>> {
    let recorder = ShapeRecorder::default();
    config.build(recorder.var_builder())?;
    Ok(recorder.tensors())
}

impl VelocityEntry {
    /// The configuration that fits a file's tensors: heads, classes and augmentation labels as it has them.
    ///
    /// `tensors` is name → shape, wrappers' prefixes taken off.
    pub fn config_for(&self, tensors: &BTreeMap<String, Vec<usize>>) -> VelocityConfig {
        let mut config = (self.config)();
        let extent = |name: &str, axis: usize| {
            let shape = tensors.get(name)?;
            shape.get(axis).copied()
        };
        match &mut config {
            VelocityConfig::Mlp(config) => config.heads = count(tensors, "heads.").max(1),
            VelocityConfig::SongUnet(config) => {
                config.heads = 1 + count(tensors, "generator_list.");
                config.classes = extent("map_label.weight", 1);
                // Files of networks that have no use for it may carry it all the same.
                config.augment = config.augment.and(extent("map_augment.weight", 1));
            }
            VelocityConfig::Adm(config) => {
                config.heads = 1 + count(tensors, "generator_list.");
                let edm = extent("map_label.weight", 1);
                config.classes = edm.or_else(|| extent("label_emb.weight", 0));
                config.augment = extent("map_augment.weight", 1);
            }
        }
        config
    }

    /// Whether `config` is this entry's, up to heads, classes, labels, skip balance and dropout.
    pub fn same_network(&self, config: &VelocityConfig) -> bool {
        let plain = |config: VelocityConfig| {
            let mut config = config.with_heads(1).with_phi(None);
            match &mut config {
                VelocityConfig::Mlp(_) => {}
                VelocityConfig::SongUnet(config) => {
                    (config.classes, config.augment, config.dropout) = (None, None, 0.0);
                }
                VelocityConfig::Adm(config) => {
                    (config.classes, config.augment, config.dropout) = (None, None, 0.0);
                }
            }
            config
        };
        plain(config.clone()) == plain((self.config)())
    }

    /// Whether a file may carry this tensor although the network has no use for it: EDM's augmentation
    /// labels, and filters under the names of layers that have none here.
    pub fn ignorable(name: &str) -> bool {
        name == "map_augment.weight" || is_filter(name)
    }
}

/// Whether a tensor of that name is a fixed filter.
pub fn is_filter(name: &str) -> bool {
    name.rsplit('.').next() == Some(RESAMPLE_FILTER)
}

/// How many numbers follow `prefix` in the names.
fn count(tensors: &BTreeMap<String, Vec<usize>>, prefix: &str) -> usize {
    let numbers: BTreeSet<&str> = tensors
        .keys()
        .filter_map(|name| name.strip_prefix(prefix)?.split('.').next())
        .collect();
    numbers.len()
}
