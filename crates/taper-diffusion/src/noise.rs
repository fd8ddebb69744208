//! Seeded noise: the noise of a sample is named by its seed and index, whatever batch it is drawn in.

use candle_core::{DType, Device, Result, Tensor};
use rand::Rng;
use rand_distr::StandardNormal;
use std::ops::Range;
use taper_kernels::random::{Random, stream};

/// What names the noise of samples.
const LABEL: &str = "sample-noise";

/// z ~ N(0, I) of the samples `indices`, `[indices, shape…]` in f32.
///
/// Sample i is drawn from a stream of its own: the same seed and index give the same noise in any batch.
///
/// # Errors
/// If Candle fails.
pub fn sample_noise(seed: u64, indices: Range<u64>, shape: &[usize]) -> Result<Tensor> {
    let elements: usize = shape.iter().product();
    let count = indices.end.saturating_sub(indices.start) as usize;
    let mut values = Vec::with_capacity(count * elements);
    for index in indices {
        let random = stream(seed, LABEL, index);
        values.extend(random.sample_iter::<f32, _>(StandardNormal).take(elements));
    }
    let dims: Vec<usize> = std::iter::once(count)
        .chain(shape.iter().copied())
        .collect();
    Tensor::from_vec(values, dims, &Device::Cpu)
}

/// N(0, I) like `x`, from `random`.
///
/// # Errors
/// If Candle fails.
pub(crate) fn normal_like(x: &Tensor, random: &mut Random) -> Result<Tensor> {
    let count = x.elem_count();
    let values: Vec<f32> = random.sample_iter(StandardNormal).take(count).collect();
    Tensor::from_vec(values, x.dims(), &Device::Cpu)?
        .to_dtype(x.dtype())?
        .to_device(x.device())
}

/// One number a sample, of the type that the kernels take beside `x`.
///
/// # Errors
/// If Candle fails.
pub(crate) fn scalars_like(x: &Tensor, values: &[f64]) -> Result<Tensor> {
    let dtype = match x.dtype() {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    Tensor::new(values, x.device())?.to_dtype(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_the_same_noise_in_any_batch() -> Result<()> {
        let all = sample_noise(3, 0..5, &[2, 3])?;
        let part = sample_noise(3, 2..4, &[2, 3])?;
        assert_eq!(all.dims(), [5, 2, 3]);
        assert_eq!(
            all.narrow(0, 2, 2)?.flatten_all()?.to_vec1::<f32>()?,
            part.flatten_all()?.to_vec1::<f32>()?
        );
        let other = sample_noise(4, 2..4, &[2, 3])?;
        assert_ne!(
            other.flatten_all()?.to_vec1::<f32>()?,
            part.flatten_all()?.to_vec1::<f32>()?
        );
        Ok(())
    }

    #[test]
    fn it_is_standard_normal() -> Result<()> {
        let z = sample_noise(0, 0..20_000, &[2])?.flatten_all()?;
        let values = z.to_vec1::<f32>()?;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        let square =
            values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len() as f64;
        // Five standard deviations of 40,000 draws.
        assert!(mean.abs() < 0.025, "{mean}");
        assert!((square - 1.0).abs() < 0.036, "{square}");
        Ok(())
    }
}
