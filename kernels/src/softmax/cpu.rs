//! Which loops run: along rows where the dimension is the innermost, across columns elsewhere.

use super::columns::{BackwardColumns, Columns, ForwardColumns};
use super::rows::{BackwardRows, ForwardRows, each_rows};
use crate::axis::Axis;
use crate::element::Element;
use crate::output::Output;
use crate::{threads, vector};

/// The probabilities or, with `log`, their logarithms.
pub(super) fn forward<T: Element>(x: &[T], axis: Axis, log: bool) -> Vec<T> {
    if axis.inner == 1 {
        return each_rows(x.len(), axis.size, |range, output| {
            vector::run(ForwardRows {
                x: &x[range],
                output,
                size: axis.size,
                log,
            });
        });
    }
    each_columns(x.len(), axis, |columns, output| {
        // SAFETY: `columns` is this task's alone.
        vector::run(unsafe { ForwardColumns::new(x, output, columns, log) });
    })
}

/// dx from the result y and its gradient.
pub(super) fn backward<T: Element>(y: &[T], gradient: &[T], axis: Axis, log: bool) -> Vec<T> {
    if axis.inner == 1 {
        return each_rows(y.len(), axis.size, |range, dx| {
            vector::run(BackwardRows {
                y: &y[range.clone()],
                gradient: &gradient[range],
                dx,
                size: axis.size,
                log,
            });
        });
    }
    each_columns(y.len(), axis, |columns, dx| {
        // SAFETY: `columns` is this task's alone.
        vector::run(unsafe { BackwardColumns::new(y, gradient, dx, columns, log) });
    })
}

/// A vector of `length` elements whose columns `body`, which writes all of theirs, gets in strips.
fn each_columns<T: Element>(
    length: usize,
    axis: Axis,
    body: impl Fn(Columns, &Output<T>) + Sync,
) -> Vec<T> {
    let output = Output::new(length);
    if length > 0 {
        let strips = Columns::strips(axis);
        threads::for_each(axis.outer * strips, |task| {
            body(Columns::strip(axis, task / strips, task % strips), &output);
        });
    }
    // SAFETY: the strips cover the tensor, and `body` writes each as a whole.
    unsafe { output.finish() }
}
