//! Knowledge distillation of logits (Hinton et al., arXiv:1503.02531).

use candle_core::{D, Result, Tensor};

/// The temperature of RepDistiller and NORM (method card, section 5).
pub const KD_TEMPERATURE: f64 = 4.0;

/// `T²/B · Σ_b Σ_k p_t log(p_t / p_s)` with `p = softmax(z / T)`: the batch mean, a sum over classes.
///
/// # Shapes
/// `student_logits`, `teacher_logits` `[batch, classes]` → scalar. No gradient flows to the teacher.
pub fn kd_loss(
    student_logits: &Tensor,
    teacher_logits: &Tensor,
    temperature: f64,
) -> Result<Tensor> {
    let batch = student_logits.dim(0)?.max(1) as f64;
    let soften = |logits: &Tensor| taper_kernels::log_softmax(&(logits / temperature)?, D::Minus1);
    let log_p_t = soften(&teacher_logits.detach())?;
    let log_p_s = soften(student_logits)?;
    let divergence = (log_p_t.exp()? * (log_p_t - log_p_s)?)?.sum_all()?;
    divergence * (temperature * temperature / batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use taper_kernels::testing::check_gradient;

    fn logits() -> Result<(Var, Tensor)> {
        let student = Var::new(&[[1f64, 2., -1.], [0.5, 0., 3.]], &Device::Cpu)?;
        let teacher = Tensor::new(&[[0f64, 3., -2.], [1., 1., 1.]], &Device::Cpu)?;
        Ok((student, teacher))
    }

    /// Against the sum written out with exponentials.
    #[test]
    fn value() -> Result<()> {
        let (student, teacher) = logits()?;
        let softmax = |row: &[f64]| -> Vec<f64> {
            let e: Vec<f64> = row.iter().map(|z| (z / 4.).exp()).collect();
            let sum: f64 = e.iter().sum();
            e.iter().map(|v| v / sum).collect()
        };
        let (s, t) = (student.to_vec2::<f64>()?, teacher.to_vec2::<f64>()?);
        let mut expected = 0.;
        for (s, t) in s.iter().zip(&t) {
            for (p_s, p_t) in softmax(s).iter().zip(softmax(t)) {
                expected += p_t * (p_t / p_s).ln() * 16. / 2.;
            }
        }
        let found = kd_loss(&student, &teacher, 4.)?.to_scalar::<f64>()?;
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        assert!(kd_loss(&student, &student, 4.)?.to_scalar::<f64>()?.abs() < 1e-15);
        Ok(())
    }

    #[test]
    fn gradient() -> Result<()> {
        let (student, teacher) = logits()?;
        check_gradient(&student, 1e-7, || kd_loss(&student, &teacher, 4.))
    }
}
