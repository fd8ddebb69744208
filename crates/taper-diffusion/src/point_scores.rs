//! How good points in the plane are that a network draws.

use crate::error::Result;
use crate::learner::velocity_of;
use crate::measures::{Straightness, energy_distance, wasserstein2};
use crate::noise::sample_noise;
use crate::samplers::{SamplerConfig, sample};
use crate::toy::Toy;
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use taper_velocity::VelocityNetwork;

/// Scores of one way to sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PointScores {
    /// Exact Wasserstein distance from a reference with as many points in each mode.
    pub w2: f64,
    /// Energy distance from it.
    pub energy: f64,
    /// Mean of (v − (z − x_0))² over elements and steps of a rule with equal steps; the adaptive rule shows none.
    pub straightness: Option<f64>,
    /// Evaluations of the network a sample.
    pub evaluations: usize,
}

/// Draws `count` points with head `head` (from 1) and measures them.
///
/// Noise and reference follow from `seed`: they are the same for every network, so scores can be compared.
///
/// # Errors
/// Those of the sampler and the measures.
pub fn point_scores(
    network: &dyn VelocityNetwork,
    toy: Toy,
    head: usize,
    sampler: &SamplerConfig,
    count: usize,
    seed: u64,
) -> Result<PointScores> {
    let z = sample_noise(seed, 0..count as u64, &[2])?;
    let reference = point_reference(toy, count, seed)?;
    let mut straightness = Straightness::default();
    let mut velocity = velocity_of(network, head.saturating_sub(1), None);
    let samples = sample(&mut velocity, &z, sampler, &mut |instant| {
        straightness.add(instant.velocity)
    })?;
    Ok(PointScores {
        w2: wasserstein2(&samples.x, &reference)?,
        energy: energy_distance(&samples.x, &reference)?,
        straightness: straightness.value().ok(),
        evaluations: samples.evaluations,
    })
}

/// The points that samples are compared with, `[count, 2]`.
///
/// # Errors
/// If Candle fails.
pub fn point_reference(toy: Toy, count: usize, seed: u64) -> Result<Tensor> {
    Ok(Tensor::from_vec(
        toy.reference(count, seed),
        (count, 2),
        &Device::Cpu,
    )?)
}
