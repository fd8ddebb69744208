//! `taper diffusion`: from training to samples and measures, and what bad input is answered.

use crate::support::{Folder, tensor_names};
use serde_json::Value;

/// A training of a few seconds.
fn train(folder: &Folder, more: &[&str]) -> Value {
    let start = [
        "diffusion",
        "train",
        "--data",
        "checkerboard",
        "--epochs",
        "2",
        "--batch",
        "64",
        "--json",
        "--set",
        "steps_per_epoch=40",
        "--set",
        "evaluation.samples=64",
    ];
    let events = folder.ok(&[&start, more].concat()).events();
    assert!(events.iter().any(|event| event["event"] == "epoch"));
    events.last().unwrap().clone()
}

#[test]
fn train_sample_and_eval_points() {
    let folder = Folder::new();
    let result = train(&folder, &["--order", "2", "--out", "cud"]);
    assert_eq!(result["event"], "result");
    assert_eq!(result["method"], "cud");
    assert!(result["metrics"]["w2_16"].as_f64().unwrap() > 0.0);
    assert!((result["best_steps"][0].as_f64().unwrap() - 16.0).abs() < 1e-9);
    for file in [
        "plots/samples.png",
        "plots/trajectories.png",
        "report.md",
        "config.toml",
    ] {
        assert!(folder.path("cud").join(file).is_file(), "{file}");
    }
    let names = tensor_names(&folder.path("cud/model.safetensors"));
    assert!(names.contains(&"heads.1.weight".to_string()), "{names:?}");

    let draw = [
        "diffusion",
        "sample",
        "cud",
        "--steps",
        "1,4",
        "--count",
        "20",
        "--head",
        "2",
    ];
    folder.ok(&[&draw[..], &["--out", "all.safetensors", "--batch", "7"]].concat());
    assert_eq!(
        tensor_names(&folder.path("all.safetensors")),
        ["samples.0", "samples.1"]
    );
    // The same samples in batches of another size, and from the middle on.
    let load = |name: &str| {
        let tensors = candle_core::safetensors::load(folder.path(name), &candle_core::Device::Cpu);
        tensors.unwrap()["samples.1"].to_vec2::<f32>().unwrap()
    };
    folder.ok(&[&draw[..], &["--out", "again.safetensors", "--batch", "20"]].concat());
    assert_eq!(load("all.safetensors"), load("again.safetensors"));
    folder.ok(&[
        "diffusion",
        "sample",
        "cud",
        "--steps",
        "1,4",
        "--count",
        "5",
        "--first",
        "15",
        "--head",
        "2",
        "--out",
        "part.safetensors",
    ]);
    assert_eq!(load("all.safetensors")[15..], load("part.safetensors"));
    folder.ok(&[
        "diffusion",
        "sample",
        "cud",
        "--out",
        "picture.png",
        "--compare",
        "cud",
    ]);
    assert_eq!(
        image::image_dimensions(folder.path("picture.png"))
            .unwrap()
            .0,
        10 * 246 + 6
    );

    let answer = folder
        .ok(&[
            "diffusion",
            "eval",
            "cud",
            "--samples",
            "100",
            "--steps",
            "1,8",
            "--json",
        ])
        .json();
    let rows = answer["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1]["steps"], "8");
    for key in ["w2", "energy", "straightness"] {
        assert!(rows[1][key].as_f64().unwrap() >= 0.0, "{key}");
    }
    let adaptive = [
        "diffusion",
        "eval",
        "cud",
        "--samples",
        "50",
        "--rule",
        "dopri5",
        "--json",
    ];
    let answer = folder.ok(&adaptive).json();
    assert!(answer["rows"][0]["evaluations"].as_u64().unwrap() > 6);
    // It shows no steps that could be straight.
    assert!(answer["rows"][0].get("straightness").is_none());
}

#[test]
fn distillers_and_further_stages() {
    let folder = Folder::new();
    train(
        &folder,
        &["--method", "flow", "--out", "flow", "--coupling"],
    );
    let names = tensor_names(&folder.path("flow/model.safetensors"));
    assert!(
        names.iter().all(|name| !name.starts_with("encoder")),
        "{names:?}"
    );
    let teacher = ["--teacher-weights", "flow"];
    train(
        &folder,
        &[&["--method", "consistency", "--out", "cd"], &teacher[..]].concat(),
    );
    train(
        &folder,
        &[&["--method", "progressive", "--out", "pd"], &teacher[..]].concat(),
    );
    for file in [
        "stage8/model.safetensors",
        "stage1/model.safetensors",
        "model.safetensors",
    ] {
        assert!(folder.path("pd").join(file).is_file(), "{file}");
    }
    let result = train(&folder, &["--method", "consistency", "--out", "own"]);
    assert_eq!(result["event"], "result");
    assert!(folder.path("own/teacher/model.safetensors").is_file());
    train(
        &folder,
        &[
            "--additional",
            "1",
            "--out",
            "one",
            "--set",
            "additional.pairs=256",
        ],
    );
    folder.ok(&[
        "diffusion",
        "sample",
        "one/one-step.safetensors",
        "--steps",
        "1",
        "--out",
        "one.png",
    ]);
}

#[test]
fn images_are_drawn_and_measured() {
    let folder = Folder::new();
    let result = folder
        .ok(&[
            "diffusion",
            "train",
            "--data",
            "digits",
            "--method",
            "flow",
            "--epochs",
            "1",
            "--out",
            "digits",
            "--json",
        ])
        .json();
    assert!(result["metrics"]["flow"].as_f64().unwrap() > 0.0);
    folder.ok(&[
        "diffusion",
        "sample",
        "digits",
        "--steps",
        "2",
        "--count",
        "3",
        "--out",
        "images",
    ]);
    let size = image::image_dimensions(folder.path("images/000002.png")).unwrap();
    assert_eq!(size, (8, 8));
    folder.ok(&[
        "train",
        "resnet8",
        "--data",
        "digits",
        "--epochs",
        "1",
        "--out",
        "classifier",
    ]);
    let answer = folder
        .ok(&[
            "diffusion",
            "eval",
            "digits",
            "--samples",
            "64",
            "--steps",
            "2",
            "--classifier",
            "resnet8",
            "--classifier-weights",
            "classifier/model.safetensors",
            "--json",
        ])
        .json();
    let row = &answer["rows"][0];
    assert!(row["frechet"].as_f64().unwrap() > 0.0);
    for key in ["precision", "recall"] {
        assert!((0.0..=1.0).contains(&row[key].as_f64().unwrap()), "{key}");
    }
}

#[test]
fn bad_input_is_named() {
    let folder = Folder::new();
    train(&folder, &["--method", "flow", "--out", "flow"]);
    let fails = |arguments: &[&str], words: &[&str]| {
        let text = folder.fails(arguments);
        for word in words {
            assert!(text.contains(word), "{arguments:?}: {text}");
        }
    };
    let sample = ["diffusion", "sample", "flow", "--out", "x.png"];
    fails(
        &[&sample[..], &["--steps", "0"]].concat(),
        &["steps", "from 1"],
    );
    fails(
        &[&sample[..], &["--head", "2"]].concat(),
        &["head", "one head"],
    );
    fails(
        &[&sample[..], &["--class", "3"]].concat(),
        &["class", "no classes"],
    );
    let strict = [
        "--rule",
        "dopri5",
        "--tolerance",
        "1e-9",
        "--evaluations",
        "10",
    ];
    fails(
        &[&sample[..], &strict].concat(),
        &["tolerance", "not reached", "evaluations"],
    );
    let train = ["diffusion", "train", "--out", "bad"];
    let digits = ["--data", "digits"];
    fails(
        &[&train[..], &digits, &["--network", "cud_cifar10"]].concat(),
        &["network", "[1, 8, 8]"],
    );
    fails(
        &[&train[..], &digits, &["--order", "4"]].concat(),
        &["catch_up.order", "1, 2 or 3"],
    );
    fails(
        &[&train[..], &digits, &["--published"]].concat(),
        &["--published", "cifar10"],
    );
    fails(
        &[&train[..], &digits, &["--batch", "5000"]].concat(),
        &["batch", "training images"],
    );
    let missing = ["diffusion", "sample", "nothing", "--out", "x.png"];
    fails(&missing, &["nothing"]);
    folder.ok(&[
        "train",
        "resnet8",
        "--data",
        "digits",
        "--epochs",
        "1",
        "--out",
        "classifier",
    ]);
    fails(
        &["diffusion", "sample", "classifier", "--out", "x.png"],
        &["classifier", "taper diffusion train"],
    );
    fails(
        &["diffusion", "eval", "flow", "--data", "digits"],
        &["--classifier"],
    );
}
