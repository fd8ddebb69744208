//! Folds NORM's module out of a student's file, as the end of a training does.

use crate::error::DistillError;
use crate::recipe::TransformRecipe;
use crate::student::Student;
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use taper_layers::{ParameterStore, ShapeRecorder};
use taper_vision::{ModelConfig, ModelEntry, registry};
use taper_weights::{Checkpoint, fit};

/// Images on which the merged network is compared with the student in training.
const PROBE_IMAGES: usize = 4;

/// A plain network without NORM's module.
#[derive(Debug, Clone)]
pub struct MergedStudent {
    /// Its tensors.
    pub state: BTreeMap<String, Tensor>,
    /// Its configuration.
    pub config: ModelConfig,
    /// What a person should know, where the merge is not the plain one.
    pub remark: Option<&'static str>,
}

/// Merges the NORM student of `entry` in `checkpoint`: its own tensors and those of the module,
/// `layer31.*` and `layer32.*` (four-stage networks: `layer41.*`, `layer42.*`).
///
/// `residual` tells the "default FT" (with the student's feature added) from the "plain FT": the
/// tensors are the same (NORM's method card, section 3).
///
/// # Errors
/// The file does not fit, has no such module, or [`DistillError::Merge`].
pub fn merge_checkpoint(
    entry: &'static ModelEntry,
    checkpoint: &Checkpoint,
    residual: bool,
) -> Result<MergedStudent, DistillError> {
    let misfit = |details: String| taper_weights::WeightsError::Misfit {
        path: checkpoint.path.clone(),
        model: entry.name.to_string(),
        details,
    };
    let shapes: BTreeMap<String, Vec<usize>> = checkpoint
        .tensors
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.dims().to_vec()))
        .collect();
    let config = entry
        .config_for(&shapes)
        .map_err(|error| misfit(error.to_string()))?;
    let expand = shapes.iter().find_map(|(name, shape)| {
        let module = registry::strip_prefixes(name);
        let found = ["layer31.0.weight", "layer41.0.weight"].contains(&module);
        found.then(|| shape.first().copied().unwrap_or(0))
    });
    let Some(wide) = expand else {
        return Err(misfit(
            "no module of NORM in it: layer31.0.weight (or layer41.0.weight) is missing".into(),
        )
        .into());
    };
    // The merge multiplies both convolutions: how their channels are cut into slices does not matter.
    let recipe = TransformRecipe {
        slices: 1,
        residual,
    };
    let student = Student::new(entry, config.classes(), Some(recipe), wide)?;
    let recorder = ShapeRecorder::default();
    student.build(recorder.var_builder())?;
    let store = ParameterStore::new(0, &Device::Cpu);
    let ignorable = |name: &str| entry.ignorable(name);
    fit(
        checkpoint,
        entry.name,
        &recorder.tensors(),
        &ignorable,
        &store,
    )?;
    let state = student.merge(store.state(), &probe(entry.input)?)?;
    Ok(MergedStudent {
        state,
        config: student.merged_config(),
        remark: student.merge_remark(),
    })
}

/// Waves of many lengths: `[4, channels, height, width]`, about as large as normalised images.
fn probe([channels, height, width]: [usize; 3]) -> candle_core::Result<Tensor> {
    let count = PROBE_IMAGES * channels * height * width;
    let wave = |i: usize| {
        let i = i as f64;
        (i * 0.7).sin() + (i * i * 0.013).cos()
    };
    let values: Vec<f64> = (0..count).map(wave).collect();
    let shape = (PROBE_IMAGES, channels, height, width);
    Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(DType::F32)
}
