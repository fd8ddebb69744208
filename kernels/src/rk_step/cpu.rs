//! The passes: sums of operands with a factor a sample, Runge-Kutta states, sums over a sample.
//!
//! A task takes a fixed run of elements and works it off in pieces that stay in the
//! nearest cache while all operands pass over them, so each byte of memory moves once.

mod clamped;
mod fused;
mod loss;

pub(super) use clamped::{clamped, clamped_gradient};
pub(super) use loss::Loss;

use super::Samples;
use crate::element::Element;
use crate::output::{CHUNK, Output, chunk_range, collect};
use crate::threads;
use crate::vector::{self, LANES, Pass, total};
use fused::Rule;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Elements of an operand in a piece.
pub(super) const PIECE: usize = 1024;

/// Some operands of one length, each with its factor.
pub(super) type Terms<'a, T> = Vec<(&'a [T], T)>;

/// Calls `task` with each fixed run of elements, on all threads.
pub(super) fn for_each_run(samples: Samples, task: impl Fn(Range<usize>) + Sync) {
    let length = samples.len();
    threads::for_each(length.div_ceil(CHUNK), |index| {
        task(chunk_range(length, CHUNK, index));
    });
}

/// `y_j = Σ_i table[sample, j, i] · inputs_i`, each a vector of its own.
pub(super) fn combine<const I: usize, const O: usize, T: Element>(
    inputs: [&[T]; I],
    table: &[T],
    samples: Samples,
) -> [Vec<T>; O] {
    let written: [Output<T>; O] = std::array::from_fn(|_| Output::new(samples.len()));
    let places = written.each_ref().map(|written| (written, 0));
    fused::run(inputs, places, &Linear { table }, samples);
    // SAFETY: every run writes its part of every output.
    written.map(|written| unsafe { written.finish() })
}

/// [`combine`] into one vector, output after output.
pub(super) fn combine_flat<T: Element>(
    inputs: &[&[T]],
    table: &[T],
    outputs: usize,
    samples: Samples,
) -> Vec<T> {
    let written = Output::new(outputs * samples.len());
    let places: Vec<_> = (0..outputs)
        .map(|output| (&written, output * samples.len()))
        .collect();
    for_each_run(samples, |range| {
        vector::run(Combine {
            inputs,
            table,
            places: &places,
            samples,
            range,
        });
    });
    // SAFETY: every run writes its part of every output.
    unsafe { written.finish() }
}

struct Combine<'a, T> {
    inputs: &'a [&'a [T]],
    table: &'a [T],
    places: &'a [(&'a Output<T>, usize)],
    samples: Samples,
    range: Range<usize>,
}

impl<T: Element> Pass for Combine<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            inputs,
            table,
            places,
            samples,
            range,
        } = self;
        for (sample, piece) in samples.pieces(range, PIECE) {
            for (output, &(written, start)) in places.iter().enumerate() {
                let row = (sample * places.len() + output) * inputs.len();
                let factors = &table[row..][..inputs.len()];
                // SAFETY: runs, and so the pieces of different tasks, do not overlap.
                let part = unsafe { written.range(shifted(&piece, start)) };
                let terms = inputs.iter().copied().zip(factors.iter().copied());
                weighted(part, terms, &piece);
            }
        }
    }
}

fn shifted(piece: &Range<usize>, by: usize) -> Range<usize> {
    piece.start + by..piece.end + by
}

/// Writes the sum of the terms, in their order.
#[inline(always)]
fn weighted<'a, 'b, T: Element>(
    part: &'a mut [MaybeUninit<T>],
    mut terms: impl Iterator<Item = (&'b [T], T)>,
    piece: &Range<usize>,
) -> &'a mut [T] {
    match terms.next() {
        Some((values, factor)) => {
            for (sum, &value) in part.iter_mut().zip(&values[piece.clone()]) {
                sum.write(value * factor);
            }
        }
        None => part.fill(MaybeUninit::new(T::from_f64(0.0))),
    }
    // SAFETY: all elements were just written: the piece of an operand is as long as `part`.
    let part = unsafe { part.assume_init_mut() };
    for (values, factor) in terms {
        for (sum, &value) in part.iter_mut().zip(&values[piece.clone()]) {
            *sum += value * factor;
        }
    }
    part
}

/// Σ_i table[sample, j, i] · inputs_i.
struct Linear<'a, T> {
    table: &'a [T],
}

impl<T: Element, const I: usize, const O: usize> Rule<T, I, O> for Linear<'_, T> {
    type Own = [[T; I]; O];

    #[inline(always)]
    fn of_sample(&self, sample: usize) -> [[T; I]; O] {
        let table = &self.table[sample * I * O..][..I * O];
        std::array::from_fn(|output| std::array::from_fn(|input| table[output * I + input]))
    }

    #[inline(always)]
    fn apply(&self, own: [[T; I]; O], inputs: [T; I]) -> [T; O] {
        own.map(|factors| {
            let mut sum = inputs[0] * factors[0];
            for input in 1..I {
                sum += inputs[input] * factors[input];
            }
            sum
        })
    }
}

/// Outputs `s_j = x − scales[sample, j] · Σ_i weights_ji · slopes_i`, one after the other; a
/// slope of weight 0 is no part of a state.
pub(super) fn states<T: Element>(
    x: &[T],
    slopes: &[&[T]],
    weights: &[Vec<T>],
    scales: &[T],
    samples: Samples,
) -> Vec<T> {
    let written = Output::new(weights.len() * samples.len());
    let zero = T::from_f64(0.0);
    let dense = weights.iter().flatten().all(|&weight| weight != zero);
    match (slopes, weights) {
        (&[k1], [w]) if dense => states_of([x, k1], [w], scales, &written, samples),
        (&[k1, k2], [w]) if dense => states_of([x, k1, k2], [w], scales, &written, samples),
        (&[k1, k2], [w1, w2]) if dense => {
            states_of([x, k1, k2], [w1, w2], scales, &written, samples);
        }
        (&[k1, k2, k3], [w1, w2, w3]) if dense => {
            states_of([x, k1, k2, k3], [w1, w2, w3], scales, &written, samples);
        }
        (&[k1, k2, k3, k4], [w]) if dense => {
            states_of([x, k1, k2, k3, k4], [w], scales, &written, samples);
        }
        _ => {
            let terms = terms(slopes, weights);
            for_each_run(samples, |range| {
                vector::run(States {
                    x,
                    terms: &terms,
                    scales,
                    written: &written,
                    samples,
                    range,
                });
            });
        }
    }
    // SAFETY: every run writes its part of every state.
    unsafe { written.finish() }
}

/// For each state the slopes it is made of.
pub(super) fn terms<'a, T: Element>(slopes: &[&'a [T]], weights: &[Vec<T>]) -> Vec<Terms<'a, T>> {
    let of_state = |weights: &Vec<T>| {
        let each = slopes.iter().copied().zip(weights.iter().copied());
        each.filter(|(_, weight)| *weight != T::from_f64(0.0))
            .collect()
    };
    weights.iter().map(of_state).collect()
}

/// [`states`] with x and the slopes as inputs, all weights of which count.
fn states_of<T: Element, const I: usize, const O: usize>(
    inputs: [&[T]; I],
    weights: [&Vec<T>; O],
    scales: &[T],
    written: &Output<T>,
    samples: Samples,
) {
    let places = std::array::from_fn(|state| (written, state * samples.len()));
    let rule = DenseStates { weights, scales };
    fused::run(inputs, places, &rule, samples);
}

struct DenseStates<'a, T, const O: usize> {
    weights: [&'a Vec<T>; O],
    scales: &'a [T],
}

impl<T: Element, const I: usize, const O: usize> Rule<T, I, O> for DenseStates<'_, T, O> {
    /// Each state's weights behind its scale.
    type Own = [[T; I]; O];

    #[inline(always)]
    fn of_sample(&self, sample: usize) -> [[T; I]; O] {
        std::array::from_fn(|state| {
            let mut own = [self.scales[sample * O + state]; I];
            own[1..].copy_from_slice(&self.weights[state][..I - 1]);
            own
        })
    }

    #[inline(always)]
    fn apply(&self, own: [[T; I]; O], inputs: [T; I]) -> [T; O] {
        own.map(|own| {
            let mut slope = inputs[1] * own[1];
            for input in 2..I {
                slope += inputs[input] * own[input];
            }
            inputs[0] - own[0] * slope
        })
    }
}

/// The same for any weights, slope by slope over pieces that stay in the nearest cache.
struct States<'a, T> {
    x: &'a [T],
    terms: &'a [Terms<'a, T>],
    scales: &'a [T],
    written: &'a Output<T>,
    samples: Samples,
    range: Range<usize>,
}

impl<T: Element> Pass for States<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            x,
            terms,
            scales,
            written,
            samples,
            range,
        } = self;
        for (sample, piece) in samples.pieces(range, PIECE) {
            for (state, slope) in terms.iter().enumerate() {
                let scale = scales[sample * terms.len() + state];
                // SAFETY: runs, and so the pieces of different tasks, do not overlap.
                let part = unsafe { written.range(shifted(&piece, state * samples.len())) };
                let part = weighted(part, slope.iter().copied(), &piece);
                for (state, &x) in part.iter_mut().zip(&x[piece.clone()]) {
                    *state = x - scale * *state;
                }
            }
        }
    }
}

/// `Σ_j scales_j Σ_d gradients_j · Σ terms_j` of every sample, in `f64`.
pub(super) fn sample_products<T: Element>(
    gradients: &[&[T]],
    terms: &[Terms<'_, T>],
    scales: &[f64],
    samples: Samples,
) -> Vec<f64> {
    let pieces = samples.image.div_ceil(CHUNK);
    let partial = collect(samples.batch * pieces, |task| {
        let sample = task / pieces;
        let piece = chunk_range(samples.image, CHUNK, task % pieces);
        let range = shifted(&piece, sample * samples.image);
        let mut sum = 0.0;
        for ((gradient, terms), scale) in gradients.iter().zip(terms).zip(scales) {
            for (values, factor) in terms {
                let product =
                    vector::run(Product(&gradient[range.clone()], &values[range.clone()]));
                sum += scale * factor.to_f64() * product;
            }
        }
        sum
    });
    match pieces {
        0 => vec![0.0; samples.batch],
        _ => partial
            .chunks(pieces)
            .map(|pieces| pieces.iter().sum())
            .collect(),
    }
}

/// Σ a · b, in `f64`.
struct Product<'a, T>(&'a [T], &'a [T]);

impl<T: Element> Pass for Product<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let ((a, a_rest), (b, b_rest)) = (self.0.as_chunks::<LANES>(), self.1.as_chunks::<LANES>());
        let mut sums = [0.0f64; LANES];
        for (a, b) in a.iter().zip(b) {
            for lane in 0..LANES {
                sums[lane] += a[lane].to_f64() * b[lane].to_f64();
            }
        }
        for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
            *sum += a.to_f64() * b.to_f64();
        }
        total(sums)
    }
}
