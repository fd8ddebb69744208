//! From a name and a file to a network.

use anyhow::Context;
use std::path::Path;
use taper::vision::{ModelEntry, registry};
use taper::weights::LoadedClassifier;

/// The zoo's entry of that name.
pub fn entry(name: &str) -> anyhow::Result<&'static ModelEntry> {
    Ok(registry::find(name)?)
}

/// The network of `entry` with the weights of `path`; `classes`, if given, must agree.
pub fn load(
    entry: &'static ModelEntry,
    path: &Path,
    classes: Option<usize>,
) -> anyhow::Result<LoadedClassifier> {
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
