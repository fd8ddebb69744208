//! One pass each: read the operands, write the result.

use crate::element::{Element, masked, positive};
use crate::elementwise::{map, zip};

/// max(x, 0).
pub(super) fn relu<T: Element>(x: &[T]) -> Vec<T> {
    map(x, positive)
}

/// max(a + b, 0).
pub(super) fn add_relu<T: Element>(a: &[T], b: &[T]) -> Vec<T> {
    zip(a, b, |a, b| positive(a + b))
}

/// The gradient where the output is positive.
pub(super) fn masked_gradient<T: Element>(output: &[T], gradient: &[T]) -> Vec<T> {
    zip(output, gradient, masked)
}
