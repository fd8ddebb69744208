//! Names and types that are changed on the way.

use crate::files::corpus;
use crate::{convert, small, strings};
use candle_core::{DType, Tensor};
use taper_weights::{ConvertOptions, ElementType, TensorFile, load};

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
