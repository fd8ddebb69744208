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
    let columns = assignment(&squared_distances(&standard(&a)?, &standard(&b)?)?, count)?;
    let (a, b) = (a.to_vec2::<f64>()?, b.to_vec2::<f64>()?);
    let square = |(row, column): (usize, &usize)| -> f64 {
        let pairs = a[row].iter().zip(&b[*column]);
        pairs.map(|(a, b)| (a - b).powi(2)).sum()
    };
    let total: f64 = columns.iter().enumerate().map(square).sum();
    Ok((total / count as f64).sqrt())
}

/// The set moved to the origin and brought to a mean square of 1.
///
/// The best pairing maximises Σ a·b, which neither changes; but where one set is much narrower
/// than the other, the assignment takes ten times as long without.
fn standard(set: &Tensor) -> Result<Tensor> {
    let centred = set.broadcast_sub(&set.mean_keepdim(0)?)?;
    let size = centred.sqr()?.mean_all()?.to_scalar::<f64>()?.sqrt();
    Ok(match size > 0.0 {
        true => (centred / size)?,
        false => centred,
    })
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
        // A narrow set against a wide one: the pairing is that of the plain costs.
        let narrow = ((&a * 0.01).unwrap() + 1.0).unwrap();
        let wide = sample_noise(1, 0..200, &[2]).unwrap();
        let (rows, columns) = pair("test", &narrow, &wide).unwrap();
        let costs = squared_distances(&rows, &columns).unwrap();
        let best = assignment(&costs, 200).unwrap();
        let total: f64 = best
            .iter()
            .enumerate()
            .map(|(i, j)| costs[i * 200 + j])
            .sum();
        let found = wasserstein2(&narrow, &wide).unwrap();
        assert!((found - (total / 200.0).sqrt()).abs() < 1e-9, "{found}");
        let more = sample_noise(0, 0..201, &[2]).unwrap();
        assert!(wasserstein2(&a, &more).is_err());
    }
}
