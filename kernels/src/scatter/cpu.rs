//! A parallel copy of x, changed place by place.

use crate::copy_strided::cpu::copy_view;
use crate::element::Element;
use crate::gather::cpu::{add as add_into, pick, put};
use crate::gather::walk::{Indices, Outside, Walk};
use crate::output::Output;

/// x with elements of the source in their places.
pub(crate) fn replace<T: Element>(
    x: &[T],
    indices: Indices,
    source: &[T],
    walk: &Walk,
    outside: &Outside,
) -> Vec<T> {
    let mut result = copied(x);
    put(&mut result, indices, walk, outside, |to, from, _| {
        to.copy_from_slice(&source[from..from + to.len()]);
    });
    result
}

/// x with elements of the source added to their places.
pub(crate) fn add<T: Element>(
    x: &[T],
    indices: Indices,
    source: &[T],
    walk: &Walk,
    outside: &Outside,
) -> Vec<T> {
    let mut result = copied(x);
    add_into(&mut result, source, indices, walk, outside);
    result
}

/// The gradient with zeros in the places of the index.
pub(crate) fn clear<T: Element>(gradient: &[T], indices: Indices, walk: &Walk) -> Vec<T> {
    let mut result = copied(gradient);
    // The forward pass has checked the index.
    put(&mut result, indices, walk, &Outside::none(), |to, _, _| {
        to.fill(T::from_f64(0.0));
    });
    result
}

/// For each of `length` elements of the source the gradient of its place, if it has one; where elements
/// `replaced` each other, only for the last of them.
pub(crate) fn source_gradient<T: Element>(
    gradient: &[T],
    indices: Indices,
    walk: &Walk,
    length: usize,
    replaced: bool,
) -> Vec<T> {
    let found = Output::filled(T::from_f64(0.0), length);
    let outside = Outside::none();
    if replaced {
        // Which row of the index each place of x was left with.
        let mut last = vec![u32::MAX; gradient.len()];
        put(&mut last, indices, walk, &outside, |to, _, row| {
            to.fill(row as u32);
        });
        pick(&found, indices, walk, &outside, |to, from, row| {
            let places = gradient[from..].iter().zip(&last[from..]);
            for (to, (&gradient, &last)) in to.iter_mut().zip(places) {
                let stayed = last as usize == row;
                to.write(if stayed { gradient } else { T::from_f64(0.0) });
            }
        });
    } else {
        pick(&found, indices, walk, &outside, |to, from, _| {
            to.write_copy_of_slice(&gradient[from..from + to.len()]);
        });
    }
    // SAFETY: all elements were filled.
    unsafe { found.finish() }
}

fn copied<T: Element>(x: &[T]) -> Vec<T> {
    copy_view(x, &[x.len()], &[1])
}
