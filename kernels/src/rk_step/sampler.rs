//! One step of a sampler: Euler or Adams-Bashforth 2, with or without clamping.

use super::clamped::Clamped;
use super::states::States;
use super::{Samples, require_like, scalar_dtype};
use crate::operand::value_error;
use candle_core::{Result, Tensor};

const OP: &str = "sampler_update";

/// The numbers of a sampler's step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerStep {
    /// How far the step goes toward the data, of the time axis 0 … 1.
    pub h: f64,
    /// The time of x; used by the clamp and by the estimate of the data.
    pub t: f64,
    /// Smallest and largest value of the data, into which their estimate `x − t v` is clamped.
    pub clamp: Option<(f64, f64)>,
}

/// `x − h v`, or with the velocity of the step before `x − h (3/2 v − 1/2 v_previous)`.
///
/// * `x`, `v`, `previous`: one shape
///
/// The first is Euler's rule, the second that of Adams and Bashforth (2 steps of one
/// length h; "dpm_solver_2" of the published code), both of Catch-Up Distillation (Shao et
/// al. 2023) section 10. With a clamp, v is first replaced by
/// `(x − clamp(x − t v)) / t`, and t must not be 0. Differentiable in x, v and `previous`;
/// outside the clamp's range the estimate's derivative is 0. Reads each tensor once and
/// writes the result: 12 or 16 bytes an element in `f32`. Heun's rule is
/// [`rk_stage`](crate::rk_stage) with coefficients ½, ½.
///
/// # Errors
/// If a shape or type does not fit, h or t is not finite, the clamp's range is empty, or t is
/// not above 0 with a clamp.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use taper_kernels::{SamplerStep, sampler_update};
/// let tensor = |value: f32| Tensor::new(&[value], &Device::Cpu);
/// let step = SamplerStep { h: 0.25, t: 0.5, clamp: None };
/// let next = sampler_update(&tensor(1.)?, &tensor(4.)?, None, &step)?;
/// assert_eq!(next.to_vec1::<f32>()?, [0.0]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn sampler_update(
    x: &Tensor,
    v: &Tensor,
    previous: Option<&Tensor>,
    step: &SamplerStep,
) -> Result<Tensor> {
    update(x, v, previous, step, false)?.get(0)
}

/// [`sampler_update`] and the estimate `x − t v` of the data (clamped if the step is), in the same pass.
///
/// Writes one tensor more; both are parts of one tensor.
///
/// # Errors
/// As [`sampler_update`].
///
/// ```
/// use candle_core::{Device, Tensor};
/// use taper_kernels::{SamplerStep, sampler_update_with_estimate};
/// let tensor = |value: f32| Tensor::new(&[value], &Device::Cpu);
/// let step = SamplerStep { h: 0.25, t: 0.5, clamp: Some((-1.0, 1.0)) };
/// let (next, estimate) = sampler_update_with_estimate(&tensor(1.)?, &tensor(8.)?, None, &step)?;
/// assert_eq!(estimate.to_vec1::<f32>()?, [-1.0]); // 1 − 0.5 · 8 = −3
/// assert_eq!(next.to_vec1::<f32>()?, [0.0]); // v is (1 + 1) / 0.5 = 4
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn sampler_update_with_estimate(
    x: &Tensor,
    v: &Tensor,
    previous: Option<&Tensor>,
    step: &SamplerStep,
) -> Result<(Tensor, Tensor)> {
    let found = update(x, v, previous, step, true)?;
    Ok((found.get(0)?, found.get(1)?))
}

/// `[1, …]`, or with the estimate `[2, …]`.
fn update(
    x: &Tensor,
    v: &Tensor,
    previous: Option<&Tensor>,
    step: &SamplerStep,
    estimate: bool,
) -> Result<Tensor> {
    crate::operand::require_float(OP, "x", x)?;
    require_like(OP, x, [("v", v)])?;
    require_like(OP, x, previous.map(|previous| ("previous", previous)))?;
    for (argument, number) in [("h", step.h), ("t", step.t)] {
        if !number.is_finite() {
            return Err(value_error(OP, argument, number, "a finite number"));
        }
    }
    if let Some(range) = step.clamp {
        return clamped(x, v, previous, step, range, estimate);
    }
    let samples = Samples {
        batch: 1,
        image: x.elem_count(),
    };
    let (mut weights, mut steps) = match previous {
        None => (vec![vec![1.0]], vec![step.h]),
        Some(_) => (vec![vec![1.5, -0.5]], vec![step.h]),
    };
    if estimate {
        weights.push(vec![1.0, 0.0]);
        steps.push(step.t);
    }
    weights
        .iter_mut()
        .for_each(|weights| weights.truncate(1 + usize::from(previous.is_some())));
    let one = Tensor::ones(1, scalar_dtype(x), x.device())?;
    let slopes: Vec<&Tensor> = std::iter::once(v).chain(previous).collect();
    States::new(OP, samples, weights, steps).apply(x, &slopes, &one)
}

fn clamped(
    x: &Tensor,
    v: &Tensor,
    previous: Option<&Tensor>,
    step: &SamplerStep,
    (low, high): (f64, f64),
    estimate: bool,
) -> Result<Tensor> {
    if step.t <= 0.0 {
        return Err(value_error(OP, "t", step.t, "a time above 0, with a clamp"));
    }
    if low.is_nan() || high.is_nan() || low > high {
        let found = format!("{low} … {high}");
        return Err(value_error(OP, "clamp", found, "a range that is not empty"));
    }
    let op = Clamped {
        h: step.h,
        t: step.t,
        low,
        high,
        estimate,
    };
    let (x, v) = (x.contiguous()?, v.contiguous()?);
    match previous {
        None => x.apply_op2(&v, op),
        Some(previous) => x.apply_op3(&v, &previous.contiguous()?, op),
    }
}
