//! Published files, and the way back to PyTorch's names.

use crate::convert;
use crate::files::{corpus, open_and_read};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::path::Path;
use taper_weights::{ConvertOptions, Dialect, DialectChoice, Direction, TensorFile, save};

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
