//! `taper weights inspect`, `diff`, `verify`.

use super::{corpus, differs, network};
use crate::support::Folder;
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[test]
fn inspect_shows_a_tree_a_list_and_statistics() {
    let folder = Folder::new();
    network("resnet8", &folder.path("w.safetensors"));
    let tree = folder.ok(&["weights", "inspect", "w.safetensors"]).text();
    assert!(tree.contains("56 tensors"), "{tree}");
    let layer = tree.lines().find(|line| line.starts_with("layer1 "));
    assert!(layer.unwrap().contains("12 tensors"), "{tree}");
    assert!(tree.contains("    conv1 "), "{tree}");
    let short = folder
        .ok(&["weights", "inspect", "w.safetensors", "--levels", "1"])
        .text();
    assert!(short.lines().count() < tree.lines().count());
    let flat = folder
        .ok(&["weights", "inspect", "w.safetensors", "--flat", "--stats"])
        .text();
    let line = flat
        .lines()
        .find(|line| line.starts_with("bn1.running_var"));
    assert!(line.unwrap().contains("mean 1.0000e0"), "{flat}");
    let json = folder
        .ok(&["weights", "inspect", "w.safetensors", "--stats", "--json"])
        .json();
    let tensors = json["tensors"].as_array().unwrap();
    assert_eq!((json["schema"].as_u64(), tensors.len()), (Some(1), 56));
    let conv = tensors
        .iter()
        .find(|t| t["name"] == "conv1.weight")
        .unwrap();
    assert_eq!(conv["shape"], serde_json::json!([16, 3, 3, 3]));
    assert_eq!(
        (conv["dtype"].as_str(), conv["nan"].as_u64()),
        (Some("F32"), Some(0))
    );
    assert_eq!(conv["bytes"], 16 * 27 * 4);
    let modules = json["modules"].as_array().unwrap();
    assert!(
        modules
            .iter()
            .any(|m| m["name"] == "layer1.0" && m["tensors"] == 12)
    );
    let beside = folder
        .ok(&[
            "weights",
            "inspect",
            &corpus("good/wrapped-net.pt"),
            "--beside",
            "--json",
        ])
        .json();
    assert_eq!(beside["wrapper"], "net");
    assert!(!beside["beside"].as_array().unwrap().is_empty());
    let names = folder
        .ok(&["weights", "inspect", "w.safetensors", "--quiet"])
        .text();
    assert_eq!(names.lines().count(), 56);
    let text = folder.fails(&["weights", "inspect", &corpus("bad/system.pt")]);
    assert!(text.contains("posix.system"), "{text}");
}

#[test]
fn diff_names_what_differs() {
    let folder = Folder::new();
    let path = |name: &str| -> PathBuf { folder.path(name) };
    network("resnet8", &path("a.safetensors"));
    network("resnet14", &path("long.safetensors"));
    let mut state = taper::weights::load(path("a.safetensors")).unwrap().tensors;
    let bias = state["fc.bias"].clone();
    state.insert("fc.bias".into(), (bias + 0.5).unwrap());
    state.remove("bn1.weight");
    state.insert(
        "bn1.wieght".into(),
        Tensor::new(1f32, &Device::Cpu).unwrap(),
    );
    taper::weights::save(path("b.safetensors"), &state, &BTreeMap::new()).unwrap();
    let same = folder
        .ok(&[
            "weights",
            "diff",
            "a.safetensors",
            "a.safetensors",
            "--json",
        ])
        .json();
    assert_eq!(
        (same["equal"].as_bool(), same["compared"].as_u64()),
        (Some(true), Some(56))
    );
    let found = differs(
        &folder,
        &["weights", "diff", "a.safetensors", "b.safetensors"],
    );
    assert_eq!(found["values"][0]["name"], "fc.bias");
    let apart = found["values"][0]["max_abs"].as_f64().unwrap();
    assert!((apart - 0.5).abs() < 1e-6, "{apart}");
    assert_eq!(found["missing"][0]["name"], "bn1.wieght");
    assert_eq!(found["extra"][0]["nearest"], "bn1.wieght");
    let text = folder.run(&["weights", "diff", "a.safetensors", "b.safetensors"]);
    assert!(
        text.text().contains("at most 5.000e-1 apart"),
        "{}",
        text.text()
    );
    let tolerated = [
        "weights",
        "diff",
        "a.safetensors",
        "b.safetensors",
        "--tolerance",
        "1",
    ];
    assert_eq!(
        differs(&folder, &tolerated)["values"],
        serde_json::json!([])
    );
    // Against a network.
    let fits = folder
        .ok(&["weights", "diff", "a.safetensors", "ResNet-8", "--json"])
        .json();
    assert_eq!(fits["equal"], true);
    let found = differs(&folder, &["weights", "diff", "long.safetensors", "resnet8"]);
    assert_eq!(found["extra"].as_array().unwrap().len(), 36);
    let text = folder.fails(&["weights", "diff", "a.safetensors", "resnet9"]);
    assert!(
        text.contains("resnet9") && text.contains("resnet8"),
        "{text}"
    );
    let text = folder.fails(&["weights", "diff", "a.safetensors", "b.pth"]);
    assert!(text.contains("b.pth"), "{text}");
}

#[test]
fn verify_lists_every_failure() {
    let folder = Folder::new();
    network("resnet8", &folder.path("w.safetensors"));
    let digest = taper::weights::sha256(folder.path("w.safetensors")).unwrap();
    let named = format!("w-{}.safetensors", &digest[..8]);
    std::fs::copy(folder.path("w.safetensors"), folder.path(&named)).unwrap();
    let verify = [
        "weights",
        "verify",
        &named,
        "--model",
        "resnet8",
        "--classes",
        "10",
    ];
    let good = folder
        .ok(&[&verify[..], &["--sha256", &digest.to_uppercase(), "--json"]].concat())
        .json();
    assert_eq!(good["ok"], true);
    let checks: Vec<&str> = good["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["check"].as_str().unwrap())
        .collect();
    assert_eq!(checks, ["sha256", "name", "structure", "finite", "fits"]);
    // Everything wrong at once.
    let mut state = taper::weights::load(folder.path(&named)).unwrap().tensors;
    state.insert(
        "fc.bias".into(),
        Tensor::new(&[f32::NAN; 7], &Device::Cpu).unwrap(),
    );
    state.remove("bn1.bias");
    let bad = "bad-00000000.safetensors";
    taper::weights::save(folder.path(bad), &state, &BTreeMap::new()).unwrap();
    let found = differs(
        &folder,
        &[
            "weights", "verify", bad, "--model", "resnet8", "--sha256", &digest,
        ],
    );
    let text = serde_json::to_string(&found["checks"]).unwrap();
    for part in [
        "expected",
        "00000000",
        "7 NaN",
        "bn1.bias: missing",
        "[7], expected [10]",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let failed = found["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["ok"] == false)
        .count();
    assert_eq!(failed, 4, "{text}");
    let found = differs(
        &folder,
        &[
            "weights",
            "verify",
            &named,
            "--model",
            "resnet8",
            "--classes",
            "100",
        ],
    );
    assert_eq!(found["checks"][3]["ok"], false);
    let found = differs(&folder, &["weights", "verify", &corpus("bad/flipped.pt")]);
    assert!(
        found["checks"][0]["details"][0]
            .as_str()
            .unwrap()
            .contains("flipped.pt")
    );
    let text = folder.fails(&["weights", "verify", &named, "--sha256", "12"]);
    assert!(text.contains("64 hexadecimal digits"), "{text}");
    let text = folder.fails(&["weights", "verify", "nothing.pth"]);
    assert!(text.contains("nothing.pth"), "{text}");
    assert_eq!(
        folder
            .run(&["weights", "verify", &named, "--classes", "10"])
            .code(),
        2
    );
}
