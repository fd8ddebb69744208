//! One pass over one, two or three tensors of the same length.

use crate::element::Element;
use crate::output::{CHUNK, Output, chunk_range};
use crate::vector::Pass;
use crate::{threads, vector};
use std::mem::MaybeUninit;

/// `function(x)` for every element.
pub(crate) fn map<T: Element>(x: &[T], function: impl Fn(T) -> T + Copy + Sync) -> Vec<T> {
    zip(x, x, move |x, _| function(x))
}

/// `function(a, b)` for every pair of elements; both slices have the same length.
pub(crate) fn zip<T: Element>(
    a: &[T],
    b: &[T],
    function: impl Fn(T, T) -> T + Copy + Sync,
) -> Vec<T> {
    let length = a.len().min(b.len());
    let output = Output::new(length);
    threads::for_each(length.div_ceil(CHUNK), |index| {
        let range = chunk_range(length, CHUNK, index);
        // SAFETY: chunks do not overlap.
        let part = unsafe { output.range(range.clone()) };
        vector::run(Zip(&a[range.clone()], &b[range], part, function));
    });
    // SAFETY: `Zip` writes every element of every chunk.
    unsafe { output.finish() }
}

struct Zip<'a, T, F>(&'a [T], &'a [T], &'a mut [MaybeUninit<T>], F);

impl<T: Element, F: Fn(T, T) -> T> Pass for Zip<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self(a, b, output, function) = self;
        for ((output, &a), &b) in output.iter_mut().zip(a).zip(b) {
            output.write(function(a, b));
        }
    }
}
