//! x lies as `[outer][a, b][run]`, the result as `[outer][run]`.

use crate::element::Element;
use crate::output::{Output, chunk_range};
use crate::threads;
use crate::vector::{self, Pass};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Elements of the result that a task works on.
const CHUNK: usize = 8192;

/// a · sigmoid(b).
pub(super) fn forward<T: Element>(x: &[T], run: usize) -> Vec<T> {
    let length = x.len() / 2;
    let output = Output::new(length);
    threads::for_each(length.div_ceil(CHUNK), |task| {
        let elements = chunk_range(length, CHUNK, task);
        // SAFETY: chunks do not overlap.
        let part = unsafe { output.range(elements.clone()) };
        vector::run(Forward(x, run, elements, part));
    });
    // SAFETY: the chunks cover the result, and each is written as a whole.
    unsafe { output.finish() }
}

/// The gradients of a and b.
pub(super) fn backward<T: Element>(x: &[T], gradient: &[T], run: usize) -> Vec<T> {
    let dx = Output::new(x.len());
    threads::for_each(gradient.len().div_ceil(CHUNK), |task| {
        let elements = chunk_range(gradient.len(), CHUNK, task);
        vector::run(Backward {
            x,
            gradient,
            run,
            elements,
            dx: &dx,
        });
    });
    // SAFETY: the chunks cover the gradient, each of whose elements wrote its a and its b.
    unsafe { dx.finish() }
}

/// Cuts elements of the result where a run ends: the piece, and where its a and its b lie in x.
#[inline(always)]
fn pieces(
    elements: Range<usize>,
    run: usize,
) -> impl Iterator<Item = (Range<usize>, Range<usize>, Range<usize>)> {
    let mut next = elements.start;
    std::iter::from_fn(move || {
        (next < elements.end).then(|| {
            let (outer, start) = (next / run, next % run);
            let count = (run - start).min(elements.end - next);
            let piece = next..next + count;
            let a = outer * 2 * run + start;
            next += count;
            (piece, a..a + count, a + run..a + run + count)
        })
    })
}

struct Forward<'a, T>(&'a [T], usize, Range<usize>, &'a mut [MaybeUninit<T>]);

impl<T: Element> Pass for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self(x, run, elements, output) = self;
        let first = elements.start;
        for (piece, a, b) in pieces(elements, run) {
            let output = &mut output[piece.start - first..piece.end - first];
            for (output, (&a, &b)) in output.iter_mut().zip(x[a].iter().zip(&x[b])) {
                output.write(a * b.sigmoid());
            }
        }
    }
}

struct Backward<'a, T> {
    x: &'a [T],
    gradient: &'a [T],
    run: usize,
    /// Of the gradient; no other task has them.
    elements: Range<usize>,
    dx: &'a Output<T>,
}

impl<T: Element> Pass for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let one = T::from_f64(1.0);
        for (piece, a, b) in pieces(self.elements, self.run) {
            // SAFETY: each piece of the gradient has an a and a b of its own, apart from each other.
            let (da, db) = unsafe { (self.dx.range(a.clone()), self.dx.range(b.clone())) };
            let operands = self.gradient[piece].iter().zip(&self.x[a]).zip(&self.x[b]);
            for ((da, db), ((&g, &a), &b)) in da.iter_mut().zip(db).zip(operands) {
                let s = b.sigmoid();
                da.write(g * s);
                db.write(g * a * (s * (one - s)));
            }
        }
    }
}
