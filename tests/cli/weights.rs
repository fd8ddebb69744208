//! `taper weights convert`, `inspect`, `diff`, `verify`, `merge`: every verb and what each refuses.

use crate::support::{Folder, tensor_names};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use taper::layers::ParameterStore;
use taper::vision::registry;

/// A file of the corpus that PyTorch wrote.
fn corpus(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/weights");
    folder.join(name).display().to_string()
}

/// A seeded network as a file.
fn network(name: &str, path: &Path) {
    let entry = registry::find(name).unwrap();
    let store = ParameterStore::new(3, &Device::Cpu);
    (entry.config)(10)
        .build(store.var_builder(DType::F32))
        .unwrap();
    taper::weights::save(path, &store.state(), &BTreeMap::new()).unwrap();
}

#[test]
fn convert_says_what_it_did() {
    let folder = Folder::new();
    let input = corpus("good/prefixed.pt");
    let answer = folder.ok(&["weights", "convert", &input, "out.safetensors", "--json"]);
    let plain = answer.json();
    assert_eq!(plain["container"], "torch-zip");
    assert_eq!(plain["renamed"].as_array().unwrap().len(), 0);
    let names = tensor_names(&folder.path("out.safetensors"));
    assert_eq!(plain["tensors"], names.len());
    let text = folder.fails(&["weights", "convert", &input, "out.safetensors"]);
    assert!(
        text.contains("out.safetensors") && text.contains("--force"),
        "{text}"
    );
    // Prefixes, patterns, another type, and a dry run first.
    let prefix = names[0].split_inclusive('.').next().unwrap();
    let changes = [
        "--strip",
        prefix,
        "--dtype",
        "bf16",
        "--licence",
        "MIT",
        "--force",
    ];
    let arguments = |extra: &[&str]| -> Vec<String> {
        let all = ["weights", "convert", &input, "out.safetensors", "--json"];
        let all = all.iter().chain(&changes).chain(extra);
        all.map(|text| text.to_string()).collect()
    };
    let run = |extra: &[&str]| {
        let arguments = arguments(extra);
        let texts: Vec<&str> = arguments.iter().map(String::as_str).collect();
        folder.ok(&texts).json()
    };
    let before = std::fs::read(folder.path("out.safetensors")).unwrap();
    assert_eq!(run(&["--dry-run"])["dry_run"], true);
    assert_eq!(
        std::fs::read(folder.path("out.safetensors")).unwrap(),
        before
    );
    let changed = run(&[]);
    assert!(changed["cast"].as_u64().unwrap() > 0);
    assert!(!changed["renamed"].as_array().unwrap().is_empty());
    let after = tensor_names(&folder.path("out.safetensors"));
    assert!(
        after.iter().all(|name| !name.starts_with(prefix)),
        "{after:?}"
    );
    let file = taper::weights::load(folder.path("out.safetensors")).unwrap();
    assert_eq!(file.metadata["licence"], "MIT");
    assert_eq!(file.metadata["source"], "prefixed.pt");
}

#[test]
fn convert_refuses_by_name() {
    let folder = Folder::new();
    let input = corpus("good/plain.safetensors");
    let convert = |input: &str, extra: &[&str]| {
        let mut arguments = vec!["weights", "convert", input, "out.safetensors"];
        arguments.extend(extra);
        let text = folder.fails(&arguments);
        assert!(!folder.path("out.safetensors").exists());
        text
    };
    for (extra, parts) in [
        (
            &["--dialect", "pytorch"][..],
            &["--dialect pytorch", "torchvision", "auto"][..],
        ),
        (
            &["--dialect", "edm"],
            &["plain.safetensors", "--dialect edm"],
        ),
        (&["--keep", "nothing"], &["--keep nothing", "nearest"]),
        (&["--rename", "nothing=x"], &["--rename nothing"]),
        (
            &["--max-header-bytes", "8"],
            &["header", "--max-header-bytes"],
        ),
    ] {
        let text = convert(&input, extra);
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    let text = convert(&corpus("good/layouts.pt"), &["--dialect", "auto"]);
    assert!(
        text.contains("--dialect auto: no dialect knows all"),
        "{text}"
    );
    for bad in [
        "system.pt",
        "page.pth",
        "pointer.pth",
        "memo-bomb.pkl",
        "overlap.safetensors",
    ] {
        let text = convert(&corpus(&format!("bad/{bad}")), &[]);
        assert!(text.contains(bad), "{text}");
    }
    let text = convert("missing.pth", &[]);
    assert!(
        text.contains("missing.pth") && text.contains("No such file"),
        "{text}"
    );
    // Usage errors.
    for arguments in [
        &[
            "weights",
            "convert",
            &input,
            "o.safetensors",
            "--dtype",
            "i8",
        ][..],
        &[
            "weights",
            "convert",
            &input,
            "o.safetensors",
            "--rename",
            "x",
        ],
        &["weights", "convert", &input, "o.safetensors", "--reverse"],
        &["weights", "convert", &input],
        &["weights", "merge", &input],
        &["weights", "diff", &input, &input, "--tolerance", "-1"],
    ] {
        assert_eq!(folder.run(arguments).code(), 2, "{arguments:?}");
    }
    std::fs::copy(&input, folder.path("in.safetensors")).unwrap();
    std::os::unix::fs::symlink("in.safetensors", folder.path("link.safetensors")).unwrap();
    let text = folder.fails(&[
        "weights",
        "convert",
        "in.safetensors",
        "link.safetensors",
        "--force",
    ]);
    assert!(text.contains("is the input"), "{text}");
    let text = folder.fails(&["weights", "convert", "in.safetensors", "out.pth"]);
    assert!(
        text.contains("out.pth") && text.contains("safetensors"),
        "{text}"
    );
}

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

/// Exit code 1 without an error text: the answer is on stdout.
fn differs(folder: &Folder, arguments: &[&str]) -> serde_json::Value {
    let mut arguments = arguments.to_vec();
    arguments.push("--json");
    let answer = folder.run(&arguments);
    assert_eq!(answer.code(), 1, "{}", answer.errors());
    assert_eq!(answer.errors(), "");
    answer.json()
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
