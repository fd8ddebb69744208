//! Tests of the operators other than convolution.

mod determinism;
mod golden;
mod gradients;
mod precision;
mod refusals;
mod shapes;
