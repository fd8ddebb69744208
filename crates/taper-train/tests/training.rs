//! The loop in one process: it learns, stops, goes on, and says what is wrong.

#![allow(clippy::unwrap_used)]

mod tiny;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use taper_train::{
    CHECKPOINT_FOLDER, METRICS_FILE, MODEL_FILE, OptimizerConfig, Outcome, PLOTS_FOLDER,
    ParameterGroup, Progress, REPORT_FILE, Record, Result, RunDirectory, Summary, TrainConfig,
    TrainError, read_epochs, read_records, train,
};
use tiny::{Classifier, Source, timeless};

const WIDTH: usize = 32;

/// Trains in `directory`, which becomes a run if it is none yet.
fn run_with(
    directory: &Path,
    config: &TrainConfig,
    classifier: &mut Classifier,
    stop: &AtomicBool,
) -> Result<Outcome> {
    let run = match RunDirectory::open(directory) {
        Err(TrainError::NotARun { .. }) => RunDirectory::create(directory, config)?,
        other => other?,
    };
    let store = classifier.store.clone();
    let mut progress = Progress::quiet();
    let source = &mut Source::new();
    train(
        config,
        &store,
        classifier,
        source,
        &run,
        &mut progress,
        stop,
    )
}

fn run(directory: &Path, config: &TrainConfig) -> Result<Outcome> {
    let never = AtomicBool::new(false);
    run_with(directory, config, &mut Classifier::new(WIDTH), &never)
}

fn finished(outcome: Result<Outcome>) -> Summary {
    match outcome.unwrap() {
        Outcome::Finished(summary) => summary,
        other => panic!("{other:?}"),
    }
}

fn assert_same(first: &Path, second: &Path) {
    let model = |folder: &Path| std::fs::read(folder.join(MODEL_FILE)).unwrap();
    assert!(model(first) == model(second), "the networks differ");
    let lines = |folder: &Path| timeless(&folder.join(METRICS_FILE));
    assert_eq!(lines(first), lines(second));
}

#[test]
fn it_learns_and_leaves_everything_in_the_directory() {
    for config in [tiny::sgd(), tiny::adamw()] {
        let root = tempfile::tempdir().unwrap();
        let summary = finished(run(root.path(), &config));
        let top1 = summary.test["top1"].unwrap();
        assert!(top1 > 80.0, "{top1}");
        assert_eq!((summary.epochs, summary.steps), (5, 60));
        let epochs = read_epochs(&root.path().join(METRICS_FILE)).unwrap();
        assert!(epochs[4].loss < 0.8 * epochs[0].loss);
        let terms: Vec<_> = epochs[0].terms.keys().collect();
        assert_eq!(terms, ["ce", "pull"]);
        let records = read_records(&root.path().join(METRICS_FILE)).unwrap();
        let Some(Record::Result(last)) = records.last() else {
            panic!("{records:?}");
        };
        // Reading decimal text may cost the last bit.
        assert!((last.test["top1"].unwrap() - top1).abs() < 1e-9);
        assert!((epochs[4].test["top1"].unwrap() - top1).abs() < 1e-9);
        assert_eq!((last.epochs, last.steps), (5, 60));
        let steps = records.iter().filter(|r| matches!(r, Record::Step(_)));
        assert_eq!(steps.count(), 15);
        for file in ["loss.svg", "accuracy.svg"] {
            let svg = std::fs::read_to_string(root.path().join(PLOTS_FOLDER).join(file)).unwrap();
            assert!(svg.contains("test"), "{file}");
        }
        let report = std::fs::read_to_string(root.path().join(REPORT_FILE)).unwrap();
        assert!(report.contains("| test top1 |"));
        // Once more: nothing is trained, the files are the same.
        let before = timeless(&root.path().join(METRICS_FILE));
        assert_eq!(finished(run(root.path(), &config)).test, summary.test);
        assert_eq!(timeless(&root.path().join(METRICS_FILE)), before);
    }
}

/// With an average, the saved network is the evaluated one: the average, not the last step's parameters.
#[test]
fn the_average_is_evaluated_and_saved() {
    let root = tempfile::tempdir().unwrap();
    let mut classifier = Classifier::new(WIDTH);
    let never = AtomicBool::new(false);
    let summary = finished(run_with(root.path(), &tiny::sgd(), &mut classifier, &never));
    let saved =
        candle_core::safetensors::load(root.path().join(MODEL_FILE), &candle_core::Device::Cpu)
            .unwrap();
    assert_eq!(saved.len(), classifier.store.state().len());
    let values =
        |tensor: &candle_core::Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let own = classifier.store.get("last.weight").unwrap();
    assert_ne!(values(&saved["last.weight"]), values(&own));
    let mean = classifier.store.get("norm.running_mean").unwrap();
    assert_eq!(values(&saved["norm.running_mean"]), values(&mean));
    let loaded = Classifier::new(WIDTH);
    for (name, tensor) in saved.iter().collect::<BTreeMap<_, _>>() {
        loaded.store.set(name, tensor).unwrap();
    }
    let mut loaded = loaded;
    let position = taper_train::Position::start(1, 1);
    let metrics = taper_train::Objective::evaluate(&mut loaded, &position).unwrap();
    assert_eq!(Some(metrics["loss"]), summary.test["loss"]);
}

/// Stopped anywhere, even between the last step of an epoch and its evaluation, a run goes on to the same end.
#[test]
fn stop_and_go_on() {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    finished(run(&whole, &tiny::sgd()));
    for stop_at in [0, 1, 11, 12, 30, 59] {
        let stopped = root.path().join(format!("stopped{stop_at}"));
        let stop = Arc::new(AtomicBool::new(false));
        let mut classifier = Classifier::new(WIDTH);
        let flag = stop.clone();
        classifier.before_step = Box::new(move |step| {
            if step == stop_at {
                flag.store(true, Ordering::Relaxed);
            }
        });
        match run_with(&stopped, &tiny::sgd(), &mut classifier, &stop).unwrap() {
            Outcome::Interrupted {
                position,
                checkpoint,
            } => {
                assert_eq!(position.step(), stop_at + 1, "the step is finished first");
                assert!(checkpoint.exists());
            }
            other => panic!("{other:?}"),
        }
        finished(run(&stopped, &tiny::sgd()));
        assert_same(&whole, &stopped);
    }
}

#[test]
fn a_loss_that_is_not_a_number() {
    let root = tempfile::tempdir().unwrap();
    let (whole, failed) = (root.path().join("whole"), root.path().join("failed"));
    finished(run(&whole, &tiny::adamw()));
    let mut classifier = Classifier::new(WIDTH);
    classifier.nan_at = Some(16);
    let never = AtomicBool::new(false);
    let error = run_with(&failed, &tiny::adamw(), &mut classifier, &never).unwrap_err();
    match &error {
        TrainError::NonFiniteLoss {
            term, epoch, step, ..
        } => {
            assert_eq!((term.as_str(), *epoch, *step), ("pull", 2, 17));
        }
        other => panic!("{other:?}"),
    }
    assert!(
        error
            .to_string()
            .contains("loss term pull became NaN in epoch 2, step 17"),
        "{error}"
    );
    finished(run(&failed, &tiny::adamw()));
    assert_same(&whole, &failed);
}

#[test]
fn a_damaged_checkpoint_costs_only_the_steps_since_the_one_before() {
    let root = tempfile::tempdir().unwrap();
    let (whole, damaged) = (root.path().join("whole"), root.path().join("damaged"));
    finished(run(&whole, &tiny::sgd()));
    // Two checkpoints for certain: one of an interruption, one before an error.
    let stop = AtomicBool::new(true);
    run_with(&damaged, &tiny::sgd(), &mut Classifier::new(WIDTH), &stop).unwrap();
    let mut classifier = Classifier::new(WIDTH);
    classifier.nan_at = Some(40);
    let never = AtomicBool::new(false);
    run_with(&damaged, &tiny::sgd(), &mut classifier, &never).unwrap_err();
    let newest = damaged
        .join(CHECKPOINT_FOLDER)
        .join("step-0000000039.safetensors");
    let bytes = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    finished(run(&damaged, &tiny::sgd()));
    assert_same(&whole, &damaged);
}

#[test]
fn other_settings_or_another_network_are_refused() {
    let root = tempfile::tempdir().unwrap();
    finished(run(root.path(), &tiny::sgd()));
    let mut longer = tiny::sgd();
    longer.epochs = 6;
    let error = run(root.path(), &longer).unwrap_err().to_string();
    assert!(
        error.contains("written with epochs = 5, the settings say 6"),
        "{error}"
    );
    let never = AtomicBool::new(false);
    let mut wider = Classifier::new(WIDTH + 1);
    let error = run_with(root.path(), &tiny::sgd(), &mut wider, &never)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("first.bias") && error.contains("33"),
        "{error}"
    );
    // How often to save and to log may change.
    let mut rarer = tiny::sgd();
    rarer.checkpoint_every_steps = None;
    finished(run(root.path(), &rarer));
}

#[test]
fn groups_freeze_and_scale() {
    let root = tempfile::tempdir().unwrap();
    let group = |pattern: &str, scale, frozen| ParameterGroup {
        parameters: vec![pattern.into()],
        learning_rate_scale: scale,
        frozen,
        ..ParameterGroup::default()
    };
    let config = TrainConfig {
        epochs: 1,
        groups: vec![group("first.*", 1.0, true), group("second.*", 0.0, false)],
        ema: None,
        ..tiny::sgd()
    };
    let mut classifier = Classifier::new(WIDTH);
    let before = Classifier::new(WIDTH).store.state();
    let never = AtomicBool::new(false);
    finished(run_with(root.path(), &config, &mut classifier, &never));
    for (name, tensor) in classifier.store.state() {
        let values = |t: &candle_core::Tensor| format!("{:?}", t.flatten_all().unwrap());
        let same = tensor.to_dtype(candle_core::DType::F32).unwrap();
        let old = before[&name].to_dtype(candle_core::DType::F32).unwrap();
        let moved = (same - old).unwrap().sqr().unwrap().sum_all().unwrap();
        let moved = moved.to_scalar::<f32>().unwrap() > 0.0;
        let kept = name.starts_with("first.") || name.starts_with("second.");
        assert_eq!(moved, !kept, "{name} {}", values(&tensor));
    }
    let all = TrainConfig {
        groups: vec![group("*", 1.0, true)],
        ..config
    };
    let fresh = root.path().join("fresh");
    match run(&fresh, &all) {
        Err(TrainError::NothingToTrain { found }) => assert_eq!(found, 8),
        other => panic!("{other:?}"),
    }
}

#[test]
fn evaluation_may_be_rare_and_bad_sources_are_named() {
    let root = tempfile::tempdir().unwrap();
    let rare = TrainConfig {
        evaluate_every_epochs: 2,
        ..tiny::sgd()
    };
    finished(run(&root.path().join("rare"), &rare));
    let epochs = read_epochs(&root.path().join("rare").join(METRICS_FILE)).unwrap();
    let evaluated: Vec<_> = epochs.iter().map(|epoch| !epoch.test.is_empty()).collect();
    assert_eq!(evaluated, [false, true, false, true, true]);

    let with = |name: &str, mut source: Source| {
        let run = RunDirectory::create(root.path().join(name), &rare).unwrap();
        let mut classifier = Classifier::new(WIDTH);
        let store = classifier.store.clone();
        let (mut quiet, never) = (Progress::quiet(), AtomicBool::new(false));
        train(
            &rare,
            &store,
            &mut classifier,
            &mut source,
            &run,
            &mut quiet,
            &never,
        )
        .unwrap_err()
    };
    let short = Source {
        batches: 12,
        available: 7,
    };
    let error = with("short", short).to_string();
    assert_eq!(
        error,
        "epoch 1 of the training data: found 7 batches, expected 12"
    );
    let empty = Source {
        batches: 0,
        available: 0,
    };
    assert!(matches!(with("empty", empty), TrainError::NoBatches));
}

/// Parameters that overflow while the loss is still finite must not push out a good checkpoint.
#[test]
fn a_checkpoint_is_never_poisoned() {
    let root = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        optimizer: OptimizerConfig::Sgd {
            learning_rate: 1e38,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 0.9,
        },
        checkpoint_every_steps: Some(1),
        ema: None,
        clip_norm: None,
        ..tiny::sgd()
    };
    let error = run(root.path(), &config).unwrap_err();
    let found = matches!(
        error,
        TrainError::NonFiniteTensor { .. } | TrainError::NonFiniteLoss { .. }
    );
    assert!(found, "{error}");
    for entry in std::fs::read_dir(root.path().join(CHECKPOINT_FOLDER)).unwrap() {
        let tensors =
            candle_core::safetensors::load(entry.unwrap().path(), &candle_core::Device::Cpu);
        for (name, tensor) in tensors.unwrap().into_iter().collect::<BTreeMap<_, _>>() {
            let values = tensor.to_dtype(candle_core::DType::F64).unwrap();
            let values = values.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            assert!(values.iter().all(|value| value.is_finite()), "{name}");
        }
    }
}
