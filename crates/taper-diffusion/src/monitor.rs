//! What is measured and drawn while a network learns.

use crate::config::EvaluationConfig;
use crate::error::Result;
use crate::generate::{Generation, classes_in_turn, generate, sample_in};
use crate::learner::velocity_of;
use crate::measures::wasserstein2;
use crate::noise::{normal_like, sample_noise, scalars_like};
use crate::objectives::mean_square;
use crate::pictures::{image_rows, png, point_panels, trajectory_panel};
use crate::point_scores::point_reference;
use crate::samplers::{Rule, SamplerConfig, sample};
use crate::source::Data;
use crate::toy::Toy;
use candle_core::Tensor;
use rand::Rng;
use std::collections::BTreeMap;
use taper_data::Part;
use taper_kernels::interpolate_state;
use taper_kernels::random::stream;
use taper_train::{PLOTS_FOLDER, RunDirectory};
use taper_velocity::VelocityNetwork;

/// The picture of samples, a row or panel for each number of steps.
pub const SAMPLES_PICTURE: &str = "samples.png";
/// The picture of the way from noise to data.
pub const TRAJECTORIES_PICTURE: &str = "trajectories.png";
/// Test images a pass, and of how many the loss is measured.
const TEST_BATCH: usize = 128;
const TEST_BATCHES: usize = 8;
/// Seed of everything measured, the same in every run, so that runs can be compared.
const SEED: u64 = 0;
/// Ways drawn into the picture of trajectories.
const WAYS: usize = 128;

/// Measures and draws into a run.
#[derive(Debug, Clone)]
pub struct Monitor {
    /// Which data.
    pub data: Data,
    /// What to measure.
    pub config: EvaluationConfig,
    /// Where pictures go.
    pub run: RunDirectory,
}

impl Monitor {
    /// Metrics of `network`; pictures go to the run's folder of plots.
    ///
    /// # Errors
    /// The network, the data, the disk.
    pub fn look(&self, network: &dyn VelocityNetwork) -> Result<BTreeMap<String, f64>> {
        match &self.data {
            Data::Toy(toy) => self.look_at_points(network, *toy),
            Data::Images { .. } => self.look_at_images(network),
        }
    }

    fn look_at_points(
        &self,
        network: &dyn VelocityNetwork,
        toy: Toy,
    ) -> Result<BTreeMap<String, f64>> {
        let count = self.config.samples;
        let reference = point_reference(toy, count, SEED)?;
        let z = sample_noise(SEED, 0..count as u64, &[2])?;
        let mut metrics = BTreeMap::new();
        let mut panels = vec![("data".to_string(), reference.clone())];
        for &steps in &self.config.steps {
            let samples = sample_in(network, &z, None, 0, &SamplerConfig::of(Rule::Euler, steps))?;
            metrics.insert(format!("w2_{steps}"), wasserstein2(&samples.x, &reference)?);
            panels.push((steps.to_string(), samples.x));
        }
        self.write(
            SAMPLES_PICTURE,
            &png(&point_panels(&panels, toy.extent())?)?,
        )?;
        let ways = self.ways(network, &z.narrow(0, 0, WAYS.min(count))?)?;
        let picture = trajectory_panel(&ways, 1.5 * toy.extent())?;
        self.write(TRAJECTORIES_PICTURE, &png(&picture)?)?;
        Ok(metrics)
    }

    /// States after each step of a sampling in 16 steps, z first.
    fn ways(&self, network: &dyn VelocityNetwork, z: &Tensor) -> Result<Vec<Tensor>> {
        let mut states = vec![z.clone()];
        let config = SamplerConfig::of(Rule::Euler, 16);
        let mut velocity = velocity_of(network, 0, None);
        sample(&mut velocity, z, &config, &mut |instant| {
            states.push(instant.state.clone());
            Ok(())
        })?;
        Ok(states)
    }

    fn look_at_images(&self, network: &dyn VelocityNetwork) -> Result<BTreeMap<String, f64>> {
        let shape = self.data.shape();
        let mut rows = Vec::new();
        for &steps in &self.config.steps {
            let generation = Generation {
                count: self.config.pictures,
                seed: SEED,
                sampler: SamplerConfig::of(Rule::Euler, steps),
                ..Generation::default()
            };
            rows.push((steps.to_string(), generate(network, &shape, &generation)?.x));
        }
        self.write(SAMPLES_PICTURE, &png(&image_rows(&rows)?)?)?;
        let z = sample_noise(SEED, 0..self.config.pictures as u64, &shape)?;
        let class = classes_in_turn(network, 0, self.config.pictures)?;
        let mut rows = Vec::new();
        let mut velocity = velocity_of(network, 0, class.as_ref());
        let mut now = z.clone();
        let config = SamplerConfig::of(Rule::Euler, 8);
        sample(&mut velocity, &z, &config, &mut |instant| {
            // The estimate x − t v of the data, at the time of the state before the step.
            let t = instant.time + 1.0 / config.steps as f64;
            let estimate = (&now - (instant.velocity * t)?)?;
            rows.push((
                format!("{}/{}", config.steps + 1 - instant.step, config.steps),
                estimate,
            ));
            now = instant.state.clone();
            Ok(())
        })?;
        self.write(TRAJECTORIES_PICTURE, &png(&image_rows(&rows)?)?)?;
        Ok(BTreeMap::from([(
            "flow".to_string(),
            self.flow_loss(network)?,
        )]))
    }

    /// The flow loss on test images, with the same times and noise at every call.
    fn flow_loss(&self, network: &dyn VelocityNetwork) -> Result<f64> {
        let mut random = stream(SEED, "test-flow", 0);
        let (mut sum, mut count) = (0.0, 0usize);
        for batch in self
            .data
            .images(Part::Test, TEST_BATCH)?
            .epoch(0, 0)
            .take(TEST_BATCHES)
        {
            let batch = batch?;
            let size = batch.images.dim(0)?;
            let times: Vec<f64> = (0..size).map(|_| random.random()).collect();
            let z = normal_like(&batch.images, &mut random)?;
            let t = scalars_like(&z, &times)?;
            let x_t = interpolate_state(&batch.images, &z, &t)?;
            let class = network.classes().map(|_| &batch.labels);
            let v = velocity_of(network, 0, class)(&x_t, &t)?;
            let loss = mean_square(&v, &(z - batch.images)?)?.to_scalar::<f32>()?;
            sum += f64::from(loss) * size as f64;
            count += size;
        }
        Ok(sum / count.max(1) as f64)
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        self.run
            .write_view(format!("{PLOTS_FOLDER}/{name}"), content)?;
        Ok(())
    }
}
