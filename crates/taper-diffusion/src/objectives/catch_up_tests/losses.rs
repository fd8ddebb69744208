//! Gradients, limits, masks and initial losses of the catch-up objective (method card, sections 13.1 and 13.3 to 13.5).

use super::{RULES, config};
use crate::noise::normal_like;
use crate::objectives::catch_up::{CatchUpConfig, Stages};
use crate::objectives::{Times, coupling};
use crate::toy::Toy;
use candle_core::{DType, Device, Tensor, Var};
use taper_kernels::random::stream;
use taper_kernels::{CatchUpWeights, catchup_loss, interpolate};
use taper_layers::ParameterStore;
use taper_velocity::{Dropout, MlpConfig, VelocityConfig, VelocityNetwork};

fn network(store: &ParameterStore, heads: usize, frozen: bool) -> Box<dyn VelocityNetwork> {
    let config = VelocityConfig::Mlp(MlpConfig {
        width: 6,
        layers: 2,
        ..MlpConfig::velocity_2d()
    });
    let vb = match frozen {
        true => store.frozen(DType::F64),
        false => store.var_builder(DType::F64),
    };
    config.with_heads(heads).build(vb).unwrap()
}

/// Parameters that are not near their initial zeros.
fn randomise(store: &ParameterStore) {
    for (index, (name, var)) in store.parameters().into_iter().enumerate() {
        let values = normal_like(&var, &mut stream(9, "randomise", index as u64)).unwrap();
        store.set(&name, &(values * 0.4).unwrap()).unwrap();
    }
}

struct Problem {
    x: Tensor,
    z: Tensor,
    times: Times,
}

fn problem(config: &CatchUpConfig) -> Problem {
    let mut random = stream(4, "problem", 0);
    let like = Tensor::zeros((6, 2), DType::F64, &Device::Cpu).unwrap();
    let x = normal_like(&like, &mut random).unwrap();
    let z = normal_like(&like, &mut random).unwrap();
    let mut times = config.draw(6, &mut random);
    // One sample is masked for certain.
    times.t[2] = 0.01;
    times.dt[2] = 0.05;
    Problem { x, z, times }
}

impl Problem {
    fn line(&self) -> (Tensor, Tensor) {
        interpolate(&self.x, &self.z, &self.times.now(&self.x).unwrap()).unwrap()
    }

    fn targets(&self, config: &CatchUpConfig, twin: &dyn VelocityNetwork) -> Vec<Tensor> {
        let (x_t, _) = self.line();
        let mut velocity =
            |x: &Tensor, t: &Tensor| Ok(twin.forward(x, t, None, Dropout::Off)?.swap_remove(0));
        config
            .targets(&x_t, &self.times, None, &mut velocity)
            .unwrap()
    }

    fn loss(
        &self,
        config: &CatchUpConfig,
        net: &dyn VelocityNetwork,
        targets: &[Tensor],
    ) -> Tensor {
        let (x_t, g) = self.line();
        let t = self.times.now(&x_t).unwrap();
        let predictions = net.forward(&x_t, &t, None, Dropout::Off).unwrap();
        config
            .loss(&predictions, targets, &g, &self.times, (0.7, 1.3))
            .unwrap()
    }
}

/// Section 13.3: the gradient is that of the loss whose targets are numbers, by central differences.
#[test]
fn parameter_gradients_are_those_with_frozen_targets() {
    for order in 1..=3 {
        for rule in RULES {
            let config = config(order, rule);
            let store = ParameterStore::new(0, &Device::Cpu);
            let learning = network(&store, order, false);
            let twin = network(&store, order, true);
            randomise(&store);
            let problem = problem(&config);
            let targets = problem.targets(&config, &*twin);
            assert!(targets.iter().all(|target| !target.track_op()));
            let loss = problem.loss(&config, &*learning, &targets);
            let gradients = loss.backward().unwrap();
            for (name, var) in store.parameters() {
                let gradient = gradients.get(&var).unwrap().flatten_all().unwrap();
                let gradient = gradient.to_vec1::<f64>().unwrap();
                let start = var.as_tensor().copy().unwrap();
                let values = start.flatten_all().unwrap().to_vec1::<f64>().unwrap();
                for element in [0, values.len() / 2, values.len() - 1] {
                    let moved = |by: f64| {
                        let mut values = values.clone();
                        values[element] += by;
                        let moved = Tensor::from_vec(values, start.shape(), &Device::Cpu).unwrap();
                        store.set(&name, &moved).unwrap();
                        problem
                            .loss(&config, &*twin, &targets)
                            .to_scalar::<f64>()
                            .unwrap()
                    };
                    let step = 1e-5;
                    let difference = (moved(step) - moved(-step)) / (2.0 * step);
                    store.set(&name, &start).unwrap();
                    assert!(
                        (difference - gradient[element]).abs() <= 1e-6 * difference.abs().max(1.0),
                        "order {order} {name}[{element}]: {difference} {}",
                        gradient[element]
                    );
                }
            }
        }
    }
}

/// Section 13.3: gradients of the noise, through the state and through the velocity of the line.
#[test]
fn noise_gradients_by_central_differences() {
    let config = config(2, Stages::Paper);
    let store = ParameterStore::new(0, &Device::Cpu);
    let _ = network(&store, 2, false);
    let twin = network(&store, 2, true);
    randomise(&store);
    let mut problem = problem(&config);
    let targets = problem.targets(&config, &*twin);
    let z = problem.z.clone();
    let var = Var::from_tensor(&z).unwrap();
    problem.z = var.as_tensor().clone();
    let gradients = problem.loss(&config, &*twin, &targets).backward().unwrap();
    let gradient = gradients
        .get(&var)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1::<f64>()
        .unwrap();
    let values = z.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    // T_j of the masked sample is g as a constant: freeze it by giving g as the target there.
    let (_, g) = problem.line();
    let mask = Tensor::new(problem.times.mask(2), &Device::Cpu).unwrap();
    let rows = mask
        .reshape(((), 1))
        .unwrap()
        .broadcast_as(g.shape())
        .unwrap();
    let frozen: Vec<Tensor> = targets
        .iter()
        .map(|target| rows.where_cond(target, &g.detach()).unwrap())
        .collect();
    for element in 0..values.len() {
        let moved = |by: f64| {
            let mut values = values.clone();
            values[element] += by;
            let z = Tensor::from_vec(values, z.shape(), &Device::Cpu).unwrap();
            let t = problem.times.now(&z).unwrap();
            let (x_t, g) = interpolate(&problem.x, &z, &t).unwrap();
            let predictions = twin.forward(&x_t, &t, None, Dropout::Off).unwrap();
            let weights = CatchUpWeights {
                catch_up: &[0.7; 2],
                truth: &[1.3; 2],
                samples: None,
            };
            let predictions: Vec<&Tensor> = predictions.iter().collect();
            let frozen: Vec<&Tensor> = frozen.iter().collect();
            let loss = catchup_loss(&predictions, &frozen, &g, None, &weights).unwrap();
            loss.to_scalar::<f64>().unwrap()
        };
        let step = 1e-5;
        let difference = (moved(step) - moved(-step)) / (2.0 * step);
        assert!(
            (difference - gradient[element]).abs() < 1e-6,
            "{element}: {difference}"
        );
    }
}

/// Section 13.1: steps of length 0 cost nothing, and w1 = 0 leaves rectified flow.
#[test]
fn limits() {
    let store = ParameterStore::new(0, &Device::Cpu);
    let learning = network(&store, 3, false);
    let twin = network(&store, 3, true);
    randomise(&store);
    for order in 1..=3 {
        let config = config(order, Stages::Paper);
        let mut problem = problem(&config);
        let (x_t, g) = problem.line();
        let t = problem.times.now(&x_t).unwrap();
        let predictions = learning.forward(&x_t, &t, None, Dropout::Off).unwrap();
        let predictions = &predictions[..order];
        let targets = problem.targets(&config, &*twin);
        let loss = config
            .loss(predictions, &targets, &g, &problem.times, (0.0, 1.0))
            .unwrap();
        let flow: f64 = predictions
            .iter()
            .map(|p| {
                (p - &g)
                    .unwrap()
                    .sqr()
                    .unwrap()
                    .mean_all()
                    .unwrap()
                    .to_scalar::<f64>()
                    .unwrap()
            })
            .sum();
        assert!((loss.to_scalar::<f64>().unwrap() - flow).abs() < 1e-12);

        problem.times.dt = vec![0.0; 6];
        problem.times.t[2] = 0.5;
        let (x_t, g) = problem.line();
        let mut velocity =
            |x: &Tensor, t: &Tensor| Ok(twin.forward(x, t, None, Dropout::Off)?.swap_remove(0));
        let states = config
            .states(&x_t, &problem.times, None, &mut velocity)
            .unwrap();
        for state in &states {
            assert_eq!(
                state.to_vec2::<f64>().unwrap(),
                x_t.to_vec2::<f64>().unwrap()
            );
        }
        // All heads are head 1 here, so that every target is the prediction.
        let targets = problem.targets(&config, &*twin);
        let t = problem.times.now(&x_t).unwrap();
        let first = learning
            .forward(&x_t, &t, None, Dropout::Off)
            .unwrap()
            .swap_remove(0);
        let same = vec![first; order];
        let loss = config
            .loss(&same, &targets, &g, &problem.times, (1.0, 0.0))
            .unwrap();
        assert_eq!(loss.to_scalar::<f64>().unwrap(), 0.0);
        let gradients = loss.backward().unwrap();
        for (name, var) in store.parameters() {
            if let Some(gradient) = gradients.get(&var) {
                let size = gradient
                    .abs()
                    .unwrap()
                    .max_all()
                    .unwrap()
                    .to_scalar::<f64>()
                    .unwrap();
                assert_eq!(size, 0.0, "{name}");
            }
        }
    }
}

/// Section 13.4: targets of masked samples are never read.
#[test]
fn masked_targets_may_be_nan() {
    let config = config(3, Stages::Paper);
    let store = ParameterStore::new(0, &Device::Cpu);
    let learning = network(&store, 3, false);
    let twin = network(&store, 3, true);
    randomise(&store);
    let problem = problem(&config);
    let clean = problem.targets(&config, &*twin);
    let mask = problem.times.mask(3);
    assert_eq!(mask[2], 0);
    let poison = |target: &Tensor| {
        let mut rows = target.to_vec2::<f64>().unwrap();
        for (row, &mask) in rows.iter_mut().zip(&mask) {
            if mask == 0 {
                row.fill(f64::NAN);
            }
        }
        Tensor::new(rows, &Device::Cpu).unwrap()
    };
    let poisoned: Vec<Tensor> = clean.iter().map(poison).collect();
    let first = problem.loss(&config, &*learning, &clean);
    let second = problem.loss(&config, &*learning, &poisoned);
    assert_eq!(
        first.to_scalar::<f64>().unwrap(),
        second.to_scalar::<f64>().unwrap()
    );
    let (first, second) = (first.backward().unwrap(), second.backward().unwrap());
    for (name, var) in store.parameters() {
        let values = |store: &candle_core::backprop::GradStore| {
            store
                .get(&var)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1::<f64>()
                .unwrap()
        };
        assert_eq!(values(&first), values(&second), "{name}");
    }
    // (2/D)(w1 + w2)(P − g) there.
    let (x_t, g) = problem.line();
    let t = problem.times.now(&x_t).unwrap();
    let predictions = twin.forward(&x_t, &t, None, Dropout::Off).unwrap();
    let leaves: Vec<Var> = predictions
        .iter()
        .map(|p| Var::from_tensor(p).unwrap())
        .collect();
    let tracked: Vec<Tensor> = leaves.iter().map(|leaf| leaf.as_tensor().clone()).collect();
    let loss = config
        .loss(&tracked, &poisoned, &g, &problem.times, (0.7, 1.3))
        .unwrap();
    let gradients = loss.backward().unwrap();
    for (leaf, prediction) in leaves.iter().zip(&predictions) {
        let gradient = gradients.get(leaf).unwrap().to_vec2::<f64>().unwrap();
        let residual = (prediction - &g).unwrap().to_vec2::<f64>().unwrap();
        for (found, residual) in gradient[2].iter().zip(&residual[2]) {
            assert!((found - 2.0 / 12.0 * 2.0 * residual).abs() < 1e-14);
        }
    }
}

/// Section 13.5: n (1 + m2) (1 + n/32) with the second moment m2 = 4/3 of the checkerboard.
#[test]
fn initial_losses() {
    const COUNT: usize = 60_000;
    for (order, expected) in [(1, 2.406), (2, 4.958), (3, 7.656)] {
        let config = config(order, Stages::Paper);
        let store = ParameterStore::new(0, &Device::Cpu);
        let shape = VelocityConfig::Mlp(MlpConfig::velocity_2d()).with_heads(order);
        let net = shape.build(store.var_builder(DType::F32)).unwrap();
        let mut random = stream(7, "initial-loss", order as u64);
        let points = Toy::Checkerboard.draw(COUNT, &mut random);
        let x = Tensor::from_vec(points, (COUNT, 2), &Device::Cpu).unwrap();
        let z = coupling::draw(None, &x, &mut random).unwrap().z;
        let problem = Problem {
            times: config.draw(COUNT, &mut random),
            x,
            z,
        };
        let targets = problem.targets(&config, &*net);
        let (x_t, g) = problem.line();
        let t = problem.times.now(&x_t).unwrap();
        let predictions = net.forward(&x_t, &t, None, Dropout::Off).unwrap();
        let loss = config
            .loss(
                &predictions,
                &targets,
                &g,
                &problem.times,
                config.weights(0.0),
            )
            .unwrap();
        let loss = f64::from(loss.to_scalar::<f32>().unwrap());
        assert!((loss / expected - 1.0).abs() < 0.02, "{order}: {loss}");
    }
}
