//! The sampler's step with a clamped estimate, and its derivative.

use super::super::clamped::{Clamped, ClampedGradient};
use crate::element::Element;
use crate::output::{CHUNK, Output, chunk_range};
use crate::threads;
use crate::vector::{self, Pass};
use std::mem::MaybeUninit;

/// The next state and, if wanted, the estimate, one after the other.
pub(crate) fn clamped<T: Element>(
    x: &[T],
    v: &[T],
    previous: Option<&[T]>,
    step: &Clamped,
) -> Vec<T> {
    let length = x.len();
    let written = Output::new(length * (1 + usize::from(step.estimate)));
    let numbers = [step.h, step.t, step.low, step.high].map(T::from_f64);
    threads::for_each(length.div_ceil(CHUNK), |index| {
        let range = chunk_range(length, CHUNK, index);
        let estimate = match step.estimate {
            true => range.start + length..range.end + length,
            false => 0..0,
        };
        // SAFETY: chunks do not overlap, and the estimates lie behind all states.
        let (next, estimate) = unsafe { (written.range(range.clone()), written.range(estimate)) };
        vector::run(Step {
            x: &x[range.clone()],
            v: &v[range.clone()],
            previous: previous.map(|previous| &previous[range]),
            numbers,
            next,
            estimate,
        });
    });
    // SAFETY: every chunk writes its state and, where there is room for it, its estimate.
    unsafe { written.finish() }
}

/// `value` between `low` and `high`; NaN stays NaN.
#[inline(always)]
fn clamp<T: Element>(value: T, low: T, high: T) -> T {
    let value = if value < low { low } else { value };
    if value > high { high } else { value }
}

struct Step<'a, T> {
    x: &'a [T],
    v: &'a [T],
    previous: Option<&'a [T]>,
    numbers: [T; 4],
    next: &'a mut [MaybeUninit<T>],
    /// Empty where it is not wanted.
    estimate: &'a mut [MaybeUninit<T>],
}

impl<T: Element> Pass for Step<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let [h, t, low, high] = self.numbers;
        let estimate = |x: T, v: T| clamp(x - t * v, low, high);
        let each = self.x.iter().zip(self.v);
        match self.previous {
            None => {
                for (next, (&x, &v)) in self.next.iter_mut().zip(each.clone()) {
                    next.write(x - h * ((x - estimate(x, v)) / t));
                }
            }
            Some(previous) => {
                let (now, before) = (T::from_f64(1.5), T::from_f64(0.5));
                let each = each.clone().zip(previous);
                for (next, ((&x, &v), &previous)) in self.next.iter_mut().zip(each) {
                    let v = (x - estimate(x, v)) / t;
                    next.write(x - h * (now * v - before * previous));
                }
            }
        }
        for (written, (&x, &v)) in self.estimate.iter_mut().zip(each) {
            written.write(estimate(x, v));
        }
    }
}

/// dx and dv, one after the other; `gradient` is that of the state and, behind it, that of the estimate.
pub(crate) fn clamped_gradient<T: Element>(
    gradient: &[T],
    x: &[T],
    v: &[T],
    op: &ClampedGradient,
) -> Vec<T> {
    let length = x.len();
    let written = Output::new(2 * length);
    let step = &op.step;
    let numbers = [op.share(), step.t, step.low, step.high].map(T::from_f64);
    let (of_state, of_estimate) = gradient.split_at(length);
    threads::for_each(length.div_ceil(CHUNK), |index| {
        let range = chunk_range(length, CHUNK, index);
        // SAFETY: chunks do not overlap, and the gradients of v lie behind all of x.
        let (dx, dv) = unsafe {
            (
                written.range(range.clone()),
                written.range(range.start + length..range.end + length),
            )
        };
        vector::run(StepGradient {
            x: &x[range.clone()],
            v: &v[range.clone()],
            of_state: &of_state[range.clone()],
            of_estimate: (!of_estimate.is_empty()).then(|| &of_estimate[range]),
            numbers,
            dx,
            dv,
        });
    });
    // SAFETY: every chunk writes its part of both gradients.
    unsafe { written.finish() }
}

struct StepGradient<'a, T> {
    x: &'a [T],
    v: &'a [T],
    of_state: &'a [T],
    of_estimate: Option<&'a [T]>,
    numbers: [T; 4],
    dx: &'a mut [MaybeUninit<T>],
    dv: &'a mut [MaybeUninit<T>],
}

impl<T: Element> Pass for StepGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let [share, t, low, high] = self.numbers;
        let zero = T::from_f64(0.0);
        for (index, (dx, dv)) in self.dx.iter_mut().zip(self.dv).enumerate() {
            let estimate = self.x[index] - t * self.v[index];
            let state = self.of_state[index];
            // Through the estimate: next = (1 − share) x + share · estimate.
            let through = match self.of_estimate {
                Some(of_estimate) => share * state + of_estimate[index],
                None => share * state,
            };
            // As PyTorch's clamp: both ends count as inside.
            let inside = if estimate >= low && estimate <= high {
                through
            } else {
                zero
            };
            dx.write(state - share * state + inside);
            dv.write(zero - t * inside);
        }
    }
}
