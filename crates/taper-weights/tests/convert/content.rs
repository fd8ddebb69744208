//! What is written: names, types, shapes, bytes, metadata.

use crate::files::{corpus, expected, goods, open_and_read};
use crate::{convert, leftovers};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use taper_weights::{ConvertOptions, load, save};

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
