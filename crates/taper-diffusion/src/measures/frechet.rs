//! The Fréchet distance of two normal distributions of features (Heusel et al. 2017, arXiv:1706.08500).

use super::Gaussian;
use crate::error::{DiffusionError, Result};
use candle_core::{DType, Tensor};
use nalgebra::DMatrix;
use std::path::Path;

/// |μ_a − μ_b|² + tr(A + B − 2 (A B)^½).
///
/// The trace of the root is that of (A^½ B A^½)^½, which is symmetric, so its eigenvalues are real;
/// those that rounding leaves below 0 count as 0.
///
/// # Errors
/// If the widths differ or a covariance is not finite.
pub fn frechet_distance(a: &Gaussian, b: &Gaussian) -> Result<f64> {
    if a.mean.dims() != b.mean.dims() || a.covariance.dims() != b.covariance.dims() {
        return Err(DiffusionError::measure(
            "Fréchet distance",
            format!("{:?} and {:?}", a.covariance.dims(), b.covariance.dims()),
            "statistics of the same features",
        ));
    }
    let shift = (&a.mean - &b.mean)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
    let (first, second) = (matrix(&a.covariance)?, matrix(&b.covariance)?);
    let root = square_root(&first);
    let product = symmetric(&root * &second * &root);
    let overlap = product.symmetric_eigenvalues();
    let overlap: f64 = overlap.iter().map(|value| value.max(0.0).sqrt()).sum();
    Ok(shift + first.trace() + second.trace() - 2.0 * overlap)
}

/// Published statistics of a data set: an `.npz` (or any tensor file) with `mu` `[width]` and
/// `sigma` `[width, width]`, as EDM's.
///
/// # Errors
/// If the file cannot be read or lacks them.
pub fn reference_statistics(path: impl AsRef<Path>) -> Result<Gaussian> {
    let path = path.as_ref();
    let file = taper_weights::load(path)?;
    let names: Vec<&str> = file.tensors.keys().map(String::as_str).collect();
    let take = |name: &str| -> Result<Tensor> {
        let found = file.tensors.get(name).ok_or_else(|| {
            let found = names.join(", ");
            DiffusionError::file(path, format!("found arrays {found}; expected mu and sigma"))
        })?;
        Ok(found.to_dtype(DType::F64)?)
    };
    let (mean, covariance) = (take("mu")?, take("sigma")?);
    let width = mean.elem_count();
    if mean.rank() != 1 || covariance.dims() != [width, width] {
        let message = format!(
            "mu is {:?} and sigma {:?}; expected [width] and [width, width]",
            mean.dims(),
            covariance.dims()
        );
        return Err(DiffusionError::file(path, message));
    }
    Ok(Gaussian { mean, covariance })
}

fn matrix(tensor: &Tensor) -> Result<DMatrix<f64>> {
    let size = tensor.dim(0)?;
    let values = tensor.flatten_all()?.to_vec1::<f64>()?;
    if values.iter().any(|value| !value.is_finite()) {
        return Err(DiffusionError::measure(
            "Fréchet distance",
            "a covariance with NaN or infinity",
            "finite features",
        ));
    }
    Ok(symmetric(DMatrix::from_row_slice(size, size, &values)))
}

/// The mean with the transpose: a solver reads one half only.
fn symmetric(m: DMatrix<f64>) -> DMatrix<f64> {
    (&m + m.transpose()) * 0.5
}

/// The symmetric root of a matrix whose eigenvalues are not below 0.
fn square_root(m: &DMatrix<f64>) -> DMatrix<f64> {
    let decomposition = m.clone().symmetric_eigen();
    let mut scaled = decomposition.eigenvectors.clone();
    for (mut column, value) in scaled.column_iter_mut().zip(&decomposition.eigenvalues) {
        column *= value.max(0.0).sqrt();
    }
    scaled * decomposition.eigenvectors.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measures::Moments;
    use crate::noise::sample_noise;
    use candle_core::Device;
    use std::collections::BTreeMap;

    fn gaussian(mean: [f64; 2], covariance: [[f64; 2]; 2]) -> Gaussian {
        Gaussian {
            mean: Tensor::new(&mean, &Device::Cpu).unwrap(),
            covariance: Tensor::new(&covariance, &Device::Cpu).unwrap(),
        }
    }

    #[test]
    fn of_normal_distributions_in_closed_form() {
        // Diagonal: |Δ|² + Σ (√a − √b)².
        let a = gaussian([1.0, 0.0], [[4.0, 0.0], [0.0, 9.0]]);
        let b = gaussian([0.0, 2.0], [[1.0, 0.0], [0.0, 1.0]]);
        let found = frechet_distance(&a, &b).unwrap();
        assert!((found - (5.0 + 1.0 + 4.0)).abs() < 1e-12, "{found}");
        // Two by two: tr (AB)^½ = √(tr AB + 2 √det AB).
        let a = gaussian([0.0; 2], [[2.0, 0.7], [0.7, 1.0]]);
        let b = gaussian([0.0; 2], [[1.5, -0.4], [-0.4, 0.8]]);
        let trace = 2.0 * 1.5 + 0.7 * -0.4 + 0.7 * -0.4 + 0.8;
        let determinant = (2.0 - 0.49) * (1.5 * 0.8 - 0.16);
        let root = (trace + 2.0 * f64::sqrt(determinant)).sqrt();
        let expected = 3.0 + 2.3 - 2.0 * root;
        for (a, b) in [(&a, &b), (&b, &a)] {
            let found = frechet_distance(a, b).unwrap();
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        assert!(frechet_distance(&a, &a).unwrap().abs() < 1e-12);
    }

    #[test]
    fn singular_and_bad_covariances() {
        // Fewer features than their width: most eigenvalues are 0.
        let mut moments = Moments::new(20).unwrap();
        moments.add(&sample_noise(0, 0..8, &[20]).unwrap()).unwrap();
        let few = moments.gaussian().unwrap();
        let zero = frechet_distance(&few, &few).unwrap();
        assert!(zero.abs() < 1e-6, "{zero}");
        let bad = gaussian([0.0; 2], [[f64::NAN, 0.0], [0.0, 1.0]]);
        let good = gaussian([0.0; 2], [[1.0, 0.0], [0.0, 1.0]]);
        assert!(frechet_distance(&bad, &good).is_err());
        assert!(frechet_distance(&few, &good).is_err());
    }

    #[test]
    fn statistics_are_read_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reference.safetensors");
        let a = gaussian([1.0, 2.0], [[2.0, 0.5], [0.5, 1.0]]);
        let write = |tensors: &[(&str, &Tensor)]| {
            let tensors: BTreeMap<_, _> = tensors
                .iter()
                .map(|(name, tensor)| (name.to_string(), (*tensor).clone()))
                .collect();
            taper_weights::save(&path, &tensors, &BTreeMap::new()).unwrap();
        };
        write(&[("mu", &a.mean), ("sigma", &a.covariance)]);
        let read = reference_statistics(&path).unwrap();
        assert!(frechet_distance(&a, &read).unwrap().abs() < 1e-12);
        write(&[("mu", &a.mean)]);
        let message = reference_statistics(&path).unwrap_err().to_string();
        assert!(message.contains("expected mu and sigma"), "{message}");
        write(&[("mu", &a.covariance), ("sigma", &a.covariance)]);
        let message = reference_statistics(&path).unwrap_err().to_string();
        assert!(message.contains("[width, width]"), "{message}");
    }
}
