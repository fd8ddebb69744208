//! Element by element in `f64`, in fixed chunks.

use crate::element::Element;
use crate::elementwise;
use crate::output::{chunk_range, collect};

/// Elements a task works on: exponentials are dear.
const CHUNK: usize = 4096;

/// The mean of `(1 − y) x − ln σ(x)`; NaN if there are no elements.
pub(super) fn mean_loss<T: Element>(logits: &[T], targets: &[T]) -> f64 {
    let partial = collect(logits.len().div_ceil(CHUNK), |task| {
        let range = chunk_range(logits.len(), CHUNK, task);
        let pairs = logits[range.clone()].iter().zip(&targets[range]);
        pairs
            .map(|(&x, &y)| {
                let (x, y) = (x.to_f64(), y.to_f64());
                let log_sigmoid = x.min(0.0) - (-x.abs()).exp().ln_1p();
                // `min` drops NaN, the product keeps it.
                (1.0 - y) * x - log_sigmoid
            })
            .sum::<f64>()
    });
    partial.iter().sum::<f64>() / logits.len() as f64
}

/// `(σ(x) − y) · g / n`.
pub(super) fn logits_gradient<T: Element>(logits: &[T], targets: &[T], gradient: T) -> Vec<T> {
    let factor = gradient.to_f64() / logits.len() as f64;
    elementwise::zip(logits, targets, move |x, y| {
        let x = x.to_f64();
        // σ(x) = e^min(x, 0) / (1 + e^−|x|): neither exponential overflows.
        let small = (-x.abs()).exp();
        let sigmoid = if x < 0.0 { small } else { 1.0 } / (1.0 + small);
        T::from_f64((sigmoid - y.to_f64()) * factor)
    })
}

/// `−x · g / n`.
pub(super) fn targets_gradient<T: Element>(logits: &[T], gradient: T) -> Vec<T> {
    let factor = gradient.to_f64() / logits.len() as f64;
    elementwise::map(logits, move |x| T::from_f64(-x.to_f64() * factor))
}
