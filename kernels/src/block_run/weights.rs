//! Weights with zeros for the channels that fill up blocks, and gradients without them.

use crate::conv2d::Problem;
use std::borrow::Cow;

/// `[out, in/groups, kh, kw]` of `problem` as that of `padded`.
pub(super) fn pad<'a>(weight: &'a [f32], problem: &Problem, padded: &Problem) -> Cow<'a, [f32]> {
    if problem == padded {
        return Cow::Borrowed(weight);
    }
    let (narrow, wide) = (
        problem.group_in() * problem.taps(),
        padded.group_in() * padded.taps(),
    );
    let mut filled = vec![0.0; padded.weight_len()];
    let rows = weight.chunks_exact(narrow.max(1));
    for (to, from) in filled.chunks_exact_mut(wide.max(1)).zip(rows) {
        to[..narrow].copy_from_slice(from);
    }
    Cow::Owned(filled)
}

/// Copies the gradient of a padded weight to that of the weight.
pub(super) fn unpad(gradient: &[f32], problem: &Problem, padded: &Problem, to: &mut [f32]) {
    let (narrow, wide) = (
        problem.group_in() * problem.taps(),
        padded.group_in() * padded.taps(),
    );
    let rows = gradient.chunks_exact(wide.max(1));
    for (to, from) in to.chunks_exact_mut(narrow.max(1)).zip(rows) {
        to.copy_from_slice(&from[..narrow]);
    }
}
