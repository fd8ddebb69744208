//! The training loop: optimisers, schedules, checkpoints, metrics, progress.
//!
//! One loop serves every method. A method is an [`Objective`]: it turns a batch into named loss
//! terms. A [`BatchSource`] gives the batches. [`train`] does the rest inside a [`RunDirectory`]:
//! gradients, clipping, the update, the average, the schedule, checkpoints, metrics, pictures.
//!
//! Killed at any instant and started again, a training ends on the CPU with the same bits.

mod accuracy;
mod checkpoint;
mod checkpoint_writer;
mod clip;
mod clock;
mod config;
mod ema;
mod error;
mod files;
mod groups;
mod last_epoch;
mod lock;
mod meter;
mod metrics;
mod objective;
pub mod optimizer;
pub mod plot;
mod position;
mod progress;
mod report;
mod run_directory;
mod schedule;
mod stack;
mod state;
mod step;
mod trainer;

pub use accuracy::top_k_correct;
pub use clip::{clip_global_norm, global_norm};
pub use clock::Seconds;
pub use config::{OptimizerConfig, TrainConfig};
pub use ema::Ema;
pub use error::{Result, TrainError};
pub use groups::{ParameterGroup, ParameterSettings};
pub use meter::{MeanMeter, Meters};
pub use metrics::{
    EpochRecord, Metrics, Record, SCHEMA, StepRecord, Summary, read_epochs, read_records,
};
pub use objective::{BatchSource, Batches, Losses, Objective};
pub use position::Position;
pub use progress::Progress;
pub use run_directory::{
    CHECKPOINT_FOLDER, CONFIG_FILE, METRICS_FILE, MODEL_FILE, PLOTS_FOLDER, REPORT_FILE,
    RunDirectory,
};
pub use schedule::{Decay, Schedule, Warmup};
pub use stack::{TRAINING_STACK, run_on_big_stack};
pub use trainer::{Outcome, train};
