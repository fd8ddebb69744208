//! Mean and covariance of features that stream by.

use crate::error::{DiffusionError, Result};
use candle_core::{DType, Device, Tensor};

/// Sums over the features seen so far, in f64; memory does not grow with their number.
#[derive(Debug, Clone)]
pub struct Moments {
    count: usize,
    /// `[width]`.
    mean: Tensor,
    /// Σ (f − mean)(f − mean)ᵀ, `[width, width]`.
    scatter: Tensor,
}

/// Mean and covariance of a set of features.
#[derive(Debug, Clone)]
pub struct Gaussian {
    /// `[width]`, f64.
    pub mean: Tensor,
    /// `[width, width]`, f64, divided by count − 1 as `numpy.cov` does.
    pub covariance: Tensor,
}

impl Moments {
    /// Of nothing yet.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn new(width: usize) -> Result<Self> {
        Ok(Self {
            count: 0,
            mean: Tensor::zeros(width, DType::F64, &Device::Cpu)?,
            scatter: Tensor::zeros((width, width), DType::F64, &Device::Cpu)?,
        })
    }

    /// How many features were added.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds features `[batch, width]` by the update of Chan, Golub and LeVeque (1979), which loses
    /// no figures to a large mean.
    ///
    /// # Errors
    /// If the width differs.
    pub fn add(&mut self, features: &Tensor) -> Result<()> {
        let width = self.mean.dim(0)?;
        let batch = match *features.dims() {
            [batch, found] if found == width => batch,
            _ => {
                return Err(DiffusionError::measure(
                    "statistics of features",
                    format!("{:?}", features.dims()),
                    format!("[batch, {width}]"),
                ));
            }
        };
        if batch == 0 {
            return Ok(());
        }
        let features = features.detach().to_device(&Device::Cpu)?;
        let features = features.to_dtype(DType::F64)?;
        let mean = features.mean(0)?;
        let centred = features.broadcast_sub(&mean)?;
        let own = centred.t()?.matmul(&centred)?;
        let (before, added) = (self.count as f64, batch as f64);
        let delta = (mean - &self.mean)?;
        let outer = delta.unsqueeze(1)?.matmul(&delta.unsqueeze(0)?)?;
        let between = (outer * (before * added / (before + added)))?;
        self.scatter = ((&self.scatter + own)? + between)?;
        self.mean = (&self.mean + (delta * (added / (before + added)))?)?;
        self.count += batch;
        Ok(())
    }

    /// Mean and covariance of all.
    ///
    /// # Errors
    /// If there are fewer than two features.
    pub fn gaussian(&self) -> Result<Gaussian> {
        if self.count < 2 {
            return Err(DiffusionError::measure(
                "covariance of features",
                format!("{} features", self.count),
                "at least 2",
            ));
        }
        Ok(Gaussian {
            mean: self.mean.clone(),
            covariance: (&self.scatter / (self.count - 1) as f64)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::sample_noise;

    #[test]
    fn parts_give_what_the_whole_gives() {
        // A large mean shows what a naive sum of squares would lose.
        let all = (sample_noise(0, 0..97, &[3])
            .unwrap()
            .to_dtype(DType::F64)
            .unwrap()
            + 1e6)
            .unwrap();
        let mut whole = Moments::new(3).unwrap();
        whole.add(&all).unwrap();
        let mut parts = Moments::new(3).unwrap();
        for (start, count) in [(0, 1), (1, 40), (41, 56), (97, 0)] {
            parts.add(&all.narrow(0, start, count).unwrap()).unwrap();
        }
        assert_eq!(parts.count(), 97);
        let (whole, parts) = (whole.gaussian().unwrap(), parts.gaussian().unwrap());
        let rows = all.to_vec2::<f64>().unwrap();
        let mean: Vec<f64> = (0..3)
            .map(|c| rows.iter().map(|r| r[c]).sum::<f64>() / 97.0)
            .collect();
        for a in 0..3 {
            for b in 0..3 {
                let direct: f64 = rows
                    .iter()
                    .map(|r| (r[a] - mean[a]) * (r[b] - mean[b]))
                    .sum();
                let direct = direct / 96.0;
                for found in [&whole, &parts] {
                    let found = found.covariance.to_vec2::<f64>().unwrap()[a][b];
                    assert!((found - direct).abs() < 1e-8, "{found} {direct}");
                }
            }
        }
        let mut wrong = Moments::new(2).unwrap();
        assert!(wrong.add(&all).is_err());
        assert!(wrong.gaussian().is_err());
    }
}
