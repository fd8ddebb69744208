//! Tests of the operators other than two-dimensional convolution.

// Clippy exempts test functions, but not the helpers they share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod conv1d;
mod ctc_loss;
mod determinism;
mod functions;
mod golden;
mod gradients;
mod precision;
mod refusals;
mod resize;
mod rk_step;
mod shapes;
mod special_values;
