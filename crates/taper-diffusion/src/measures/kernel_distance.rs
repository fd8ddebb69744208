//! The kernel distance of features, "KID" (Bińkowski et al. 2018, arXiv:1801.01401).

use super::pair;
use crate::error::{DiffusionError, Result};
use candle_core::{Device, Tensor};
use rand::seq::SliceRandom;
use taper_kernels::random::{Random, stream};

/// Features a subset, and subsets, as in the paper's code.
const SUBSET: usize = 1_000;
const SUBSETS: usize = 100;

/// The squared maximum mean discrepancy, over subsets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KernelDistance {
    /// Mean over the subsets; unbiased, so it may be a little below 0.
    pub mean: f64,
    /// Standard deviation over the subsets (n − 1).
    pub sd: f64,
}

/// The unbiased MMD² with the kernel (a·b / width + 1)³, of up to 1,000 features in each of 100 subsets.
///
/// * `a`, `b`: features `[count, width]`
///
/// The subsets follow from `seed`.
///
/// # Errors
/// If the widths differ or a set has fewer than two features.
pub fn kernel_distance(a: &Tensor, b: &Tensor, seed: u64) -> Result<KernelDistance> {
    let (a, b) = pair("kernel distance", a, b)?;
    let size = SUBSET.min(a.dim(0)?).min(b.dim(0)?);
    if size < 2 {
        return Err(DiffusionError::measure(
            "kernel distance",
            format!("{} and {} features", a.dim(0)?, b.dim(0)?),
            "at least 2 in each set",
        ));
    }
    // Sets that fit into one subset have but one.
    let subsets = match a.dim(0)?.max(b.dim(0)?) > size {
        true => SUBSETS,
        false => 1,
    };
    let mut random = stream(seed, "kernel-distance", 0);
    let mut values = Vec::with_capacity(subsets);
    for _ in 0..subsets {
        let first = subset(&a, size, &mut random)?;
        let second = subset(&b, size, &mut random)?;
        values.push(discrepancy(&first, &second)?);
    }
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Ok(KernelDistance {
        mean,
        sd: if values.len() > 1 {
            (squares / (count - 1.0)).sqrt()
        } else {
            0.0
        },
    })
}

fn subset(features: &Tensor, size: usize, random: &mut Random) -> Result<Tensor> {
    let count = features.dim(0)?;
    if count == size {
        return Ok(features.clone());
    }
    let mut rows: Vec<u32> = (0..count as u32).collect();
    let (drawn, _) = rows.partial_shuffle(random, size);
    let rows = Tensor::new(&*drawn, &Device::Cpu)?;
    Ok(features.index_select(&rows, 0)?)
}

/// Σ_{i≠j} k(a_i, a_j) / n(n−1) + the same of b − 2 mean k(a, b).
fn discrepancy(a: &Tensor, b: &Tensor) -> candle_core::Result<f64> {
    let (n, width) = a.dims2()?;
    let kernel = |a: &Tensor, b: &Tensor| -> candle_core::Result<Vec<f64>> {
        let products = ((a.matmul(&b.t()?)? / width as f64)? + 1.0)?;
        let products = products.flatten_all()?.to_vec1::<f64>()?;
        Ok(products.into_iter().map(|p| p * p * p).collect())
    };
    let within = |x: &Tensor| -> candle_core::Result<f64> {
        let values = kernel(x, x)?;
        let diagonal: f64 = values.iter().step_by(n + 1).sum();
        Ok((values.iter().sum::<f64>() - diagonal) / (n * (n - 1)) as f64)
    };
    let across = kernel(a, b)?.iter().sum::<f64>() / (n * n) as f64;
    Ok(within(a)? + within(b)? - 2.0 * across)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::sample_noise;

    #[test]
    fn by_hand() {
        let a = Tensor::new(&[[1f64], [0.0]], &Device::Cpu).unwrap();
        let b = Tensor::new(&[[2f64], [1.0]], &Device::Cpu).unwrap();
        // k(1,0) = 1; k(2,1) = 27; across: k(1,2) 27, k(1,1) 8, k(0,2) 1, k(0,1) 1.
        let expected = 1.0 + 27.0 - 2.0 * 37.0 / 4.0;
        let found = kernel_distance(&a, &b, 0).unwrap();
        assert!((found.mean - expected).abs() < 1e-12, "{found:?}");
        assert_eq!(found.sd, 0.0);
    }

    #[test]
    fn it_is_unbiased_and_sees_a_shift() {
        let a = sample_noise(0, 0..2_500, &[8]).unwrap();
        let b = sample_noise(1, 0..2_500, &[8]).unwrap();
        let same = kernel_distance(&a, &b, 0).unwrap();
        assert!(same.mean.abs() < 4.0 * same.sd.max(1e-3), "{same:?}");
        let other = kernel_distance(&a, &(&b + 0.5).unwrap(), 0).unwrap();
        assert!(other.mean > 10.0 * same.mean.abs(), "{other:?}");
        assert!(kernel_distance(&a.narrow(0, 0, 1).unwrap(), &b, 0).is_err());
    }
}
