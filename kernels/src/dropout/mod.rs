//! Dropout with a mask that follows from a key, so that it is never stored.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;

#[cfg(feature = "cuda")]
use crate::cuda::View;
use crate::operand::{require_float, slice, unsupported, value_error};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};

const OP: &str = "dropout";
/// Odd, near 2³² over the golden ratio: spreads the high half of an index.
const GOLDEN: u32 = 0x9E37_79B9;

/// x with elements set to 0 with `probability`, the others divided by 1 − `probability`; any shape.
///
/// Srivastava et al. 2014, scaled in training as in PyTorch. Whether an element is kept follows
/// from `key` and its place alone: the same key gives the same mask, on any number of threads
/// and on a GPU. Reads x once and writes the result once; the derivative makes the mask again.
/// The probability is met to 2⁻³².
///
/// # Errors
/// If x is no float tensor, or the probability is not in 0..1.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[1f32; 8], &Device::Cpu)?;
/// let y = taper_kernels::dropout(&x, 0.5, 7)?.to_vec1::<f32>()?;
/// assert!(y.iter().all(|&value| value == 0.0 || value == 2.0));
/// assert_eq!(y, taper_kernels::dropout(&x, 0.5, 7)?.to_vec1::<f32>()?);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn dropout(x: &Tensor, probability: f64, key: u64) -> Result<Tensor> {
    require_float(OP, "x", x)?;
    if !(0.0..1.0).contains(&probability) {
        let expected = "a number from 0 to less than 1";
        return Err(value_error(OP, "probability", probability, expected));
    }
    x.contiguous()?.apply_op1(Mask::new(probability, key))
}

/// Which elements stay, and what they are multiplied by.
#[derive(Debug, Clone, Copy)]
struct Mask {
    key: u64,
    /// An element stays if its hash is at least this.
    threshold: u32,
    scale: f64,
}

impl Mask {
    fn new(probability: f64, key: u64) -> Self {
        Self {
            key,
            // Saturates just below 1.
            threshold: (probability * 2f64.powi(32)).round() as u32,
            scale: 1.0 / (1.0 - probability),
        }
    }

    /// The two halves of the key for elements whose index has the upper half `high`.
    #[inline(always)]
    fn halves(self, high: u32) -> (u32, u32) {
        let upper = (self.key >> 32) as u32;
        (
            self.key as u32,
            upper.wrapping_add(high.wrapping_mul(GOLDEN)),
        )
    }
}

impl CustomOp1 for Mask {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let output = match x.dtype() {
            DType::F32 => CpuStorage::F32(cpu::apply(slice(OP, x, layout)?, *self)),
            DType::F64 => CpuStorage::F64(cpu::apply(slice(OP, x, layout)?, *self)),
            other => return Err(unsupported(OP, "x", other)),
        };
        Ok((output, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let y = cuda::apply(x.device(), View::of(OP, "x", x, layout)?, *self)?;
        Ok((y, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        match x.track_op() {
            true => gradient.contiguous()?.apply_op1_no_bwd(self).map(Some),
            false => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn ones(count: usize) -> Tensor {
        Tensor::ones(count, DType::F64, &Device::Cpu).unwrap()
    }

    #[test]
    fn the_share_kept_is_as_asked_and_keys_give_other_masks() -> Result<()> {
        const COUNT: usize = 200_000;
        let masks: Vec<Vec<f64>> = [1, 2, 1 << 32]
            .into_iter()
            .map(|key| dropout(&ones(COUNT), 0.3, key)?.to_vec1())
            .collect::<Result<_>>()?;
        for (index, mask) in masks.iter().enumerate() {
            let kept = mask.iter().filter(|&&value| value != 0.0).count() as f64;
            let expected = 0.7 * COUNT as f64;
            let deviation = (expected * 0.3).sqrt();
            assert!((kept - expected).abs() < 5.0 * deviation, "{index}: {kept}");
            // Neighbours, and the masks of two keys, are independent.
            let other = &masks[(index + 1) % masks.len()];
            for (what, pairs) in [
                (
                    "neighbours",
                    mask.iter().zip(&mask[1..]).collect::<Vec<_>>(),
                ),
                ("keys", mask.iter().zip(other).collect()),
            ] {
                let both = pairs
                    .iter()
                    .filter(|(a, b)| **a != 0.0 && **b != 0.0)
                    .count();
                let share = both as f64 / pairs.len() as f64;
                assert!((share - 0.49).abs() < 0.006, "{index} {what}: {share}");
            }
        }
        Ok(())
    }

    #[test]
    fn the_derivative_has_the_same_mask() -> Result<()> {
        let x = Var::from_tensor(&ones(1000))?;
        let y = dropout(&x, 0.25, 9)?;
        let gradients = y.sum_all()?.backward()?;
        let gradient = gradients.get(&x).unwrap().to_vec1::<f64>()?;
        assert_eq!(gradient, y.to_vec1::<f64>()?);
        assert!(gradient.contains(&0.0) && gradient.contains(&(4.0 / 3.0)));
        Ok(())
    }

    #[test]
    fn a_probability_of_one_is_refused_and_of_zero_changes_nothing() -> Result<()> {
        for bad in [1.0, -0.1, f64::NAN] {
            let error = dropout(&ones(3), bad, 0).unwrap_err().to_string();
            assert!(error.contains("probability"), "{error}");
        }
        assert_eq!(dropout(&ones(3), 0.0, 0)?.to_vec1::<f64>()?, [1.0; 3]);
        Ok(())
    }
}
