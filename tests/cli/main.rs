//! The program as a stranger uses it: real processes in fresh folders.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "helpers of tests are tests"
)]

mod bad_input;
mod diffusion;
mod distill;
mod download;
mod kill;
mod models;
mod published;
mod run;
mod run_velocity;
#[path = "../../crates/taper-weights/tests/hub/server.rs"]
#[allow(dead_code, reason = "shared with the tests of the library")]
mod server;
mod support;
mod train;
mod weights;
