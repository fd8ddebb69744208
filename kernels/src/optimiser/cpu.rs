//! The update rules, chunk by chunk.

use super::{AdamWHyper, SgdHyper};
use crate::element::Element;
use crate::output::{CHUNK, chunk_range, collect, for_each_chunk};
use crate::vector::{self, Pass};

/// `p ← p − lr · step`, see [`super::sgd_step`].
pub(super) fn sgd<T: Element>(
    param: &mut [T],
    grad: &[T],
    velocity: &mut [T],
    hyper: &SgdHyper,
    first: bool,
) {
    let [lr, momentum, taken, decay] = [
        hyper.lr,
        hyper.momentum,
        1.0 - hyper.dampening,
        hyper.weight_decay,
    ]
    .map(T::from_f64);
    let length = param.len();
    let mut parts: Vec<_> = param
        .chunks_mut(CHUNK)
        .zip(velocity.chunks_mut(CHUNK))
        .collect();
    for_each_chunk(&mut parts, 1, |index, parts| {
        for (param, velocity) in parts {
            let part = SgdPart {
                param,
                grad: &grad[chunk_range(length, CHUNK, index)],
                velocity,
                numbers: [lr, momentum, taken, decay],
                rule: match hyper.momentum != 0.0 {
                    false => Rule::Plain,
                    true if first => Rule::First,
                    true => Rule::Later,
                },
                nesterov: hyper.nesterov,
            };
            vector::run(part);
        }
    });
}

/// How the velocity takes part in a step.
#[derive(Clone, Copy, PartialEq)]
enum Rule {
    /// Not at all: there is no momentum.
    Plain,
    /// It begins as the gradient.
    First,
    /// It decays and takes the gradient in.
    Later,
}

struct SgdPart<'a, T> {
    param: &'a mut [T],
    grad: &'a [T],
    velocity: &'a mut [T],
    /// Learning rate, momentum, 1 − dampening, weight decay.
    numbers: [T; 4],
    rule: Rule,
    nesterov: bool,
}

impl<T: Element> Pass for SgdPart<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let [lr, momentum, taken, decay] = self.numbers;
        let nesterov = self.nesterov;
        let step = |grad: T, velocity: T| {
            if nesterov {
                grad + momentum * velocity
            } else {
                velocity
            }
        };
        let each = self.param.iter_mut().zip(self.grad).zip(self.velocity);
        match self.rule {
            Rule::Plain => {
                for ((param, &grad), _) in each {
                    *param -= lr * (grad + decay * *param);
                }
            }
            Rule::First => {
                for ((param, &grad), velocity) in each {
                    let grad = grad + decay * *param;
                    *velocity = grad;
                    *param -= lr * step(grad, grad);
                }
            }
            Rule::Later => {
                for ((param, &grad), velocity) in each {
                    let grad = grad + decay * *param;
                    *velocity = momentum * *velocity + taken * grad;
                    *param -= lr * step(grad, *velocity);
                }
            }
        }
    }
}

/// See [`super::adamw_step`].
pub(super) fn adamw<T: Element>(
    param: &mut [T],
    grad: &[T],
    average: &mut [T],
    square: &mut [T],
    hyper: &AdamWHyper,
    step: u64,
) {
    let corrections = [hyper.beta1, hyper.beta2].map(|beta| 1.0 - beta.powf(step as f64));
    let numbers = [
        1.0 - hyper.lr * hyper.weight_decay,
        1.0 - hyper.beta1,
        hyper.beta2,
        1.0 - hyper.beta2,
        corrections[1].sqrt(),
        hyper.eps,
        hyper.lr / corrections[0],
    ]
    .map(T::from_f64);
    let length = param.len();
    let mut parts: Vec<_> = param
        .chunks_mut(CHUNK)
        .zip(average.chunks_mut(CHUNK))
        .zip(square.chunks_mut(CHUNK))
        .collect();
    for_each_chunk(&mut parts, 1, |index, parts| {
        for ((param, average), square) in parts {
            let grad = &grad[chunk_range(length, CHUNK, index)];
            vector::run(AdamWPart {
                param,
                grad,
                average,
                square,
                numbers,
            });
        }
    });
}

struct AdamWPart<'a, T> {
    param: &'a mut [T],
    grad: &'a [T],
    average: &'a mut [T],
    square: &'a mut [T],
    numbers: [T; 7],
}

impl<T: Element> Pass for AdamWPart<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            param,
            grad,
            average,
            square,
            numbers,
        } = self;
        let [shrink, taken1, kept2, taken2, root_correction, eps, lr] = numbers;
        for (((param, &grad), average), square) in
            param.iter_mut().zip(grad).zip(average).zip(square)
        {
            *average += (grad - *average) * taken1;
            *square = *square * kept2 + grad * grad * taken2;
            let deviation = square.sqrt() / root_correction + eps;
            *param = *param * shrink - lr * (*average / deviation);
        }
    }
}

/// `average ← decay · average + (1 − decay) · param`.
pub(super) fn ema<T: Element>(average: &mut [T], param: &[T], decay: f64) {
    let length = average.len();
    let numbers = [decay, 1.0 - decay].map(T::from_f64);
    for_each_chunk(average, CHUNK, |index, average| {
        vector::run(EmaPart {
            average,
            param: &param[chunk_range(length, CHUNK, index)],
            numbers,
        });
    });
}

struct EmaPart<'a, T> {
    average: &'a mut [T],
    param: &'a [T],
    /// What is kept and what is taken in.
    numbers: [T; 2],
}

impl<T: Element> Pass for EmaPart<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            average,
            param,
            numbers: [kept, taken],
        } = self;
        for (average, &param) in average.iter_mut().zip(param) {
            *average = kept * *average + taken * param;
        }
    }
}

/// Σ x².
pub(super) fn squared_norm<T: Element>(values: &[T]) -> f64 {
    let sums = collect(values.len().div_ceil(CHUNK), |index| {
        vector::run(SumOfSquares(
            &values[chunk_range(values.len(), CHUNK, index)],
        ))
    });
    sums.iter().sum()
}

struct SumOfSquares<'a, T>(&'a [T]);

impl<T: Element> Pass for SumOfSquares<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let Self(values) = self;
        let (blocks, rest) = values.as_chunks::<16>();
        let mut sums = [0.0; 16];
        for block in blocks {
            for lane in 0..16 {
                sums[lane] += block[lane].to_f64() * block[lane].to_f64();
            }
        }
        for (sum, value) in sums.iter_mut().zip(rest) {
            *sum += value.to_f64() * value.to_f64();
        }
        sums.iter().sum()
    }
}
