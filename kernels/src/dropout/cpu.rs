//! The specification and the fast code: a hash an element, in 32 bits so that it vectorises.

use super::Mask;
use crate::element::Element;
use crate::output::{CHUNK, Output, chunk_range};
use crate::threads;
use crate::vector::{self, Pass};
use std::mem::MaybeUninit;

/// A bijection of 32 bits whose every output bit depends on every input bit: `lowbias32`, with the multipliers and shifts
/// that Wellons found by search ("Prospecting for hash functions", 2018).
#[inline(always)]
fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7FEB_352D);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846C_A68B);
    x ^ (x >> 16)
}

/// The number of element `low` that is compared with the threshold.
#[inline(always)]
pub(super) fn hash(low: u32, (lower, upper): (u32, u32)) -> u32 {
    mix(mix(low ^ lower).wrapping_add(upper))
}

/// x under the mask.
pub(super) fn apply<T: Element>(x: &[T], mask: Mask) -> Vec<T> {
    let output = Output::new(x.len());
    threads::for_each(x.len().div_ceil(CHUNK), |task| {
        let range = chunk_range(x.len(), CHUNK, task);
        let start = range.start;
        // SAFETY: chunks do not overlap.
        let part = unsafe { output.range(range.clone()) };
        vector::run(Apply {
            x: &x[range],
            start,
            output: part,
            mask,
        });
    });
    // SAFETY: the chunks cover x, and `Apply` writes every element of its chunk.
    unsafe { output.finish() }
}

struct Apply<'a, T> {
    x: &'a [T],
    /// Index of the first element; a multiple of [`CHUNK`], which divides 2³².
    start: usize,
    output: &'a mut [MaybeUninit<T>],
    mask: Mask,
}

impl<T: Element> Pass for Apply<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let halves = self.mask.halves((self.start as u64 >> 32) as u32);
        let (scale, zero) = (T::from_f64(self.mask.scale), T::from_f64(0.0));
        let first = self.start as u32;
        for (index, (output, &x)) in self.output.iter_mut().zip(self.x).enumerate() {
            let kept = hash(first.wrapping_add(index as u32), halves) >= self.mask.threshold;
            output.write(if kept { x * scale } else { zero });
        }
    }
}
