//! `taper distill`: the table, the students, the merge.

use crate::support::{Folder, tensor_names};

#[test]
fn the_quick_start_at_its_smallest() {
    let folder = Folder::new();
    let answer = folder.ok(&[
        "distill", "--epochs", "1", "--seeds", "0..1", "--out", "run", "--json",
    ]);
    let result = answer.json();
    assert_eq!(result["event"], "result");
    let rows = result["rows"].as_array().unwrap();
    let methods: Vec<_> = rows
        .iter()
        .map(|row| row["method"].as_str().unwrap())
        .collect();
    assert_eq!(methods, ["teacher", "ce", "kd", "norm"]);
    for row in &rows[1..] {
        let accuracies: Vec<f64> = row["accuracies"]
            .as_array()
            .unwrap()
            .iter()
            .map(|value| value.as_f64().unwrap())
            .collect();
        assert_eq!(accuracies.len(), 2);
        let mean = accuracies.iter().sum::<f64>() / 2.0;
        assert!((row["mean"].as_f64().unwrap() - mean).abs() < 1e-9);
        let sd = ((accuracies[0] - mean).powi(2) * 2.0).sqrt();
        assert!((row["sd"].as_f64().unwrap() - sd).abs() < 1e-9);
    }
    for name in [
        "plots/comparison.svg",
        "report.md",
        "config.toml",
        "teacher/model.safetensors",
    ] {
        assert!(folder.path("run").join(name).is_file(), "{name}");
    }

    // Each student is the plain network: the names of resnet8 and no others, and eval agrees.
    let info = folder.ok(&["models", "info", "resnet8", "--json"]).json();
    let mut plain: Vec<_> = info["tensor_list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tensor| tensor["name"].as_str().unwrap().to_string())
        .collect();
    plain.sort();
    for (row, method) in rows[1..].iter().zip(["ce", "kd", "norm"]) {
        let model = folder.path(&format!("run/{method}/seed1/model.safetensors"));
        assert_eq!(tensor_names(&model), plain, "{method}");
        let file = model.display().to_string();
        let arguments = [
            "eval",
            "resnet8",
            "--weights",
            &file,
            "--data",
            "digits",
            "--json",
        ];
        assert_eq!(
            folder.ok(&arguments).json()["top1"],
            row["accuracies"][1],
            "{method}"
        );
    }

    // A finished run answers at once, with the same table.
    let again = folder.ok(&["distill", "--resume", "run", "--json"]).json();
    assert_eq!(again["rows"], result["rows"]);
}

#[test]
fn a_wide_resnet_keeps_one_convolution_and_says_so() {
    let folder = Folder::new();
    let arguments = [
        "distill",
        "--teacher",
        "resnet8",
        "--student",
        "wrn_16_1",
        "--method",
        "norm",
        "--data",
        "digits",
        "--epochs",
        "1",
        "--slices",
        "2",
        "--out",
        "run",
    ];
    let text = folder.ok(&arguments).text();
    assert!(text.contains("transform.weight"), "{text}");
    let names = tensor_names(&folder.path("run/norm/seed0/model.safetensors"));
    assert!(names.contains(&"transform.weight".to_string()));
    assert!(!names.iter().any(|name| name.starts_with("layer3")));
    folder.ok(&[
        "eval",
        "wrn_16_1",
        "--weights",
        "run/norm/seed0/model.safetensors",
        "--data",
        "digits",
    ]);
}

#[test]
fn a_mobilenet_student_remembers_its_missing_relu() {
    let folder = Folder::new();
    let arguments = [
        "distill",
        "--teacher",
        "resnet8",
        "--student",
        "cifar_mobilenetv2",
        "--method",
        "norm",
        "--data",
        "digits",
        "--epochs",
        "1",
        "--slices",
        "2",
        "--out",
        "run",
        "--json",
    ];
    let result = folder.ok(&arguments).json();
    assert!(result["remarks"][0].as_str().unwrap().contains("ReLU"));
    let arguments = [
        "eval",
        "cifar_mobilenetv2",
        "--weights",
        "run/norm/seed0/model.safetensors",
        "--data",
        "digits",
        "--json",
    ];
    let scores = folder.ok(&arguments).json();
    assert_eq!(scores["top1"], result["rows"][1]["accuracies"][0]);
}

#[test]
fn a_given_teacher_is_used_and_checked() {
    let folder = Folder::new();
    folder.ok(&[
        "train", "resnet14", "--data", "digits", "--epochs", "1", "--out", "t", "--quiet",
    ]);
    let pair = |extra: &[&'static str]| {
        let mut arguments = vec![
            "distill",
            "--teacher",
            "resnet14",
            "--teacher-weights",
            "t/model.safetensors",
            "--student",
            "resnet8",
            "--data",
            "digits",
            "--epochs",
            "1",
            "--method",
            "kd",
        ];
        arguments.extend(extra);
        arguments
    };
    let result = folder.ok(&pair(&["--out", "a", "--json"])).json();
    assert_eq!(result["rows"].as_array().unwrap().len(), 2);
    assert!(!folder.path("a/teacher").exists());
    let text = folder.fails(&pair(&["--tap", "f9", "--out", "b"]));
    assert!(text.contains("f9") && text.contains("f3"), "{text}");
    let text = folder.fails(&pair(&["--slices", "0", "--out", "c"]));
    assert!(text.contains("norm.slices"), "{text}");
}
