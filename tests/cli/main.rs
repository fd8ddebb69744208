//! The program as a stranger uses it: real processes in fresh folders.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "helpers of tests are tests"
)]

mod bad_input;
mod distill;
mod kill;
mod models;
mod run;
mod support;
mod train;
