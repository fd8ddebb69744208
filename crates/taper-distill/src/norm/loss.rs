//! The feature loss `L_norm = Σ_i mean (E_i - F_t)²` (method card, section 5) with the rule for unequal maps.

use candle_core::{Result, Tensor};
use taper_kernels::{Pool2dGeometry, max_pool2d, segment_match};

/// Matches each of the `slices` of E to the teacher's feature; the teacher is never tiled.
///
/// Where the teacher's map is r times larger it is max-pooled by r (CIFAR rule of the card,
/// section 4); where the student's is, E is (ImageNet rule).
///
/// # Shapes
/// `expanded` `[batch, N C_t, H_s, W_s]`, `teacher` `[batch, C_t, H_t, W_t]` → scalar.
///
/// # Errors
/// Neither map's size divides the other's.
pub fn norm_loss(expanded: &Tensor, teacher: &Tensor, slices: usize) -> Result<Tensor> {
    let teacher = teacher.detach();
    let (_, _, height, width) = expanded.dims4()?;
    let (_, _, teacher_height, teacher_width) = teacher.dims4()?;
    if (height, width) == (teacher_height, teacher_width) {
        return segment_match(expanded, &teacher, slices);
    }
    match (
        ratio((teacher_height, teacher_width), (height, width)),
        ratio((height, width), (teacher_height, teacher_width)),
    ) {
        (Some(r), _) => segment_match(expanded, &shrink(&teacher, r)?, slices),
        (None, Some(r)) => segment_match(&shrink(expanded, r)?, &teacher, slices),
        (None, None) => candle_core::bail!(
            "NORM: the student's feature map is {height}x{width} and the teacher's \
             {teacher_height}x{teacher_width}; one must be a whole multiple of the other"
        ),
    }
}

fn ratio(large: (usize, usize), small: (usize, usize)) -> Option<usize> {
    let r = large.0.checked_div(small.0)?;
    (r > 1 && large == (small.0 * r, small.1 * r)).then_some(r)
}

fn shrink(feature: &Tensor, r: usize) -> Result<Tensor> {
    max_pool2d(feature, &Pool2dGeometry::square(r, r, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use rand_distr::{Distribution, StandardNormal};

    fn noise(shape: (usize, usize, usize, usize), label: &str) -> Result<Tensor> {
        let count = shape.0 * shape.1 * shape.2 * shape.3;
        let mut random = taper_kernels::random::stream(5, label, 0);
        let values: Vec<f64> = StandardNormal
            .sample_iter(&mut random)
            .take(count)
            .collect();
        Tensor::from_vec(values, shape, &Device::Cpu)
    }

    /// Card, section 13.3: the sum of per-slice means, and N times the mean against the tiled teacher.
    #[test]
    fn three_forms_agree() -> Result<()> {
        let (e, f) = (noise((2, 12, 3, 5), "e")?, noise((2, 4, 3, 5), "f")?);
        let found = norm_loss(&e, &f, 3)?.to_scalar::<f64>()?;
        let mut sum = 0.;
        for i in 0..3 {
            let difference = (e.narrow(1, i * 4, 4)? - &f)?;
            sum += difference.sqr()?.mean_all()?.to_scalar::<f64>()?;
        }
        let tiled = (&e - Tensor::cat(&[&f, &f, &f], 1)?)?.sqr()?.mean_all()?;
        assert!((found - sum).abs() < 1e-12);
        assert!((found - 3. * tiled.to_scalar::<f64>()?).abs() < 1e-12);
        Ok(())
    }

    #[test]
    fn unequal_maps() -> Result<()> {
        let (e, large) = (noise((1, 4, 2, 2), "e")?, noise((1, 2, 4, 4), "f")?);
        let pooled = max_pool2d(&large, &Pool2dGeometry::square(2, 2, 0))?;
        let value = |t: Tensor| t.to_scalar::<f64>();
        assert_eq!(
            value(norm_loss(&e, &large, 2)?)?,
            value(norm_loss(&e, &pooled, 2)?)?
        );
        let (wide, small) = (noise((1, 4, 4, 4), "e")?, noise((1, 2, 2, 2), "f")?);
        assert!(value(norm_loss(&wide, &small, 2)?)?.is_finite());
        let odd = Tensor::zeros((1, 2, 3, 3), DType::F64, &Device::Cpu)?;
        let error = norm_loss(&e, &odd, 2).unwrap_err().to_string();
        assert!(error.contains("2x2") && error.contains("3x3"), "{error}");
        Ok(())
    }
}
