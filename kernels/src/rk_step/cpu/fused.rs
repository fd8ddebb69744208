//! One loop over a few inputs and outputs, all of a block of elements in registers.

use super::{Samples, for_each_run};
use crate::element::Element;
use crate::output::Output;
use crate::vector::{self, Pass};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Elements of a block: one AVX-512 register of `f32`.
const BLOCK: usize = 16;

/// What becomes of `I` numbers at one place of a sample: `O` numbers.
///
/// Implementations must be `#[inline(always)]`.
pub(super) trait Rule<T, const I: usize, const O: usize>: Sync {
    /// A sample's own numbers.
    type Own: Copy;

    fn of_sample(&self, sample: usize) -> Self::Own;
    fn apply(&self, own: Self::Own, inputs: [T; I]) -> [T; O];
}

/// Applies `rule` everywhere; output j begins at place j.
pub(super) fn run<T: Element, const I: usize, const O: usize>(
    inputs: [&[T]; I],
    places: [(&Output<T>, usize); O],
    rule: &impl Rule<T, I, O>,
    samples: Samples,
) {
    for_each_run(samples, |range| {
        vector::run(Part {
            inputs,
            places,
            rule,
            samples,
            range,
        });
    });
}

struct Part<'a, T, R, const I: usize, const O: usize> {
    inputs: [&'a [T]; I],
    places: [(&'a Output<T>, usize); O],
    rule: &'a R,
    samples: Samples,
    range: Range<usize>,
}

impl<T: Element, R: Rule<T, I, O>, const I: usize, const O: usize> Pass for Part<'_, T, R, I, O> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            inputs,
            places,
            rule,
            samples,
            range,
        } = self;
        for (sample, piece) in samples.pieces(range, usize::MAX) {
            let own = rule.of_sample(sample);
            let inputs = inputs.map(|input| &input[piece.clone()]);
            // SAFETY: runs, and so the pieces of different tasks, do not overlap; nor do outputs.
            let outputs = places
                .map(|(written, start)| unsafe { written.range(super::shifted(&piece, start)) });
            let whole = piece.len() / BLOCK * BLOCK;
            for at in (0..whole).step_by(BLOCK) {
                let inputs = inputs.map(|input| block(input, at));
                let mut found = [[T::from_f64(0.0); BLOCK]; O];
                for lane in 0..BLOCK {
                    let values = rule.apply(own, std::array::from_fn(|input| inputs[input][lane]));
                    for output in 0..O {
                        found[output][lane] = values[output];
                    }
                }
                for output in 0..O {
                    write_block(outputs[output], at, found[output]);
                }
            }
            for at in whole..piece.len() {
                let values = rule.apply(own, inputs.map(|input| input[at]));
                for output in 0..O {
                    outputs[output][at].write(values[output]);
                }
            }
        }
    }
}

#[inline(always)]
fn block<T: Copy>(values: &[T], at: usize) -> [T; BLOCK] {
    let values = &values[at..at + BLOCK];
    std::array::from_fn(|lane| values[lane])
}

#[inline(always)]
fn write_block<T: Copy>(written: &mut [MaybeUninit<T>], at: usize, values: [T; BLOCK]) {
    let written = &mut written[at..at + BLOCK];
    for lane in 0..BLOCK {
        written[lane].write(values[lane]);
    }
}
