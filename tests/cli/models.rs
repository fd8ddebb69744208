//! `taper models`, `doctor`, `completions`, `man`, usage.

use crate::support::Folder;

#[test]
fn list_and_info_answer_in_json() {
    let folder = Folder::new();
    let list = folder.ok(&["models", "list", "resnet*", "--json"]).json();
    let names: Vec<_> = list["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["name"].as_str().unwrap())
        .collect();
    assert!(
        names.starts_with(&["resnet8", "resnet8x4", "resnet14", "resnet20"]),
        "{names:?}"
    );
    for key in ["task", "parameters", "tensors", "macs", "input"] {
        assert!(!list["models"][0][key].is_null(), "{key}");
    }
    let info = folder
        .ok(&["models", "info", "ResNet-20", "--classes", "10", "--json"])
        .json();
    // 278,324 for 100 classes; the last layer loses 90 rows of 64 weights and a bias.
    assert_eq!(info["parameters"], 278_324 - 90 * 65);
    let tensors = info["tensor_list"].as_array().unwrap();
    assert_eq!(tensors.len(), 128);
    assert!(
        tensors
            .iter()
            .any(|t| t["name"] == "fc.weight" && t["shape"][0] == 10)
    );
    assert_eq!(info["stages"].as_array().unwrap().len(), 4);
    let known = ["models", "info", "akamaster_resnet20", "--json"];
    assert_eq!(folder.ok(&known).json()["weights"][0]["top1"], 91.73);
}

#[test]
fn a_misspelt_name_gets_the_nearest() {
    let text = Folder::new().fails(&["models", "info", "resnet21"]);
    assert!(text.contains("resnet20"), "{text}");
}

#[test]
fn usage_errors_exit_with_two() {
    let folder = Folder::new();
    for arguments in [
        &["models", "lst"][..],
        &["train"],
        &["distill", "--method", "magic"],
        &["distill", "--seeds", "4..0"],
        &["train", "resnet8", "--data", "cifar11"],
        &["doctor", "--device", "tpu"],
        &["doctor", "--threads", "0"],
    ] {
        let answer = folder.run(arguments);
        assert_eq!(answer.code(), 2, "{arguments:?}: {}", answer.errors());
        assert!(answer.text().is_empty());
    }
}

#[test]
fn doctor_completions_and_manual() {
    let folder = Folder::new();
    let report = folder.ok(&["doctor", "--json", "--threads", "1"]).json();
    assert_eq!(report["threads"], 1);
    assert!(report["cpu_features"].is_array() && report["cuda"].is_string());
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            folder
                .ok(&["completions", shell])
                .text()
                .contains("distill")
        );
    }
    let manual = folder.ok(&["man"]).text();
    for word in ["taper", "distill", "teacher\\-weights"] {
        assert!(manual.contains(word), "{word}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    use std::process::Stdio;
    let folder = Folder::new();
    let mut child = folder
        .command(&["man"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(output.stderr.is_empty());
}

#[test]
fn cuda_is_refused_by_name_where_it_is_not_compiled_in() {
    let text = Folder::new().fails(&["bench", "infer", "resnet8", "--device", "cuda:0"]);
    assert!(text.contains("--device cpu"), "{text}");
}

#[test]
fn bench_answers_in_json() {
    let folder = Folder::new();
    for verb in ["step", "infer"] {
        let arguments = [
            "bench", verb, "resnet8", "--batch", "2", "--steps", "3", "--json",
        ];
        let timing = folder.ok(&arguments).json();
        assert_eq!(timing["steps"], 3);
        assert_eq!(timing["batch"], 2);
        assert_eq!(timing["parameters"], 83_892);
        assert!(timing["p20_s"].as_f64() <= timing["median_s"].as_f64());
        assert!(timing["peak_bytes"].as_u64().unwrap() > 0);
    }
}
