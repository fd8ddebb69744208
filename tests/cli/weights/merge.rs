//! `taper weights merge`.

use super::{corpus, differs, network};
use crate::support::Folder;
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;

#[test]
fn merge_folds_averages_and_takes_moving_averages() {
    let folder = Folder::new();
    network("resnet8", &folder.path("a.safetensors"));
    network("resnet8", &folder.path("b.safetensors"));
    let merge = |arguments: &[&str]| {
        let mut all = vec!["weights", "merge"];
        all.extend(arguments);
        all.push("--json");
        folder.ok(&all).json()
    };
    let folded = merge(&[
        "a.safetensors",
        "folded.safetensors",
        "--model",
        "resnet8",
        "--fold-bn",
    ]);
    assert_eq!(folded["tensors"], 56 - 9 * 4);
    folder.ok(&[
        "weights",
        "verify",
        "folded.safetensors",
        "--model",
        "resnet8",
    ]);
    folder.ok(&["weights", "diff", "folded.safetensors", "resnet8"]);
    let mean = merge(&[
        "--average",
        "a.safetensors",
        "b.safetensors",
        "mean.safetensors",
    ]);
    assert_eq!(mean["tensors"], 56);
    folder.ok(&[
        "weights",
        "diff",
        "a.safetensors",
        "mean.safetensors",
        "--tolerance",
        "1e-7",
    ]);
    merge(&["--ema", &corpus("good/model-and-ema.pt"), "ema.safetensors"]);
    let fails = |arguments: &[&str], parts: &[&str]| {
        let mut all = vec!["weights", "merge"];
        all.extend(arguments);
        let text = folder.fails(&all);
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
    };
    fails(
        &["a.safetensors", "x.safetensors"],
        &["nothing to do", "--average"],
    );
    fails(
        &["a.safetensors", "b.safetensors", "x.safetensors", "--ema"],
        &["2 files", "--average"],
    );
    fails(
        &[
            "a.safetensors",
            "mean.safetensors",
            "--model",
            "resnet8",
            "--fold-bn",
        ],
        &["--force"],
    );
    fails(
        &["a.safetensors", "x.safetensors", "--model", "resnet8"],
        &["layer31.0.weight"],
    );
    fails(
        &[
            "a.safetensors",
            "a.safetensors",
            "--model",
            "resnet8",
            "--force",
        ],
        &["is the input"],
    );
    fails(
        &["--ema", "a.safetensors", "x.safetensors"],
        &["no moving averages"],
    );
    fails(
        &["--average", "a.safetensors", "x.safetensors"],
        &["two or more"],
    );
    assert!(!folder.path("x.safetensors").exists());
}

/// A student with NORM's module, as its training keeps it, and what remains after the merge.
#[test]
fn merge_folds_a_norm_student() {
    let folder = Folder::new();
    network("resnet8", &folder.path("plain.safetensors"));
    let mut state = taper::weights::load(folder.path("plain.safetensors"))
        .unwrap()
        .tensors;
    let wide = 96;
    let wave = |shape: &[usize], from: f64| {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|i| ((i as f64 * 0.7 + from).sin() * 0.1) as f32)
            .collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    for (module, out, inputs) in [("layer31", wide, 64), ("layer32", 64, wide)] {
        let mut put =
            |name: &str, tensor: Tensor| state.insert(format!("module.{module}.{name}"), tensor);
        put("0.weight", wave(&[out, inputs, 1, 1], 0.3));
        put("1.weight", (wave(&[out], 0.1) + 1.).unwrap());
        put("1.bias", wave(&[out], 0.2));
        put("1.running_mean", wave(&[out], 0.4));
        put("1.running_var", (wave(&[out], 0.5) + 0.5).unwrap());
        put(
            "1.num_batches_tracked",
            Tensor::new(9i64, &Device::Cpu).unwrap(),
        );
    }
    let student = state
        .into_iter()
        .map(|(name, tensor)| match name.starts_with("module.") {
            true => (name, tensor),
            false => (format!("module.{name}"), tensor),
        })
        .collect();
    taper::weights::save(
        folder.path("student.safetensors"),
        &student,
        &BTreeMap::new(),
    )
    .unwrap();
    let merge = [
        "weights",
        "merge",
        "student.safetensors",
        "--model",
        "resnet8",
        "out.safetensors",
        "--json",
    ];
    assert_eq!(folder.ok(&merge).json()["tensors"], 56);
    folder.ok(&[
        "weights",
        "verify",
        "out.safetensors",
        "--model",
        "resnet8",
        "--classes",
        "10",
    ]);
    let found = differs(
        &folder,
        &["weights", "diff", "out.safetensors", "plain.safetensors"],
    );
    let changed: Vec<&str> = found["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["name"].as_str().unwrap())
        .collect();
    assert_eq!(changed, ["fc.bias", "fc.weight"]);
}

#[test]
fn every_kind_of_merge_keeps_to_the_limits() {
    let folder = Folder::new();
    network("resnet8", &folder.path("w.safetensors"));
    for kind in [
        &["--model", "resnet8"][..],
        &["--model", "resnet8", "--fold-bn"],
        &["--ema"],
    ] {
        let mut arguments = vec!["weights", "merge", "w.safetensors", "out.safetensors"];
        arguments.extend(kind);
        arguments.extend(["--max-header-bytes", "8"]);
        let text = folder.fails(&arguments);
        assert!(text.contains("--max-header-bytes"), "{kind:?}: {text}");
    }
}
