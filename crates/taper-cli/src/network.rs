//! From a name and a file to a network.

use crate::download;
use crate::output::Output;
use anyhow::Context;
use std::path::Path;
use taper::layers::UnknownModel;
use taper::vision::{ModelEntry, registry};
use taper::weights::LoadedClassifier;

/// The classifier of that name.
pub fn entry(name: &str) -> anyhow::Result<&'static ModelEntry> {
    if let Ok(entry) = taper::velocity::registry::find(name) {
        anyhow::bail!(
            "model {}: is a velocity network; this command reads a classifier",
            entry.name
        );
    }
    Ok(registry::find(name).map_err(|_| unknown(name))?)
}

/// An error with the nearest names of the whole zoo.
pub fn unknown(name: &str) -> UnknownModel {
    let velocity = taper::velocity::registry::MODELS.iter();
    let classifiers = registry::MODELS.iter().map(|entry| entry.name);
    UnknownModel::among(name, classifiers.chain(velocity.map(|entry| entry.name)))
}

/// The network of `entry` with the weights of `path`, fetched if it names some of the hub;
/// `classes`, if given, must agree.
pub fn load(
    entry: &'static ModelEntry,
    path: &Path,
    classes: Option<usize>,
    output: &Output,
) -> anyhow::Result<LoadedClassifier> {
    let path = &download::weights(path, output)?;
    let loaded = taper::weights::load_classifier(entry, path)
        .with_context(|| format!("--weights {}", path.display()))?;
    if let Some(classes) = classes
        && classes != loaded.config.classes()
    {
        anyhow::bail!(
            "--classes {classes}: {} has {} classes",
            path.display(),
            loaded.config.classes()
        );
    }
    Ok(loaded)
}
