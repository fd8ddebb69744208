//! What the golden files say of each network.

use anyhow::{Context, Result};
use candle_core::Tensor;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use taper_tests::compare::values;

/// What the script wrote about one model.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    pub classes: usize,
    /// Width of the generated convolutions.
    pub gain: f64,
    pub parameters: usize,
    pub tensors: usize,
    pub macs: u64,
    /// FNV-1a of the lines "name dtype shape", ordered by name.
    pub keys: String,
    /// Channels and stride of every stage.
    pub stages: Vec<(usize, usize)>,
    /// Batch norms whose running statistics are compared after a training pass.
    pub running: Vec<String>,
    /// Parameters whose gradients are compared.
    pub gradients: Vec<String>,
    /// How far PyTorch's own f32 gradients are from these: large where rounding flips a ReLU.
    pub gradient_error_f32: f64,
    /// Cross-entropy of the training pass.
    pub loss: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    seed: u64,
    batch: usize,
    side: usize,
    models: BTreeMap<String, Expected>,
}

/// Manifest and arrays.
pub struct Golden {
    pub seed: u64,
    pub batch: usize,
    pub side: usize,
    pub models: BTreeMap<String, Expected>,
    arrays: HashMap<String, Tensor>,
}

impl Golden {
    pub fn load() -> Result<Self> {
        let (manifest, arrays): (Manifest, _) = taper_tests::golden::load("vision")?;
        Ok(Self {
            seed: manifest.seed,
            batch: manifest.batch,
            side: manifest.side,
            models: manifest.models,
            arrays,
        })
    }

    /// The rows of an array; a matrix has its own, anything else is one.
    pub fn rows(&self, model: &str, array: &str) -> Result<Vec<Vec<f64>>> {
        let name = format!("{model}.{array}");
        let tensor = self.arrays.get(&name).with_context(|| name.clone())?;
        let rows = match array {
            "eval.stages" | "train.gradients" => tensor.clone(),
            "train.running" => tensor.flatten(0, 1)?,
            _ => tensor.flatten_all()?.unsqueeze(0)?,
        };
        (0..rows.dim(0)?)
            .map(|row| values(&rows.get(row)?))
            .collect()
    }
}
