//! Drawing samples from a network in bounded memory.

use crate::error::{DiffusionError, Result};
use crate::learner::velocity_of;
use crate::noise::sample_noise;
use crate::samplers::{SamplerConfig, Samples, sample};
use candle_core::{Device, Tensor};
use taper_velocity::VelocityNetwork;

/// Which samples to draw, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// How many.
    pub count: usize,
    /// Names their noise.
    pub seed: u64,
    /// Index of the first; sample i of a seed is the same in any call.
    pub first: u64,
    /// The class of all; absent, a network with classes draws them in turn.
    pub class: Option<u32>,
    /// The head, from 1.
    pub head: usize,
    /// Samples a pass: bounds the memory, changes no sample.
    pub batch: usize,
    /// The rule.
    pub sampler: SamplerConfig,
}

impl Default for Generation {
    fn default() -> Self {
        Self {
            count: 16,
            seed: 0,
            first: 0,
            class: None,
            head: 1,
            batch: 64,
            sampler: SamplerConfig::default(),
        }
    }
}

/// Draws `generation.count` samples of `shape`.
///
/// # Errors
/// [`DiffusionError::Setting`] for a head or class that the network lacks; those of the sampler.
pub fn generate(
    network: &dyn VelocityNetwork,
    shape: &[usize],
    generation: &Generation,
) -> Result<Samples> {
    let heads = network.heads();
    if generation.head == 0 || generation.head > heads {
        let expected = match heads {
            1 => "1: the network has one head".to_string(),
            _ => format!("from 1 to {heads}, the network's heads"),
        };
        return Err(DiffusionError::setting("head", generation.head, expected));
    }
    for (field, value) in [("count", generation.count), ("batch", generation.batch)] {
        if value == 0 {
            return Err(DiffusionError::setting(field, 0, "a whole number from 1"));
        }
    }
    if generation
        .first
        .checked_add(generation.count as u64)
        .is_none()
    {
        let expected = "an index that the samples after it can be counted from";
        return Err(DiffusionError::setting("first", generation.first, expected));
    }
    let mut parts = Vec::new();
    let mut evaluations = 0;
    for start in (0..generation.count).step_by(generation.batch) {
        let size = generation.batch.min(generation.count - start);
        let first = generation.first + start as u64;
        let z = sample_noise(generation.seed, first..first + size as u64, shape)?;
        let class = classes(network, generation, start, size)?;
        let head = generation.head - 1;
        let samples = sample_in(network, &z, class.as_ref(), head, &generation.sampler)?;
        evaluations = evaluations.max(samples.evaluations);
        parts.push(samples.x);
    }
    Ok(Samples {
        x: Tensor::cat(&parts, 0)?,
        evaluations,
    })
}

/// Samples of given noise; `head` counts from 0.
pub(crate) fn sample_in(
    network: &dyn VelocityNetwork,
    z: &Tensor,
    class: Option<&Tensor>,
    head: usize,
    sampler: &SamplerConfig,
) -> Result<Samples> {
    let mut velocity = velocity_of(network, head, class);
    sample(&mut velocity, z, sampler, &mut |_| Ok(()))
}

fn classes(
    network: &dyn VelocityNetwork,
    generation: &Generation,
    start: usize,
    size: usize,
) -> Result<Option<Tensor>> {
    let Some(classes) = network.classes() else {
        return match generation.class {
            None => Ok(None),
            Some(class) => Err(DiffusionError::setting(
                "class",
                class,
                "none: the network has no classes",
            )),
        };
    };
    let Some(class) = generation.class else {
        return classes_in_turn(network, generation.first as usize + start, size);
    };
    if class as usize >= classes {
        let expected = format!("from 0 to {}", classes.saturating_sub(1));
        return Err(DiffusionError::setting("class", class, expected));
    }
    Ok(Some(Tensor::new(vec![class; size], &Device::Cpu)?))
}

/// Classes 0, 1, … over and over from sample `first` on, for a network that wants them.
pub(crate) fn classes_in_turn(
    network: &dyn VelocityNetwork,
    first: usize,
    count: usize,
) -> Result<Option<Tensor>> {
    let Some(classes) = network.classes() else {
        return Ok(None);
    };
    let class = |sample| (sample % classes.max(1)) as u32;
    let list: Vec<u32> = (first..first + count).map(class).collect();
    Ok(Some(Tensor::new(list, &Device::Cpu)?))
}
