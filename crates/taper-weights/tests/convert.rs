//! Conversion of every kind of checkpoint, every option, and what must be refused.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod files;

use candle_core::{DType, Device, Tensor};
use files::{corpus, expected, goods, open_and_read};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use taper_weights::{
    ConvertOptions, ConvertReport, Dialect, DialectChoice, Direction, ElementType, TensorFile,
    WeightsError, load, save,
};

fn convert(
    from: &Path,
    to: &Path,
    options: &ConvertOptions,
) -> Result<ConvertReport, WeightsError> {
    taper_weights::convert(from, to, options, &mut |_, _| ControlFlow::Continue(()))
}

fn leftovers(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| text.to_string()).collect()
}

#[test]
fn every_good_file_keeps_names_types_shapes_and_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("1"), folder.path().join("2"));
    let mut converted = 0;
    for (path, expectation) in goods() {
        let mut expected = expected(&expectation);
        let nameless: Vec<String> = expected
            .iter()
            .filter(|(_, (dtype, _, _))| ["C32", "C128"].contains(&dtype.as_str()))
            .map(|(name, _)| name.clone())
            .collect();
        if !nameless.is_empty() {
            let error = convert(&path, &one, &ConvertOptions::default()).unwrap_err();
            assert!(error.to_string().contains(&nameless[0]), "{error}");
            assert!(error.to_string().contains("--drop"), "{error}");
            expected.retain(|name, _| !nameless.contains(name));
        }
        let options = ConvertOptions {
            drop: nameless,
            ..Default::default()
        };
        let report = convert(&path, &one, &options).unwrap();
        convert(&path, &two, &options).unwrap();
        assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
        assert_eq!(report.tensors, expected.len(), "{}", path.display());
        assert!(report.renamed.is_empty() && report.permuted.is_empty());
        assert_eq!(open_and_read(&one).unwrap(), expected, "{}", path.display());
        // Others read it too, and every tensor is aligned.
        let bytes = std::fs::read(&one).unwrap();
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(read.len(), expected.len());
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
        std::fs::remove_file(&one).unwrap();
        std::fs::remove_file(&two).unwrap();
        converted += 1;
    }
    assert!(converted > 50);
    assert!(leftovers(folder.path()).is_empty());
}

#[test]
fn bad_files_leave_the_target_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    std::fs::write(&out, "what stood there").unwrap();
    let options = ConvertOptions {
        force: true,
        ..Default::default()
    };
    let reasons = std::fs::read_to_string(corpus("bad").join("REASONS")).unwrap();
    for line in reasons.lines() {
        let file = line.split('\t').next().unwrap();
        let error = convert(&corpus("bad").join(file), &out, &options).unwrap_err();
        assert!(error.to_string().contains(file), "{error}");
        assert_eq!(std::fs::read(&out).unwrap(), b"what stood there");
        assert_eq!(leftovers(folder.path()), ["out.safetensors"], "{file}");
    }
}

#[test]
fn the_header_says_where_it_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let input = corpus("good/wrapped-net.pt");
    let options = ConvertOptions {
        licence: Some("MIT".into()),
        ..Default::default()
    };
    let report = convert(&input, &out, &options).unwrap();
    let metadata = load(&out).unwrap().metadata;
    let digest = taper_weights::sha256(&input).unwrap();
    assert_eq!(metadata["source"], "wrapped-net.pt");
    assert_eq!(metadata["source_sha256"], digest);
    assert_eq!(metadata["licence"], "MIT");
    assert_eq!(metadata["epoch"], "3");
    assert_eq!(report.sha256["wrapped-net.pt"], digest);
    assert_eq!(report.wrapper.as_deref(), Some("net"));
    assert!(report.beside > 0);
    // Of a checkpoint in parts: the digest of each.
    let sharded = folder.path().join("sharded.safetensors");
    let report = convert(&corpus("good/sharded-bin"), &sharded, &Default::default()).unwrap();
    assert_eq!(report.sha256.len(), 3);
    let metadata = load(&sharded).unwrap().metadata;
    assert!(
        metadata.contains_key("source_sha256.pytorch_model-0.bin"),
        "{metadata:?}"
    );
}

#[test]
fn converted_and_saved_files_are_laid_out_alike() {
    let folder = tempfile::tempdir().unwrap();
    let [saved, converted, again] =
        ["saved", "converted", "again"].map(|name| folder.path().join(name));
    let tensor = |v: f32| Tensor::new(&[v, 2., 3.], &Device::Cpu).unwrap();
    let tensors = BTreeMap::from([
        ("b".to_string(), tensor(1.)),
        ("a".into(), tensor(5.)),
        ("count".into(), Tensor::new(7i64, &Device::Cpu).unwrap()),
        ("half".into(), tensor(0.5).to_dtype(DType::F16).unwrap()),
    ]);
    save(&saved, &tensors, &BTreeMap::new()).unwrap();
    convert(&saved, &converted, &Default::default()).unwrap();
    let back = load(&converted).unwrap();
    save(&again, &back.tensors, &back.metadata).unwrap();
    assert_eq!(
        std::fs::read(&converted).unwrap(),
        std::fs::read(&again).unwrap()
    );
}

fn small(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("small.safetensors");
    let tensor = |v: f32| Tensor::new(&[v, 1e6], &Device::Cpu).unwrap();
    let tensors = BTreeMap::from([
        ("module.a.0.weight".to_string(), tensor(1.)),
        ("module.a.1.weight".into(), tensor(2.)),
        ("module.b.bias".into(), tensor(3.)),
        (
            "module.count".into(),
            Tensor::new(7i64, &Device::Cpu).unwrap(),
        ),
    ]);
    save(&path, &tensors, &BTreeMap::new()).unwrap();
    path
}

#[test]
fn names_are_kept_dropped_stripped_and_renamed() {
    let folder = tempfile::tempdir().unwrap();
    let input = small(folder.path());
    let out = folder.path().join("out.safetensors");
    let options = ConvertOptions {
        keep: strings(&["module.a", "*.bias"]),
        drop: strings(&["module.a.1.*"]),
        strip: strings(&["module."]),
        rename: vec![
            ("a.{n}.*".into(), "layer{n}.*".into()),
            ("b".into(), "head".into()),
        ],
        ..Default::default()
    };
    let report = convert(&input, &out, &options).unwrap();
    let names: Vec<String> = load(&out).unwrap().tensors.into_keys().collect();
    assert_eq!(names, ["head.bias", "layer0.weight"]);
    assert_eq!(report.dropped, ["module.a.1.weight", "module.count"]);
    assert_eq!(report.renamed.len(), 2);
    let refused = |options: ConvertOptions, parts: &[&str]| {
        let out = folder.path().join("refused.safetensors");
        let text = convert(&input, &out, &options).unwrap_err().to_string();
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!out.exists());
    };
    let with = |change: fn(&mut ConvertOptions)| {
        let mut options = ConvertOptions::default();
        change(&mut options);
        options
    };
    refused(
        with(|o| o.keep = strings(&["modul.a"])),
        &["--keep modul.a", "nearest"],
    );
    refused(
        with(|o| o.drop = strings(&["nothing"])),
        &["--drop nothing"],
    );
    refused(
        with(|o| o.strip = strings(&["model."])),
        &["--strip model."],
    );
    refused(
        with(|o| o.rename = vec![("x".into(), "y".into())]),
        &["--rename x"],
    );
    refused(
        with(|o| o.rename = vec![("*.weight".into(), "w".into())]),
        &["--rename *.weight=w", "wildcards"],
    );
    refused(
        with(|o| {
            o.rename = vec![
                ("module.a.0".into(), "x".into()),
                ("module.a.1".into(), "x".into()),
            ]
        }),
        &[
            "both be named x.weight",
            "module.a.0.weight",
            "module.a.1.weight",
        ],
    );
    refused(
        with(|o| o.rename = vec![("module.count".into(), "".into())]),
        &["no name"],
    );
    refused(
        with(|o| o.rename = vec![("module.count".into(), "__metadata__".into())]),
        &["__metadata__"],
    );
    refused(with(|o| o.drop = strings(&["*"])), &["no tensor is left"]);
    refused(
        with(|o| o.dtype = Some(ElementType::I64)),
        &["--dtype I64", "f16"],
    );
}

#[test]
fn types_change_and_overflow_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let input = small(folder.path());
    for (dtype, expected, overflowed) in [
        (ElementType::F16, DType::F16, 3),
        (ElementType::BF16, DType::BF16, 0),
        (ElementType::F64, DType::F64, 0),
        (ElementType::F32, DType::F32, 0),
    ] {
        let out = folder.path().join(format!("{dtype}"));
        let options = ConvertOptions {
            dtype: Some(dtype),
            ..Default::default()
        };
        let report = convert(&input, &out, &options).unwrap();
        let tensors = load(&out).unwrap().tensors;
        assert_eq!(tensors["module.b.bias"].dtype(), expected);
        assert_eq!(tensors["module.count"].dtype(), DType::I64);
        assert_eq!(report.overflowed.len(), overflowed, "{dtype}");
        let first = tensors["module.b.bias"].to_dtype(DType::F32).unwrap();
        assert_eq!(first.to_vec1::<f32>().unwrap()[0], 3.);
    }
    // Every floating type of PyTorch becomes f32 with the numbers that the reader gives.
    let out = folder.path().join("all");
    let options = ConvertOptions {
        dtype: Some(ElementType::F32),
        drop: strings(&["c32", "c64", "c128"]),
        ..Default::default()
    };
    let input = corpus("good/dtypes.pt");
    let names: Vec<String> = TensorFile::open(&input, &Default::default())
        .unwrap()
        .entries()
        .iter()
        .filter(|entry| entry.dtype.is_complex())
        .map(|entry| entry.name.clone())
        .collect();
    convert(
        &input,
        &out,
        &ConvertOptions {
            drop: names,
            ..options
        },
    )
    .unwrap();
    let (before, after) = (
        TensorFile::open(&input, &Default::default()).unwrap(),
        load(&out).unwrap(),
    );
    for (name, tensor) in after.tensors {
        let wanted = before.tensor(&name).unwrap();
        let bits = |t: &Tensor| -> Vec<u32> {
            let flat = t.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
            flat.to_vec1::<f32>()
                .unwrap()
                .into_iter()
                .map(|v| if v.is_nan() { 0 } else { v.to_bits() })
                .collect()
        };
        assert_eq!(bits(&tensor), bits(&wanted), "{name}");
    }
}

#[test]
fn the_target_is_guarded() {
    let folder = tempfile::tempdir().unwrap();
    let input = small(folder.path());
    let whole = std::fs::read(&input).unwrap();
    let out = folder.path().join("out.safetensors");
    std::fs::write(&out, "mine").unwrap();
    let text = convert(&input, &out, &Default::default())
        .unwrap_err()
        .to_string();
    assert!(text.contains("--force"), "{text}");
    let force = ConvertOptions {
        force: true,
        ..Default::default()
    };
    let links = [folder.path().join("soft"), folder.path().join("hard")];
    std::os::unix::fs::symlink(&input, &links[0]).unwrap();
    std::fs::hard_link(&input, &links[1]).unwrap();
    for same in [&input, &links[0], &links[1]] {
        for options in [&force, &ConvertOptions::default()] {
            let error = convert(&input, same, options).unwrap_err();
            assert!(matches!(error, WeightsError::SameFile { .. }), "{error}");
        }
    }
    assert_eq!(std::fs::read(&input).unwrap(), whole);
    // A link to nothing, a folder, another kind's name, a folder that is not there.
    let dangling = folder.path().join("dangling");
    std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
    assert!(matches!(
        convert(&input, &dangling, &Default::default()),
        Err(WeightsError::Exists { .. })
    ));
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    assert!(convert(&input, &inner, &force).is_err());
    let text = convert(&input, &folder.path().join("a.pth"), &force)
        .unwrap_err()
        .to_string();
    assert!(text.contains("safetensors"), "{text}");
    let text = convert(&input, Path::new("/no/such/folder/w.safetensors"), &force)
        .unwrap_err()
        .to_string();
    assert!(text.contains("/no/such/folder"), "{text}");
    assert_eq!(std::fs::read(&out).unwrap(), b"mine");
    convert(&input, &out, &force).unwrap();
    assert_eq!(load(&out).unwrap().tensors.len(), 4);
    let names = leftovers(folder.path());
    assert!(
        !names.iter().any(|name| name.starts_with(".taper")),
        "{names:?}"
    );
}

#[test]
fn a_dry_run_and_a_stop_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let input = small(folder.path());
    let out = folder.path().join("out.safetensors");
    let options = ConvertOptions {
        dry_run: true,
        strip: strings(&["module."]),
        ..Default::default()
    };
    assert_eq!(convert(&input, &out, &options).unwrap().renamed.len(), 4);
    assert!(!out.exists());
    let stopped = taper_weights::convert(&input, &out, &Default::default(), &mut |_, _| {
        ControlFlow::Break(())
    });
    assert!(matches!(stopped, Err(WeightsError::Stopped { .. })));
    assert_eq!(leftovers(folder.path()), ["small.safetensors"]);
}

#[test]
fn tied_tensors_are_written_in_full_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.safetensors");
    let report = convert(&corpus("good/layouts.pt"), &out, &Default::default()).unwrap();
    let told = report
        .notes
        .iter()
        .any(|note| note.contains("tied_a") && note.contains("in full"));
    assert!(told, "{:?}", report.notes);
}

/// The published files, there and back: same names, same bytes.
#[test]
fn published_files_there_and_back() {
    let root = std::env::var_os("TAPER_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        Into::into,
    );
    let folder = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for (dialect, files) in [
        ("akamaster", "weights/cifar10-resnet"),
        ("distiller", "weights/cifar-distiller"),
    ] {
        let Ok(files) = std::fs::read_dir(root.join(files)) else {
            println!("{}: not here, skipped", root.join(files).display());
            continue;
        };
        for file in files {
            let path = file.unwrap().path();
            if !path
                .extension()
                .is_some_and(|ending| ending == "th" || ending == "pth")
            {
                continue;
            }
            let [zoo, back] = ["zoo", "back"].map(|name| folder.path().join(name));
            let mut options = ConvertOptions {
                dialect: DialectChoice::Named(Dialect::find(dialect).unwrap()),
                force: true,
                ..Default::default()
            };
            let report = convert(&path, &zoo, &options).unwrap();
            assert!(
                report.unknown.is_empty(),
                "{}: {:?}",
                path.display(),
                report.unknown
            );
            options.direction = Direction::ToOriginal;
            let report = convert(&zoo, &back, &options).unwrap();
            assert!(report.unknown.is_empty());
            assert_eq!(open_and_read(&back).unwrap(), open_and_read(&path).unwrap());
            seen += 1;
        }
    }
    println!("{seen} published files");
}

/// Name, type and shape of every tensor of a PyTorch network (`tests/weights/way_back.py --names`).
fn pytorch_names(network: &str) -> Vec<(String, String, Vec<usize>)> {
    let path = corpus("names").join(format!("{network}.names"));
    let text = std::fs::read_to_string(path).unwrap();
    let row = |line: &str| {
        let [name, dtype, shape] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let shape = shape.split(',').filter_map(|size| size.parse().ok());
        (name.to_string(), dtype.to_string(), shape.collect())
    };
    text.lines().map(row).collect()
}

/// What PyTorch loads strictly is what comes back: every name, type and shape.
#[test]
fn the_way_back_gives_pytorch_s_names() {
    let folder = tempfile::tempdir().unwrap();
    let [original, there, back] = ["o", "t", "b"].map(|name| folder.path().join(name));
    let (in_and_out, out_and_in) = (
        [Direction::ToZoo, Direction::ToOriginal],
        [Direction::ToOriginal, Direction::ToZoo],
    );
    for (network, dialect, directions, renamed) in [
        ("akamaster_resnet20", "akamaster", in_and_out, true),
        ("resnet18", "torchvision", in_and_out, false),
        ("resnet18", "timm", in_and_out, false),
        ("mobilenet_v2", "torchvision", in_and_out, false),
        ("mobilenet_v2", "timm", out_and_in, true),
        ("mobilenet_v2", "d-li14", out_and_in, true),
        ("shufflenet_v2_x1_0", "torchvision", in_and_out, false),
    ] {
        let names = pytorch_names(network);
        let mut tensors = BTreeMap::new();
        for (index, (name, dtype, shape)) in names.iter().enumerate() {
            let dtype = if dtype == "I64" {
                DType::I64
            } else {
                DType::F32
            };
            let tensor = Tensor::full(index as f32, shape.as_slice(), &Device::Cpu).unwrap();
            tensors.insert(name.clone(), tensor.to_dtype(dtype).unwrap());
        }
        save(&original, &tensors, &BTreeMap::new()).unwrap();
        let mut options = ConvertOptions {
            dialect: DialectChoice::Named(Dialect::find(dialect).unwrap()),
            force: true,
            ..Default::default()
        };
        options.direction = directions[0];
        let report = convert(&original, &there, &options).unwrap();
        assert!(report.unknown.is_empty(), "{network}: {:?}", report.unknown);
        assert_eq!(!report.renamed.is_empty(), renamed, "{network} {dialect}");
        options.direction = directions[1];
        convert(&there, &back, &options).unwrap();
        assert_eq!(
            open_and_read(&back).unwrap(),
            open_and_read(&original).unwrap()
        );
        let file = TensorFile::open(&back, &Default::default()).unwrap();
        let mut found: Vec<_> = file
            .entries()
            .iter()
            .map(|entry| {
                (
                    entry.name.clone(),
                    entry.dtype.to_string(),
                    entry.shape.clone(),
                )
            })
            .collect();
        found.sort();
        assert_eq!(found, names, "{network} {dialect}");
    }
}
