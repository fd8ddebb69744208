//! Diffusion in few steps: Catch-Up Distillation, its baselines, samplers and measures of samples.

mod error;
pub mod measures;
mod noise;
pub mod objectives;
pub mod samplers;
mod toy;

pub use error::{DiffusionError, Result};
pub use noise::sample_noise;
pub use toy::Toy;
