//! The training loop: optimisers, schedules, checkpoints, metrics, progress.
//!
//! One loop serves every method. A method is an [`Objective`]: it turns a batch into named loss
//! terms. A [`BatchSource`] gives the batches. [`train`] does the rest inside a [`RunDirectory`]:
//! gradients, clipping, the update, the average, the schedule, checkpoints, metrics, pictures.
//!
//! Killed at any instant and started again, a training ends on the CPU with the same bits.
//!
//! A straight line through points, as a whole training:
//!
//! ```
//! use candle_core::{DType, Device, Module, Tensor};
//! use std::collections::BTreeMap;
//! use std::sync::atomic::AtomicBool;
//! use taper_layers::{Linear, ParameterStore};
//! use taper_train::*;
//!
//! struct Line(Linear);
//!
//! impl Objective for Line {
//!     type Batch = (Tensor, Tensor);
//!
//!     fn losses(&mut self, (x, y): &Self::Batch, _: &Position) -> Result<Losses> {
//!         let error = (self.0.forward(x)? - y)?.sqr()?.mean_all()?;
//!         Ok(Losses::new(x.dim(0)?).term("error", error, 1.0))
//!     }
//!
//!     fn evaluate(&mut self, _: &Position) -> Result<BTreeMap<String, f64>> {
//!         let slope = self.0.weight().detach().mean_all()?.to_scalar::<f32>()?;
//!         Ok(BTreeMap::from([("slope".into(), f64::from(slope))]))
//!     }
//! }
//!
//! struct Points;
//!
//! impl BatchSource for Points {
//!     type Batch = (Tensor, Tensor);
//!
//!     fn batches_per_epoch(&self) -> usize {
//!         10
//!     }
//!
//!     fn epoch(&mut self, _: u64, first_batch: usize) -> Result<Batches<'_, Self::Batch>> {
//!         Ok(Box::new((first_batch..10).map(|batch| {
//!             let x = Tensor::new(&[[batch as f32 / 10.0], [-1.0]], &Device::Cpu)?;
//!             let y = (&x * 3.0)?;
//!             Ok((x, y))
//!         })))
//!     }
//! }
//!
//! # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let directory = folder.path().join("line");
//! let config = TrainConfig {
//!     epochs: 20,
//!     ..TrainConfig::default()
//! };
//! let run = RunDirectory::create(&directory, &config)?;
//! let store = ParameterStore::new(0, &Device::Cpu);
//! let mut line = Line(Linear::new(1, 1, store.var_builder(DType::F32))?);
//! let stop = AtomicBool::new(false); // Ctrl-C sets it.
//! let outcome = run_on_big_stack(|| {
//!     train(&config, &store, &mut line, &mut Points, &run, &mut Progress::quiet(), &stop)
//! })??;
//! let Outcome::Finished(summary) = outcome else {
//!     return Err("interrupted".into());
//! };
//! assert!((summary.test["slope"].unwrap_or(0.0) - 3.0).abs() < 0.05);
//! assert!(directory.join("model.safetensors").exists());
//! # Ok(())
//! # }
//! ```

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
pub use files::write_atomically;
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
