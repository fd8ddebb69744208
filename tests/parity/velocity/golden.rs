//! What the golden files say of each network.

use anyhow::{Context, Result};
use candle_core::Tensor;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use taper::velocity::VelocityConfig;
use taper_tests::compare::values;

/// What the script wrote about one network.
#[derive(Debug, Deserialize)]
pub struct Expected {
    pub config: VelocityConfig,
    /// Whether it is in the registry.
    pub registered: bool,
    /// Whether it ran; the largest are only counted.
    pub run: bool,
    /// Height and width of x.
    pub side: usize,
    pub times: Vec<f64>,
    pub parameters: usize,
    pub tensors: usize,
    pub macs: u64,
    /// FNV-1a of the lines "name shape", ordered by name.
    pub keys: String,
    /// Parameters whose gradients are compared.
    #[serde(default)]
    pub gradients: Vec<String>,
    #[serde(default)]
    pub loss: f64,
}

#[derive(Debug, Deserialize)]
struct Manifest {
    seed: u64,
    batch: usize,
    networks: BTreeMap<String, Expected>,
}

/// Manifest and arrays.
pub struct Golden {
    pub seed: u64,
    pub batch: usize,
    pub networks: BTreeMap<String, Expected>,
    arrays: HashMap<String, Tensor>,
}

impl Golden {
    pub fn load() -> Result<Self> {
        let (manifest, arrays): (Manifest, _) = taper_tests::golden::load("velocity")?;
        Ok(Self {
            seed: manifest.seed,
            batch: manifest.batch,
            networks: manifest.networks,
            arrays,
        })
    }

    /// The rows of an array.
    pub fn rows(&self, network: &str, array: &str) -> Result<Vec<Vec<f64>>> {
        let name = format!("{network}.{array}");
        let tensor = self.arrays.get(&name).with_context(|| name.clone())?;
        (0..tensor.dim(0)?)
            .map(|row| values(&tensor.get(row)?))
            .collect()
    }
}
