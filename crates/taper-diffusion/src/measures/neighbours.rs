//! Precision and recall by nearest neighbours (Kynkäänniemi et al. 2019, arXiv:1904.06991).

use super::{pair, squared_distances};
use crate::error::{DiffusionError, Result};
use candle_core::Tensor;

/// Rows of distances computed at a time.
const CHUNK: usize = 512;

/// Shares of 0 … 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrecisionRecall {
    /// Samples that lie in the manifold of the data: how good they are.
    pub precision: f64,
    /// Data that lie in the manifold of the samples: how much of the data they cover.
    pub recall: f64,
}

/// A set's manifold is the union of balls about its members, each reaching to the `neighbours`-th
/// nearest other member (the paper: 3).
///
/// * `data`, `samples`: features `[count, width]`
///
/// # Errors
/// If the widths differ, or a set has no more members than `neighbours`, or `neighbours` is 0.
pub fn precision_recall(
    data: &Tensor,
    samples: &Tensor,
    neighbours: usize,
) -> Result<PrecisionRecall> {
    let (data, samples) = pair("precision and recall", data, samples)?;
    let fewest = data.dim(0)?.min(samples.dim(0)?);
    if neighbours == 0 || fewest <= neighbours {
        return Err(DiffusionError::measure(
            "precision and recall",
            format!("{neighbours} neighbours in sets of {fewest} or more"),
            "from 1 neighbour, and more members than that",
        ));
    }
    Ok(PrecisionRecall {
        precision: covered(&samples, &data, neighbours)?,
        recall: covered(&data, &samples, neighbours)?,
    })
}

/// The share of `points` inside a ball of `set`.
fn covered(points: &Tensor, set: &Tensor, neighbours: usize) -> Result<f64> {
    let count = set.dim(0)?;
    let mut radii = Vec::with_capacity(count);
    rows(set, set, |row| {
        let mut row = row.to_vec();
        // The nearest member is the point itself.
        let (_, radius, _) = row.select_nth_unstable_by(neighbours, f64::total_cmp);
        radii.push(*radius);
    })?;
    let mut inside = 0usize;
    rows(points, set, |row| {
        inside += usize::from(
            row.iter()
                .zip(&radii)
                .any(|(distance, radius)| distance <= radius),
        );
    })?;
    Ok(inside as f64 / points.dim(0)? as f64)
}

/// Calls `visit` with the squared distances of each of `a` to all of `b`.
fn rows(a: &Tensor, b: &Tensor, mut visit: impl FnMut(&[f64])) -> Result<()> {
    let (count, width) = (a.dim(0)?, b.dim(0)?);
    for start in (0..count).step_by(CHUNK) {
        let part = a.narrow(0, start, CHUNK.min(count - start))?;
        squared_distances(&part, b)?
            .chunks(width)
            .for_each(&mut visit);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::sample_noise;
    use candle_core::Device;

    #[test]
    fn by_hand() {
        // Balls of the data: radius 1 about 0 and 1, radius 4 about 5.
        let data = Tensor::new(&[[0f64], [1.0], [5.0]], &Device::Cpu).unwrap();
        // Of the samples: radius 0.5 about −0.5 and −1, radius 19.5 about 19.
        let samples = Tensor::new(&[[-0.5f64], [-1.0], [19.0]], &Device::Cpu).unwrap();
        let found = precision_recall(&data, &samples, 1).unwrap();
        assert!((found.precision - 2.0 / 3.0).abs() < 1e-12, "{found:?}");
        assert!((found.recall - 1.0).abs() < 1e-12, "{found:?}");
        assert!(precision_recall(&data, &samples, 3).is_err());
        assert!(precision_recall(&data, &samples, 0).is_err());
    }

    #[test]
    fn part_of_the_data_is_precise_and_covers_little() {
        let data = sample_noise(0, 0..600, &[6]).unwrap();
        let part = (sample_noise(1, 0..600, &[6]).unwrap() * 0.3).unwrap();
        let found = precision_recall(&data, &part, 3).unwrap();
        assert!(found.precision > 0.95 && found.recall < 0.4, "{found:?}");
        let same = precision_recall(&data, &sample_noise(2, 0..600, &[6]).unwrap(), 3).unwrap();
        assert!(same.precision > 0.6 && same.recall > 0.6, "{same:?}");
    }
}
