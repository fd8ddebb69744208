//! Diffusion in few steps: Catch-Up Distillation (Shao et al. 2023, arXiv:2305.10769), its baselines,
//! samplers and measures of samples.
//!
//! | module | what |
//! | --- | --- |
//! | [`objectives`] | flow matching, Catch-Up, Consistency and Progressive Distillation as functions of tensors |
//! | [`samplers`] | from noise to data along any velocity |
//! | [`measures`] | distances between distributions, straightness |
//! | [`pictures`] | samples and trajectories as PNG |
//!
//! [`train_diffusion`] runs a [`DiffusionConfig`] in a run directory; [`load_network`] and
//! [`generate()`] draw from what it left.
//!
//! Time runs from 0 (data) to 1 (noise), x_t = t z + (1 − t) x, and images lie in −1 … 1.

mod additional;
mod config;
mod error;
mod features;
mod generate;
mod learner;
pub mod measures;
mod monitor;
mod noise;
pub mod objectives;
pub mod pictures;
mod point_scores;
mod presets;
pub mod samplers;
mod saved;
mod source;
mod toy;
mod training;

pub use config::{
    AdditionalConfig, ConsistencyConfig, DiffusionConfig, EvaluationConfig, Method,
    ProgressiveConfig, TeacherConfig,
};
pub use error::{DiffusionError, Result};
pub use features::ImageFeatures;
pub use generate::{Generation, generate};
pub use learner::{Learner, Lesson, velocity_of};
pub use monitor::{Monitor, SAMPLES_PICTURE, TRAJECTORIES_PICTURE};
pub use noise::sample_noise;
pub use point_scores::{PointScores, point_reference, point_scores};
pub use presets::{adam, adam_training};
pub use saved::{METADATA_KEY, Origin, SavedNetwork, load_network};
pub use source::{Data, DiffusionBatch, Source, TrainingBatches};
pub use toy::Toy;
pub use training::{
    ONE_STEP_FILE, TEACHER_FOLDER, Trained, check_settings, stage_folder, train_diffusion,
};
