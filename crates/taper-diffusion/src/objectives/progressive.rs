//! Progressive Distillation (Salimans and Ho 2022, arXiv:2202.00512) for velocities: one step learns two of the teacher.

use super::{Times, mean_square};
use crate::noise::scalars_like;
use crate::samplers::Velocity;
use candle_core::{Result, Tensor};
use rand::Rng;
use taper_kernels::random::Random;
use taper_kernels::rk_stage;

/// t = k/n, k uniform in 1 … n.
pub fn draw(count: usize, steps: usize, random: &mut Random) -> Vec<f64> {
    (0..count)
        .map(|_| random.random_range(1..=steps) as f64 / steps as f64)
        .collect()
}

/// The target of a student of n `steps`: with x2 two Euler steps of 1/(2n) of the teacher away, (x − x2) n.
///
/// # Errors
/// What the teacher reports.
pub fn target(x: &Tensor, t: &[f64], steps: usize, teacher: &mut Velocity<'_>) -> Result<Tensor> {
    let x = x.detach();
    let half = 1.0 / (2.0 * steps as f64);
    let h = scalars_like(&x, &vec![half; t.len()])?;
    let first = teacher(&x, &scalars_like(&x, t)?)?.detach();
    let middle = rk_stage(&x, &[&first], &[1.0], &h)?;
    let later: Vec<f64> = t.iter().map(|t| t - half).collect();
    let second = teacher(&middle, &scalars_like(&x, &later)?)?.detach();
    // x − x2 is half the step times both velocities, so n of it is their mean.
    (first + second)? * 0.5
}

/// The loss of the prediction v(x, t).
///
/// # Errors
/// What the teacher reports.
pub fn loss(
    prediction: &Tensor,
    x: &Tensor,
    times: &Times,
    steps: usize,
    teacher: &mut Velocity<'_>,
) -> Result<Tensor> {
    mean_square(prediction, &target(x, &times.t, steps, teacher)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use taper_kernels::random::stream;

    #[test]
    fn the_target_leads_where_two_steps_of_the_teacher_lead() {
        let x = Tensor::new(&[[1.5f64], [-0.25]], &Device::Cpu).unwrap();
        let t = [0.5, 1.0];
        // v = x t: two steps of 1/8 by hand.
        let mut teacher = |x: &Tensor, t: &Tensor| x.broadcast_mul(&t.reshape(((), 1))?);
        let found = target(&x, &t, 4, &mut teacher).unwrap();
        let found = found.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for (index, x) in [1.5, -0.25].into_iter().enumerate() {
            let middle = x - 0.125 * x * t[index];
            let end = middle - 0.125 * middle * (t[index] - 0.125);
            assert!((found[index] - (x - end) * 4.0).abs() < 1e-12);
        }
    }

    #[test]
    fn times_are_those_of_the_students_steps() {
        let times = draw(10_000, 4, &mut stream(0, "test", 0));
        for k in 1..=4 {
            let count = times.iter().filter(|&&t| t == k as f64 / 4.0).count();
            assert!((2_300..2_700).contains(&count), "{k}: {count}");
        }
    }
}
