//! Row by row; rows are shared out in chunks.

use crate::element::Element;
use crate::output::{Output, chunk_range};
use crate::threads;
use std::mem::MaybeUninit;

/// Elements a task works on: exponentials are dear, so fewer than elsewhere.
const CHUNK: usize = 4096;

/// The logarithm of the sum of exponentials of a row, relative to its largest
/// element, which is the second value.
pub(crate) fn log_sum_exp<T: Element>(row: &[T]) -> (f64, T) {
    let mut largest = T::from_f64(f64::NEG_INFINITY);
    for &value in row {
        #[allow(clippy::eq_op)]
        if value > largest || value != value {
            largest = value;
        }
    }
    let sum: f64 = row
        .iter()
        .map(|&value| (value - largest).exp().to_f64())
        .sum();
    (sum.ln(), largest)
}

/// `x − ln Σ exp x` of every row.
pub(super) fn forward<T: Element>(x: &[T], classes: usize) -> Vec<T> {
    each_row(x.len(), classes, |range, output| {
        let row = &x[range];
        let (log_sum, largest) = log_sum_exp(row);
        for (output, &value) in output.iter_mut().zip(row) {
            output.write(T::from_f64((value - largest).to_f64() - log_sum));
        }
    })
}

/// `g − exp(output) · Σ g` of every row.
pub(super) fn backward<T: Element>(output: &[T], gradient: &[T], classes: usize) -> Vec<T> {
    each_row(output.len(), classes, |range, dx| {
        let (output, gradient) = (&output[range.clone()], &gradient[range]);
        let sum = T::from_f64(gradient.iter().map(|gradient| gradient.to_f64()).sum());
        for ((dx, &output), &gradient) in dx.iter_mut().zip(output).zip(gradient) {
            dx.write(gradient - output.exp() * sum);
        }
    })
}

/// A vector of `length` whose rows of `classes` elements `body` writes as wholes.
pub(crate) fn each_row<T: Element>(
    length: usize,
    classes: usize,
    body: impl Fn(std::ops::Range<usize>, &mut [MaybeUninit<T>]) + Sync,
) -> Vec<T> {
    let classes = classes.max(1);
    let (rows, a_task) = (length / classes, (CHUNK / classes).max(1));
    let output = Output::new(length);
    threads::for_each(rows.div_ceil(a_task), |task| {
        for row in chunk_range(rows, a_task, task) {
            let range = row * classes..(row + 1) * classes;
            // SAFETY: rows do not overlap.
            body(range.clone(), unsafe { output.range(range) });
        }
    });
    // SAFETY: `body` writes every row as a whole (both callers zip the row with itself).
    unsafe { output.finish() }
}
