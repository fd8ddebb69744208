//! What the tests of the emulated kernels compare.

use candle_core::DType;

/// The types that kernels are made for, and how far a result may be from the specification
/// computed from the same (rounded) numbers, relative to the largest of them.
pub(crate) const TYPES: [(DType, f64); 4] = [
    (DType::F32, 2e-6),
    (DType::F64, 1e-12),
    (DType::F16, 1e-3),
    (DType::BF16, 8e-3),
];

/// `values` as `dtype` holds them.
pub(crate) fn rounded(values: &[f64], dtype: DType) -> Vec<f64> {
    let round = |&value: &f64| match dtype {
        DType::F32 => (value as f32).into(),
        DType::F16 => half::f16::from_f64(value).to_f64(),
        DType::BF16 => half::bf16::from_f64(value).to_f64(),
        _ => value,
    };
    values.iter().map(round).collect()
}

/// `count` numbers between −1 and 1, the same for the same label.
pub(crate) fn numbers(label: &str, count: usize) -> Vec<f64> {
    crate::testing::uniform(label, 0, &[count], -1.0, 1.0)
        .and_then(|numbers| numbers.to_vec1())
        .unwrap()
}

/// Fails unless every number is within `tolerance` of the expected, relative to the largest
/// expected; NaN and infinities must be equal.
#[track_caller]
pub(crate) fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let finite = expected.iter().filter(|value| value.is_finite());
    let scale = finite
        .fold(0f64, |most, value| most.max(value.abs()))
        .max(1e-30);
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let same = found == expected || (found.is_nan() && expected.is_nan());
        let close = (found - expected).abs() <= tolerance * scale;
        assert!(
            same || close,
            "{what}: element {index} is {found}, expected {expected}"
        );
    }
}
