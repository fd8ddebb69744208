//! Top-k accuracy.

use candle_core::{DType, Result, Tensor};

/// How many of `logits` `[batch, classes]` have their target (`[batch]`, whole numbers) among the
/// `k` largest. Of equal logits the lower class comes first; a NaN target logit counts as wrong.
///
/// # Errors
/// If the shapes do not fit or a target is not below `classes`.
pub fn top_k_correct(logits: &Tensor, targets: &Tensor, k: usize) -> Result<usize> {
    let (batch, classes) = logits.dims2()?;
    let targets = targets.to_dtype(DType::U32)?.to_vec1::<u32>()?;
    if targets.len() != batch {
        candle_core::bail!("top-{k}: {} targets for {batch} rows", targets.len());
    }
    let rows = logits.detach().to_dtype(DType::F32)?.to_vec2::<f32>()?;
    let mut correct = 0;
    for (row, &target) in rows.iter().zip(&targets) {
        let target = target as usize;
        let Some(&own) = row.get(target) else {
            candle_core::bail!("top-{k}: target {target} where the network has {classes} classes");
        };
        let ahead = row
            .iter()
            .enumerate()
            .filter(|&(class, &logit)| logit > own || (logit == own && class < target))
            .count();
        correct += usize::from(!own.is_nan() && ahead < k);
    }
    Ok(correct)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn ranks() -> Result<()> {
        let logits = Tensor::new(
            &[[0.1f32, 0.9, 0.5], [0.3, 0.3, 0.3], [f32::NAN, 0.0, 1.0]],
            &Device::Cpu,
        )?;
        let correct =
            |targets: [u32; 3], k| top_k_correct(&logits, &Tensor::new(&targets, &Device::Cpu)?, k);
        assert_eq!(correct([1, 0, 2], 1)?, 3);
        // A network whose logits are all equal is right by class order only, and NaN never.
        assert_eq!(correct([2, 1, 0], 1)?, 0);
        assert_eq!(correct([2, 1, 0], 2)?, 2);
        assert_eq!(correct([0, 2, 0], 3)?, 2);
        assert!(correct([3, 0, 0], 1).is_err());
        Ok(())
    }
}
