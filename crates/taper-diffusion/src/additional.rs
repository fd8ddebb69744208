//! The pairs of the additional training to one step (method card, section 8).

use crate::config::AdditionalConfig;
use crate::error::{DiffusionError, Result};
use crate::generate::classes_in_turn;
use crate::learner::velocity_of;
use crate::noise::sample_noise;
use crate::samplers::{Rule, SamplerConfig, sample};
use crate::saved::SavedNetwork;
use crate::source::TrainingBatches;
use candle_core::Tensor;

/// Samples a pass while pairs are drawn.
const PAIR_BATCH: usize = 128;

/// Noise, and the estimate x − t v of the data at one step of an Euler sampling from it.
pub(crate) fn draw_pairs(
    main: &SavedNetwork,
    config: &AdditionalConfig,
    step: usize,
    batch: usize,
    seed: u64,
) -> Result<TrainingBatches> {
    if config.pairs < batch {
        let expected = format!("at least a batch of {batch}");
        return Err(DiffusionError::setting(
            "additional.pairs",
            config.pairs,
            expected,
        ));
    }
    let shape = &main.origin.shape;
    let sampler = SamplerConfig::of(Rule::Euler, config.steps);
    let class = classes_in_turn(&*main.network, 0, config.pairs)?;
    let (mut noise, mut estimates) = (Vec::new(), Vec::new());
    for start in (0..config.pairs).step_by(PAIR_BATCH) {
        let size = PAIR_BATCH.min(config.pairs - start);
        let z = sample_noise(seed, start as u64..(start + size) as u64, shape)?;
        let own = class.as_ref().map(|class| class.narrow(0, start, size));
        let own = own.transpose()?;
        let mut state = z.clone();
        let mut estimate = z.clone();
        let mut velocity = velocity_of(&*main.network, 0, own.as_ref());
        sample(&mut velocity, &z, &sampler, &mut |instant| {
            // Step i of 0 … N − 1 begins at time 1 − i/N.
            if instant.step == step + 1 {
                let t = 1.0 - step as f64 / config.steps as f64;
                estimate = (&state - (instant.velocity * t)?)?;
            }
            state = instant.state.clone();
            Ok(())
        })?;
        noise.push(z);
        estimates.push(estimate);
    }
    Ok(TrainingBatches::Pairs {
        x: Tensor::cat(&estimates, 0)?,
        z: Tensor::cat(&noise, 0)?,
        class,
        batch,
        seed,
    })
}
