//! The Wasserstein distance of two point sets, exactly.

use super::{assignment, pair, squared_distances};
use crate::error::{DiffusionError, Result};
use candle_core::Tensor;

/// W2: the root of the least mean squared distance over all ways to pair `a` with `b`.
///
/// * `a`, `b`: `[count, width]`, as many in each
///
/// Time and memory grow with count³ and count²: 2,000 points take seconds and 32 MB.
///
/// # Errors
/// If the sets differ in count or width, are empty, or hold NaN.
pub fn wasserstein2(a: &Tensor, b: &Tensor) -> Result<f64> {
    let (a, b) = pair("Wasserstein distance", a, b)?;
    let count = a.dim(0)?;
    if b.dim(0)? != count {
        return Err(DiffusionError::measure(
            "Wasserstein distance",
            format!("{count} and {} points", b.dim(0)?),
            "as many in each set",
        ));
    }
    let costs = squared_distances(&a, &b)?;
    let columns = assignment(&costs, count)?;
    let pairs = columns.iter().enumerate();
    let total: f64 = pairs.map(|(row, column)| costs[row * count + column]).sum();
    Ok((total / count as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::sample_noise;

    #[test]
    fn of_a_shifted_set_it_is_the_shift() {
        let a = sample_noise(0, 0..200, &[2]).unwrap();
        assert!(wasserstein2(&a, &a).unwrap() < 1e-9);
        let b = (&a + 3.0).unwrap();
        let found = wasserstein2(&a, &b).unwrap();
        assert!((found - 18f64.sqrt()).abs() < 1e-6, "{found}");
        let more = sample_noise(0, 0..201, &[2]).unwrap();
        assert!(wasserstein2(&a, &more).is_err());
    }
}
