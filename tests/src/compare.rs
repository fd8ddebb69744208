//! Sampling tensors as the golden files do, and errors relative to the largest value.

use anyhow::{Result, bail};
use candle_core::{DType, Tensor};

/// All elements in f64.
pub fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    let flat = tensor.detach().flatten_all()?.to_dtype(DType::F64)?;
    Ok(flat.to_vec1()?)
}

/// `count` elements at even distances, the first and the last among them.
pub fn sample(values: &[f64], count: usize) -> Vec<f64> {
    (0..count)
        .map(|index| values[index * (values.len() - 1) / (count - 1)])
        .collect()
}

/// Mean of `f` over the values.
pub fn mean(values: &[f64], f: impl Fn(f64) -> f64) -> f64 {
    values.iter().copied().map(f).sum::<f64>() / values.len() as f64
}

/// The largest difference over the largest expected absolute value.
///
/// # Errors
/// Other lengths; a number that is not finite; nothing but zeros expected.
pub fn relative_error(found: &[f64], expected: &[f64]) -> Result<f64> {
    if found.len() != expected.len() {
        bail!("found {} values, expected {}", found.len(), expected.len());
    }
    if let Some(bad) = found.iter().find(|value| !value.is_finite()) {
        bail!("found {bad}");
    }
    let scale = expected
        .iter()
        .fold(0f64, |max, value| max.max(value.abs()));
    if scale == 0.0 {
        bail!("the expected values are all 0");
    }
    let differences = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    Ok(differences.fold(0f64, f64::max) / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_relative_to_the_largest() {
        assert_eq!(relative_error(&[1.0, 4.5], &[1.0, 4.0]).unwrap(), 0.125);
        assert!(relative_error(&[f64::NAN], &[1.0]).is_err());
        assert!(relative_error(&[0.0], &[0.0]).is_err());
        assert!(relative_error(&[0.0], &[1.0, 2.0]).is_err());
    }

    #[test]
    fn samples_reach_both_ends() {
        let values: Vec<f64> = (0..10).map(f64::from).collect();
        assert_eq!(sample(&values, 4), [0.0, 3.0, 6.0, 9.0]);
        assert_eq!(sample(&values[..1], 3), [0.0; 3]);
    }
}
