//! Each kind of difference, and tensors longer than a piece.

use super::*;
use crate::Limits;
use candle_core::{DType, Device, Tensor};

fn file(folder: &std::path::Path, name: &str, tensors: &[(&str, Tensor)]) -> TensorFile {
    let path = folder.join(name);
    let tensors = tensors
        .iter()
        .map(|(name, tensor)| (name.to_string(), tensor.clone()))
        .collect();
    crate::save(&path, &tensors, &BTreeMap::new()).unwrap();
    TensorFile::open(path, &Limits::default()).unwrap()
}

fn tensor(values: &[f32]) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

#[test]
fn each_kind_of_difference_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let big = |value: i64| Tensor::new(&[value], &Device::Cpu).unwrap();
    let a = file(
        folder.path(),
        "a",
        &[
            ("same", tensor(&[1., f32::NAN])),
            ("far", tensor(&[1., 2.])),
            ("nan", tensor(&[1., 2.])),
            ("shape", tensor(&[1., 2.])),
            ("dtype", tensor(&[1., 2.])),
            ("fc.wieght", tensor(&[1.])),
            ("long", big(1 << 60)),
        ],
    );
    let b = file(
        folder.path(),
        "b",
        &[
            ("same", tensor(&[1., f32::NAN])),
            ("far", tensor(&[1., 2.5])),
            ("nan", tensor(&[1., f32::NAN])),
            ("shape", tensor(&[1., 2., 3.])),
            ("dtype", tensor(&[1., 2.]).to_dtype(DType::F16).unwrap()),
            ("fc.weight", tensor(&[1.])),
            ("long", big((1 << 60) + 1)),
        ],
    );
    let found = compare(&a, &b, 0.).unwrap();
    assert_eq!(found.compared, 6);
    assert_eq!(found.extra[0].name, "fc.wieght");
    assert_eq!(found.extra[0].nearest.as_deref(), Some("fc.weight"));
    assert_eq!(found.missing[0].name, "fc.weight");
    assert_eq!((found.shapes.len(), &found.shapes[0].b), (1, &vec![3]));
    assert_eq!((found.dtypes.len(), found.dtypes[0].b.as_str()), (1, "F16"));
    let values: Vec<_> = found
        .values
        .iter()
        .map(|v| (v.name.as_str(), v.max_abs, v.count))
        .collect();
    assert_eq!(
        values,
        [
            ("far", Some(0.5), 1),
            ("long", Some(1.), 1),
            ("nan", None, 1)
        ]
    );
    assert!(compare(&a, &a, 0.).unwrap().is_none());
    assert_eq!(compare(&a, &b, 1.).unwrap().values.len(), 1);
}

/// More than one piece on each side, of other sizes.
#[test]
fn long_tensors_of_two_types() {
    let folder = tempfile::tempdir().unwrap();
    let count = 700_001;
    let mut values: Vec<f32> = (0..count).map(|i| (i % 1000) as f32).collect();
    let a = file(folder.path(), "a", &[("w", tensor(&values))]);
    let wide = tensor(&values).to_dtype(DType::F64).unwrap();
    let b = file(folder.path(), "b", &[("w", wide)]);
    assert_eq!(compare(&a, &b, 0.).unwrap().values, []);
    values[count - 1] += 3.;
    let c = file(folder.path(), "c", &[("w", tensor(&values))]);
    assert_eq!(compare(&c, &b, 0.).unwrap().values[0].max_abs, Some(3.));
}
