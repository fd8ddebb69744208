//! Every operator over random shapes, options and views: `support::check` says what is compared.
// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod activations;
mod block_runs;
mod convolutions;
mod diffusion;
mod losses;
mod moves;
mod norms;
mod optimisers;
mod pooling;
mod support;
mod trajectories;
