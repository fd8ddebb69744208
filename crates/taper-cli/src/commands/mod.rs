//! One file a command: its arguments and one `execute`.

pub mod bench;
pub mod completions;
pub mod data;
pub mod diffusion;
pub mod distill;
pub mod doctor;
pub mod eval;
pub mod man;
pub mod models;
pub mod run;
mod run_velocity;
pub mod train;
pub mod weights;
