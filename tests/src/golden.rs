//! Golden files: a manifest in JSON, arrays in safetensors.

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::path::Path;

/// The manifest and the arrays by name of `parity/NAME`.
///
/// # Errors
/// If a file cannot be read, or the manifest is not an `M`.
pub fn load<M: DeserializeOwned>(name: &str) -> Result<(M, HashMap<String, Tensor>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("parity")
        .join(name);
    let manifest = folder.join("golden.json");
    let text = std::fs::read_to_string(&manifest)?;
    let manifest = serde_json::from_str(&text).with_context(|| manifest.display().to_string())?;
    let arrays = candle_core::safetensors::load(folder.join("golden.safetensors"), &Device::Cpu)?;
    Ok((manifest, arrays))
}
