//! Averages, moving averages, and folded batch norms that compute the same.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod files;

use candle_core::{DType, Device, Tensor};
use files::{corpus, expected};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use taper_layers::{Mode, ParameterStore};
use taper_vision::registry;
use taper_weights::{
    Limits, MergeOptions, TensorFile, average, fit_of, fold_batch_norm, load, load_classifier,
    save, take_ema,
};

const GO_ON: fn(u64, u64) -> ControlFlow<()> = |_, _| ControlFlow::Continue(());

fn pseudo_random(shape: &[usize], seed: usize, low: f64, high: f64) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f64> = (0..count)
        .map(|i| {
            let wave = ((i + 7 * seed) as f64 * 12.9898).sin() * 43758.5453;
            low + (high - low) * (wave - wave.floor())
        })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
        .unwrap()
        .to_dtype(DType::F32)
        .unwrap()
}

/// A network of the zoo with running statistics that are not the initial ones.
fn trained(name: &str, path: &Path) {
    let entry = registry::find(name).unwrap();
    let store = ParameterStore::new(5, &Device::Cpu);
    (entry.config)(10)
        .build(store.var_builder(DType::F32))
        .unwrap();
    let mut state = store.state();
    for (index, (name, tensor)) in state.iter_mut().enumerate() {
        let shape = tensor.dims().to_vec();
        match name.rsplit('.').next() {
            Some("running_mean") => *tensor = pseudo_random(&shape, index, -0.3, 0.3),
            Some("running_var") => *tensor = pseudo_random(&shape, index, 0.05, 0.6),
            Some("bias") => *tensor = pseudo_random(&shape, index, -0.2, 0.2),
            Some("weight") if shape.len() == 1 => *tensor = pseudo_random(&shape, index, 0.5, 1.5),
            _ => {}
        }
    }
    save(path, &state, &BTreeMap::new()).unwrap();
}

/// Every family: outputs agree, norms are gone, the folded file fits.
#[test]
fn folded_networks_compute_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for (name, kept) in [
        ("resnet8", 0),
        ("resnet8x4", 0),
        ("cifar_resnet18", 0),
        ("cifar_resnet50", 0),
        ("wrn_16_1", 7),
        ("wrn_16_2", 7),
        ("vgg8", 0),
        ("cifar_mobilenetv2", 0),
        ("cifar_shufflenetv1", 0),
        ("cifar_shufflenetv2", 0),
        ("akamaster_resnet20", 0),
        ("distiller_resnet8", 0),
        ("distiller_wrn_10_1", 4),
    ] {
        let entry = registry::find(name).unwrap();
        let [plain, folded] =
            ["plain", "folded"].map(|file| folder.path().join(format!("{file}-{name}")));
        trained(name, &plain);
        let report = fold_batch_norm(
            entry,
            &plain,
            &folded,
            &MergeOptions::default(),
            &mut GO_ON.clone(),
        )
        .unwrap();
        let names: Vec<String> = load(&folded).unwrap().tensors.into_keys().collect();
        let norms = names
            .iter()
            .filter(|name| name.ends_with("running_mean"))
            .count();
        assert_eq!(norms, kept, "{name}: {:?}", report.notes);
        let images = pseudo_random(&[2, 3, 32, 32], 3, -1.5, 1.5);
        let logits = |path: &Path| {
            let loaded = load_classifier(entry, path).unwrap();
            let logits = loaded.model.forward(&images, Mode::Eval).unwrap().logits;
            logits.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let (before, after) = (logits(&plain), logits(&folded));
        let scale = before.iter().fold(1f32, |largest, v| largest.max(v.abs()));
        for (a, b) in before.iter().zip(&after) {
            assert!((a - b).abs() <= 2e-4 * scale, "{name}: {a} {b}");
        }
        let file = TensorFile::open(&folded, &Limits::default()).unwrap();
        let (difference, classes) = fit_of(&file, entry, None).unwrap().unwrap();
        assert!(
            difference.is_none() && classes == 10,
            "{name}: {difference:?}"
        );
    }
}

#[test]
fn the_mean_of_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, value: f32, count: i64, extra: Option<&str>| -> PathBuf {
        let path = folder.path().join(name);
        let mut tensors = BTreeMap::from([
            (
                "w".to_string(),
                Tensor::new(&[value, 1.], &Device::Cpu).unwrap(),
            ),
            (
                "h".into(),
                Tensor::new(&[value], &Device::Cpu)
                    .unwrap()
                    .to_dtype(DType::F16)
                    .unwrap(),
            ),
            ("n".into(), Tensor::new(count, &Device::Cpu).unwrap()),
        ]);
        if let Some(extra) = extra {
            tensors.insert(extra.into(), Tensor::new(0f32, &Device::Cpu).unwrap());
        }
        save(&path, &tensors, &BTreeMap::new()).unwrap();
        path
    };
    let inputs = [
        file("a", 1., 5, None),
        file("b", 2., 6, None),
        file("c", 6., 7, None),
    ];
    let out = folder.path().join("mean.safetensors");
    let options = MergeOptions::default();
    let report = average(&inputs, &out, &options, &mut GO_ON.clone()).unwrap();
    let mean = load(&out).unwrap();
    assert_eq!(mean.tensors["w"].to_vec1::<f32>().unwrap(), [3., 1.]);
    assert_eq!(mean.tensors["h"].dtype(), DType::F16);
    assert_eq!(mean.tensors["n"].to_scalar::<i64>().unwrap(), 7);
    assert_eq!(
        (report.tensors, mean.metadata["averaged"].as_str()),
        (3, "3")
    );
    let refused = |inputs: &[PathBuf], parts: &[&str]| {
        let out = folder.path().join("no.safetensors");
        let text = average(inputs, &out, &options, &mut GO_ON.clone())
            .unwrap_err()
            .to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert!(!out.exists());
    };
    refused(&inputs[..1], &["--average", "two or more"]);
    let odd = file("odd", 1., 1, Some("extra"));
    refused(&[inputs[0].clone(), odd.clone()], &["odd", "extra"]);
    refused(&[odd, inputs[0].clone()], &["extra"]);
    let text = average(
        &inputs,
        &inputs[1],
        &MergeOptions {
            force: true,
            ..options.clone()
        },
        &mut GO_ON.clone(),
    );
    assert!(text.unwrap_err().to_string().contains("is the input"));
}

#[test]
fn moving_averages_take_the_place_of_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let options = MergeOptions::default();
    for file in ["model-and-ema.pt", "model-and-ema-legacy.pth"] {
        let out = folder.path().join(format!("{file}.safetensors"));
        take_ema(
            corpus("good").join(file),
            &out,
            &options,
            &mut GO_ON.clone(),
        )
        .unwrap();
        let found = load(&out).unwrap().tensors;
        let weights = expected(&corpus("good").join(format!("{file}.expected")));
        assert!(found.keys().eq(weights.keys()));
        let (_, _, bytes) = &weights["0.bias"];
        let plain: Vec<f32> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect();
        // The generator's averages are the weights plus one.
        let averages = found["0.bias"].to_vec1::<f32>().unwrap();
        assert!(
            averages.iter().zip(&plain).all(|(a, w)| *a == w + 1.),
            "{averages:?} {plain:?}"
        );
    }
    // A checkpoint of Taper's own trainings: sections; statistics have no average.
    let tensor = |v: f32| Tensor::new(&[v], &Device::Cpu).unwrap();
    let path = folder.path().join("epoch.safetensors");
    let tensors = BTreeMap::from([
        ("model.fc.weight".to_string(), tensor(1.)),
        ("model.bn.running_mean".into(), tensor(2.)),
        ("ema.fc.weight".into(), tensor(3.)),
        ("optimizer.velocity.fc.weight".into(), tensor(4.)),
    ]);
    save(&path, &tensors, &BTreeMap::new()).unwrap();
    let out = folder.path().join("own.safetensors");
    let report = take_ema(&path, &out, &options, &mut GO_ON.clone()).unwrap();
    let found = load(&out).unwrap().tensors;
    let value = |name: &str| found[name].to_vec1::<f32>().unwrap()[0];
    assert_eq!(found.len(), 2);
    assert_eq!((value("fc.weight"), value("bn.running_mean")), (3., 2.));
    assert!(report.notes[1].contains("1 tensors"), "{:?}", report.notes);
    let text = take_ema(&out, folder.path().join("x"), &options, &mut GO_ON.clone())
        .unwrap_err()
        .to_string();
    assert!(text.contains("no moving averages"), "{text}");
}
