//! `taper train` and `eval`.

use crate::support::Folder;

#[test]
fn a_training_leaves_a_whole_run_and_resumes() {
    let folder = Folder::new();
    let answer = folder.ok(&[
        "train", "resnet8", "--data", "digits", "--epochs", "2", "--out", "run", "--json",
    ]);
    let result = answer.json();
    assert_eq!(result["event"], "result");
    assert_eq!(result["count"], 900);
    for name in [
        "config.toml",
        "metrics.jsonl",
        "report.md",
        "model.safetensors",
        "checkpoint",
        "plots",
    ] {
        assert!(folder.path("run").join(name).exists(), "{name}");
    }
    let plots = std::fs::read_dir(folder.path("run/plots")).unwrap().count();
    assert!(plots >= 2, "{plots}");
    let metrics = std::fs::read_to_string(folder.path("run/metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 3);

    // The saved network, read back, scores the same.
    let arguments = [
        "eval",
        "resnet8",
        "--weights",
        "run/model.safetensors",
        "--data",
        "digits",
        "--json",
    ];
    let scores = folder.ok(&arguments).json();
    for key in ["top1", "top5", "loss", "count"] {
        assert_eq!(scores[key], result[key], "{key}");
    }

    // Resuming what is finished trains nothing and answers the same.
    let before = std::fs::read(folder.path("run/model.safetensors")).unwrap();
    let again = folder.ok(&["train", "--resume", "run", "--json"]).json();
    assert_eq!(again["top1"], result["top1"]);
    assert_eq!(
        std::fs::read(folder.path("run/model.safetensors")).unwrap(),
        before
    );

    // A second training does not write over the first.
    let text = folder.fails(&["train", "resnet8", "--data", "digits", "--out", "run"]);
    assert!(text.contains("run"), "{text}");
}

#[test]
fn threads_do_not_change_the_result() {
    let folder = Folder::new();
    for (threads, out) in [("1", "one"), ("2", "two"), ("3", "three")] {
        folder.ok(&[
            "train",
            "resnet8",
            "--data",
            "digits",
            "--epochs",
            "1",
            "--threads",
            threads,
            "--out",
            out,
            "--quiet",
        ]);
    }
    let model = |out: &str| std::fs::read(folder.path(out).join("model.safetensors")).unwrap();
    assert!(model("one") == model("two"));
    assert!(model("one") == model("three"));
}

#[test]
fn a_recipe_is_overridden_by_flags() {
    let folder = Folder::new();
    let recipe = "model = 'resnet8'\nbatch = 128\n[training]\nepochs = 1\n\
                  optimizer = { name = 'adamw', learning_rate = 0.002 }\n";
    std::fs::write(folder.path("recipe.toml"), recipe).unwrap();
    folder.ok(&[
        "train",
        "--recipe",
        "recipe.toml",
        "--batch",
        "256",
        "--set",
        "training.clip_norm=5.0",
        "--out",
        "run",
        "--quiet",
    ]);
    let config = std::fs::read_to_string(folder.path("run/config.toml")).unwrap();
    for part in [
        "batch = 256",
        "adamw",
        "learning_rate = 0.002",
        "clip_norm = 5.0",
    ] {
        assert!(config.contains(part), "{part}: {config}");
    }
    let unknown = "model = 'resnet8'\nbatchsize = 128\n";
    std::fs::write(folder.path("bad.toml"), unknown).unwrap();
    let text = folder.fails(&["train", "--recipe", "bad.toml", "--out", "run2"]);
    assert!(text.contains("batchsize"), "{text}");
    assert!(!folder.path("run2").exists());
}
