//! A plain classifier: one network, its labels, one seed.

use crate::config::cifar_training;
use crate::data::ClassifierData;
use crate::error::DistillError;
use crate::evaluate::{Scores, score};
use crate::metadata::model_metadata;
use crate::objective::Distillation;
use crate::recipe::LossRecipe;
use crate::student::Student;
use serde::{Deserialize, Serialize};
use std::sync::atomic::AtomicBool;
use taper_data::{AugmentationPolicy, DataSpec};
use taper_layers::ParameterStore;
use taper_train::{MODEL_FILE, Outcome, Progress, RunDirectory, TrainConfig};
use taper_vision::registry;

/// All settings of a plain training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierConfig {
    /// The network's name in the zoo.
    pub model: String,
    /// The data set.
    pub data: DataSpec,
    /// Fixes initialisation, data order and augmentation.
    #[serde(default)]
    pub seed: u64,
    /// Images a step.
    pub batch: usize,
    /// Augmentation of the training images; absent: the usual one of the data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<AugmentationPolicy>,
    /// ε of the label smoothing.
    #[serde(default)]
    pub label_smoothing: f64,
    /// The loop.
    pub training: TrainConfig,
}

impl ClassifierConfig {
    /// The recipe of NORM's CIFAR-100 teachers and baselines (method card, section 6) for `epochs`.
    pub fn new(model: &str, data: DataSpec, epochs: u64) -> Self {
        Self {
            model: model.to_string(),
            data,
            seed: 0,
            batch: 64,
            augmentation: None,
            label_smoothing: 0.0,
            training: cifar_training(epochs, 0.05),
        }
    }
}

/// Trains a classifier in `run` and scores the saved network; `None` when `stop` was set.
///
/// # Errors
/// Settings that name no network, data that cannot be read, a training that fails.
pub fn train_classifier(
    config: &ClassifierConfig,
    run: &RunDirectory,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Result<Option<Scores>, DistillError> {
    let entry = registry::find(&config.model)?;
    config.training.validate()?;
    let data = ClassifierData::open(&config.data, entry.input, None)?;
    let student = Student::new(entry, data.classes(), None, 0)?;
    let metadata = model_metadata(&student, &data)?;
    let recipe = LossRecipe {
        label_smoothing: config.label_smoothing,
        ..LossRecipe::cross_entropy()
    };
    let store = ParameterStore::new(config.seed, &candle_core::Device::Cpu);
    let mut source = data.source(config.batch, config.seed, config.augmentation.as_ref())?;
    let mut objective = Distillation::new(student, &store, None, recipe, &data, metadata)?;
    let outcome = taper_train::train(
        &config.training,
        &store,
        &mut objective,
        &mut source,
        run,
        progress,
        stop,
    )?;
    if let Outcome::Interrupted { .. } = outcome {
        return Ok(None);
    }
    let loaded = taper_weights::load_classifier(entry, run.file(MODEL_FILE))?;
    Ok(Some(score(&data, &loaded)?))
}
