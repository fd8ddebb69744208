//! Every operator over random shapes, options and views: `support::check` says what is compared.

mod activations;
mod convolutions;
mod losses;
mod moves;
mod norms;
mod optimisers;
mod pooling;
mod support;
mod trajectories;
