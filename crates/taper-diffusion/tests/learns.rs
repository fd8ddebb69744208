//! Every method moves every parameter that should learn, and the seed decides all.

#![allow(clippy::unwrap_used)]

use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use taper_diffusion::objectives::consistency::Consistency;
use taper_diffusion::objectives::coupling::{CouplingConfig, PRIOR_WEIGHT};
use taper_diffusion::{
    Data, DiffusionConfig, EvaluationConfig, Learner, Lesson, Method, Monitor, Source, Toy,
    TrainingBatches, sample_noise,
};
use taper_layers::ParameterStore;
use taper_train::{Progress, RunDirectory};
use taper_velocity::{MlpConfig, SongUNetConfig, VelocityConfig, VelocityNetwork};

fn config(source: Source, method: Method, order: usize, coupled: bool) -> DiffusionConfig {
    let mut config = DiffusionConfig::small(source, method);
    config.batch = 16;
    config.steps_per_epoch = 3;
    config.catch_up.order = order;
    config.training.epochs = 1;
    config.training.schedule.warmup = None;
    config.evaluation = EvaluationConfig {
        steps: vec![2],
        samples: 16,
        pictures: 2,
    };
    if coupled {
        let encoder = match &config.network {
            VelocityConfig::SongUnet(network) => VelocityConfig::SongUnet(SongUNetConfig {
                outputs: 2 * network.inputs,
                ..network.clone()
            }),
            _ => VelocityConfig::Mlp(MlpConfig::coupling_2d()),
        };
        config.coupling = Some(CouplingConfig {
            weight: PRIOR_WEIGHT,
            encoder,
        });
    }
    config
}

/// The parameters before and after a few steps.
fn train(
    config: &DiffusionConfig,
    lesson: Lesson,
    teacher: Option<&dyn VelocityNetwork>,
    batches: Option<TrainingBatches>,
) -> (BTreeMap<String, Tensor>, BTreeMap<String, Tensor>) {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDirectory::create(folder.path().join("run"), config).unwrap();
    let data = Data::open(&config.data).unwrap();
    let mut batches = batches.unwrap_or_else(|| {
        data.batches(config.batch, 0, config.steps_per_epoch, None)
            .unwrap()
    });
    let store = ParameterStore::new(5, &Device::Cpu);
    let monitor = Monitor {
        data,
        config: config.evaluation.clone(),
        run: run.clone(),
    };
    let mut learner =
        Learner::new(config, lesson, 5, &store, teacher, monitor, BTreeMap::new()).unwrap();
    let copy = |store: &ParameterStore| -> BTreeMap<String, Tensor> {
        let parameters = store.parameters().into_iter();
        parameters
            .map(|(name, var)| (name, var.as_tensor().copy().unwrap()))
            .collect()
    };
    let before = copy(&store);
    taper_train::train(
        &config.training,
        &store,
        &mut learner,
        &mut batches,
        &run,
        &mut Progress::quiet(),
        &AtomicBool::new(false),
    )
    .unwrap();
    (before, copy(&store))
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn every_parameter_moves(
    config: &DiffusionConfig,
    lesson: Lesson,
    teacher: Option<&dyn VelocityNetwork>,
    batches: Option<TrainingBatches>,
) {
    let (before, after) = train(config, lesson.clone(), teacher, batches);
    for (name, before) in &before {
        let after = values(&after[name]);
        assert!(
            after.iter().all(|value| value.is_finite()),
            "{lesson:?}: {name}"
        );
        assert_ne!(values(before), after, "{lesson:?}: {name} did not move");
    }
}

fn points() -> Source {
    Source::Toy(Toy::Gaussians)
}

#[test]
fn the_methods_of_one_training() {
    for (order, coupled) in [(1, false), (1, true), (2, true), (3, false)] {
        let config = config(points(), Method::Cud, order, coupled);
        every_parameter_moves(&config, Lesson::of(&config), None, None);
    }
    for coupled in [false, true] {
        let config = config(points(), Method::Flow, 1, coupled);
        every_parameter_moves(&config, Lesson::Flow, None, None);
    }
}

#[test]
fn the_methods_with_a_teacher() {
    let teacher = ParameterStore::new(1, &Device::Cpu);
    let config = config(points(), Method::Consistency, 1, false);
    let network = config
        .network
        .build(teacher.var_builder(candle_core::DType::F32))
        .unwrap();
    for form in [Consistency::Proper, Consistency::Executed] {
        let lesson = Lesson::Consistency {
            form,
            reciprocal: 16,
        };
        every_parameter_moves(&config, lesson, Some(&*network), None);
    }
    let lesson = Lesson::Progressive { steps: 4 };
    every_parameter_moves(&config, lesson, Some(&*network), None);
    let pairs = TrainingBatches::Pairs {
        x: sample_noise(1, 0..48, &[2]).unwrap(),
        z: sample_noise(2, 0..48, &[2]).unwrap(),
        class: None,
        batch: 16,
        seed: 0,
    };
    let lesson = Lesson::OneStep {
        average_weight: 0.1,
    };
    every_parameter_moves(&config, lesson, None, Some(pairs));
}

/// With dropout in the network and in its targets, a learnt coupling and heads.
#[test]
fn images() {
    let mut config = config("digits".parse().unwrap(), Method::Cud, 2, true);
    if let VelocityConfig::SongUnet(network) = &mut config.network {
        network.dropout = 0.13;
        network.phi = Some(0.75);
    }
    config.batch = 256;
    every_parameter_moves(&config, Lesson::of(&config), None, None);
}

#[test]
fn the_same_seed_gives_the_same_bits_on_any_number_of_threads() {
    let config = config(points(), Method::Cud, 3, true);
    let run = |threads| {
        taper_kernels::threads::set_threads(threads);
        let (_, after) = train(&config, Lesson::of(&config), None, None);
        taper_kernels::threads::set_threads(0);
        after.values().map(values).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(2));
}

#[test]
fn a_teacher_that_is_missing_is_named() {
    let config = config(points(), Method::Consistency, 1, false);
    let folder = tempfile::tempdir().unwrap();
    let run = RunDirectory::create(folder.path().join("run"), &config).unwrap();
    let monitor = Monitor {
        data: Data::open(&config.data).unwrap(),
        config: config.evaluation.clone(),
        run,
    };
    let store = ParameterStore::new(0, &Device::Cpu);
    let lesson = Lesson::of(&config);
    let refused = Learner::new(&config, lesson, 0, &store, None, monitor, BTreeMap::new());
    assert!(refused.err().unwrap().to_string().starts_with("teacher: "));
}
