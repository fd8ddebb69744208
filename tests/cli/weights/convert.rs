//! `taper weights convert`.

use super::corpus;
use crate::support::{Folder, tensor_names};

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
