//! Consistency Distillation beside Catch-Up Distillation: as its code runs it, and as it is meant (method card, section 5).

use super::{Times, mean_square};
use crate::noise::scalars_like;
use crate::samplers::Velocity;
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use taper_kernels::rk_stage;

/// Decay of the average of every published run.
pub const EMA: f64 = 0.999_945;

/// Which loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// What the published comparison ran: velocities are matched, time ends at 1/M, no boundary condition.
    Executed,
    /// End points f(x, t) = x − t v(x, t) are matched (Song et al. 2023, arXiv:2303.01469); f(x, 0) = x.
    #[default]
    Proper,
}

impl Consistency {
    /// The loss of the prediction v(x, t); `teacher` moves x by 1/`reciprocal`, `average` gives the target.
    ///
    /// # Errors
    /// What the networks report.
    pub fn loss(
        self,
        prediction: &Tensor,
        x: &Tensor,
        times: &Times,
        reciprocal: usize,
        teacher: &mut Velocity<'_>,
        average: &mut Velocity<'_>,
    ) -> Result<Tensor> {
        let longest = 1.0 / reciprocal as f64;
        let x = x.detach();
        let t = times.now(&x)?;
        let slope = teacher(&x, &t)?.detach();
        // A step ends at the data's end of time, where the end point is the state itself.
        let lengths: Vec<f64> = match self {
            Self::Executed => vec![longest; times.t.len()],
            Self::Proper => times.t.iter().map(|&t| longest.min(t)).collect(),
        };
        let before = rk_stage(&x, &[&slope], &[1.0], &scalars_like(&x, &lengths)?)?;
        let after = times.t.iter().zip(&lengths);
        match self {
            Self::Executed => {
                let after: Vec<f64> = after.map(|(t, h)| (t - h).clamp(longest, 1.0)).collect();
                let target = average(&before, &scalars_like(&x, &after)?)?.detach();
                mean_square(prediction, &target)
            }
            Self::Proper => {
                let after: Vec<f64> = after.map(|(t, h)| t - h).collect();
                let after = scalars_like(&x, &after)?;
                let target = end_point(&before, &average(&before, &after)?.detach(), &after)?;
                mean_square(&end_point(&x, prediction, &t)?, &target)
            }
        }
    }
}

/// f(x, t) = x − t v.
fn end_point(x: &Tensor, v: &Tensor, t: &Tensor) -> Result<Tensor> {
    rk_stage(x, &[v], &[1.0], t)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn column(values: &[f64]) -> Tensor {
        Tensor::from_slice(values, (values.len(), 1), &Device::Cpu).unwrap()
    }

    /// By hand: teacher velocity 2, average velocity x, prediction p.
    #[test]
    fn both_losses_by_hand() {
        let x = column(&[1.0, -2.0]);
        let times = Times::given(vec![0.5, 0.1], vec![0.0; 2]).unwrap();
        let p = [0.3, 0.7];
        let prediction = Var::from_tensor(&column(&p)).unwrap();
        let loss = |kind: Consistency| {
            let mut teacher = |x: &Tensor, _: &Tensor| x.ones_like()? * 2.0;
            let mut average = |x: &Tensor, _: &Tensor| Ok(x.clone());
            kind.loss(&prediction, &x, &times, 4, &mut teacher, &mut average)
                .unwrap()
        };
        // Executed: targets are x − 2/4 = 0.5 and −2.5.
        let expected = ((p[0] - 0.5f64).powi(2) + (p[1] + 2.5f64).powi(2)) / 2.0;
        let found = loss(Consistency::Executed).to_scalar::<f64>().unwrap();
        assert!((found - expected).abs() < 1e-12, "{found}");
        // Proper: x' = 0.5 at 0.25, end point 0.5 − 0.25·0.5; x' = −2.2 at 0, end point itself.
        let first = (1.0 - 0.5 * p[0]) - 0.375;
        let second = (-2.0 - 0.1 * p[1]) + 2.2;
        let expected = (first * first + second * second) / 2.0;
        let total = loss(Consistency::Proper);
        let found = total.to_scalar::<f64>().unwrap();
        assert!((found - expected).abs() < 1e-12, "{found}");
        let gradients = total.backward().unwrap();
        let gradient = gradients.get(&prediction).unwrap().flatten_all().unwrap();
        let gradient = gradient.to_vec1::<f64>().unwrap();
        assert!((gradient[0] + 0.5 * first).abs() < 1e-12, "{gradient:?}");
        assert!((gradient[1] + 0.1 * second).abs() < 1e-12, "{gradient:?}");
    }
}
