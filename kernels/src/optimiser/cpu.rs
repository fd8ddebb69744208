//! The update rules, chunk by chunk.

use super::{AdamWHyper, SgdHyper};
use crate::element::Element;
use crate::output::{CHUNK, chunk_range, collect, for_each_chunk};
use crate::vector;

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
            let part = (
                &mut **param,
                &grad[chunk_range(length, CHUNK, index)],
                &mut **velocity,
            );
            let numbers = [lr, momentum, taken, decay];
            match (hyper.momentum != 0.0, first, hyper.nesterov) {
                (false, ..) => vector::run(sgd_plain, (part.0, part.1, lr, decay)),
                (true, true, false) => vector::run(sgd_part::<T, true, false>, (part, numbers)),
                (true, true, true) => vector::run(sgd_part::<T, true, true>, (part, numbers)),
                (true, false, false) => vector::run(sgd_part::<T, false, false>, (part, numbers)),
                (true, false, true) => vector::run(sgd_part::<T, false, true>, (part, numbers)),
            }
        }
    });
}

#[inline(always)]
fn sgd_plain<T: Element>((param, grad, lr, decay): (&mut [T], &[T], T, T)) {
    for (param, &grad) in param.iter_mut().zip(grad) {
        *param -= lr * (grad + decay * *param);
    }
}

type SgdPart<'a, T> = (&'a mut [T], &'a [T], &'a mut [T]);

#[inline(always)]
fn sgd_part<T: Element, const FIRST: bool, const NESTEROV: bool>(
    ((param, grad, velocity), [lr, momentum, taken, decay]): (SgdPart<'_, T>, [T; 4]),
) {
    for ((param, &grad), velocity) in param.iter_mut().zip(grad).zip(velocity) {
        let grad = grad + decay * *param;
        *velocity = if FIRST {
            grad
        } else {
            momentum * *velocity + taken * grad
        };
        let step = if NESTEROV {
            grad + momentum * *velocity
        } else {
            *velocity
        };
        *param -= lr * step;
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
            vector::run(
                adamw_part,
                ((&mut **param, grad, &mut **average, &mut **square), numbers),
            );
        }
    });
}

type AdamWPart<'a, T> = (&'a mut [T], &'a [T], &'a mut [T], &'a mut [T]);

#[inline(always)]
fn adamw_part<T: Element>(((param, grad, average, square), numbers): (AdamWPart<'_, T>, [T; 7])) {
    let [shrink, taken1, kept2, taken2, root_correction, eps, lr] = numbers;
    for (((param, &grad), average), square) in param.iter_mut().zip(grad).zip(average).zip(square) {
        *average += (grad - *average) * taken1;
        *square = *square * kept2 + grad * grad * taken2;
        let deviation = square.sqrt() / root_correction + eps;
        *param = *param * shrink - lr * (*average / deviation);
    }
}

/// `average ← decay · average + (1 − decay) · param`.
pub(super) fn ema<T: Element>(average: &mut [T], param: &[T], decay: f64) {
    let length = average.len();
    let numbers = [decay, 1.0 - decay].map(T::from_f64);
    for_each_chunk(average, CHUNK, |index, average| {
        vector::run(
            ema_part,
            (average, &param[chunk_range(length, CHUNK, index)], numbers),
        );
    });
}

#[inline(always)]
fn ema_part<T: Element>((average, param, [kept, taken]): (&mut [T], &[T], [T; 2])) {
    for (average, &param) in average.iter_mut().zip(param) {
        *average = kept * *average + taken * param;
    }
}

/// Σ x².
pub(super) fn squared_norm<T: Element>(values: &[T]) -> f64 {
    let sums = collect(values.len().div_ceil(CHUNK), |index| {
        vector::run(
            sum_of_squares::<T>,
            &values[chunk_range(values.len(), CHUNK, index)],
        )
    });
    sums.iter().sum()
}

#[inline(always)]
fn sum_of_squares<T: Element>(values: &[T]) -> f64 {
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
