//! Loops along rows.

use crate::element::Element;
use crate::output::{Output, chunk_range};
use crate::threads;
use crate::vector::{LANES, Pass, total};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Elements a task works on: exponentials are dear, so fewer than elsewhere.
const CHUNK: usize = 8192;

/// A vector of `length` elements whose rows of `size`, several a task, `body` writes as wholes.
pub(crate) fn each_rows<T: Element>(
    length: usize,
    size: usize,
    body: impl Fn(Range<usize>, &mut [MaybeUninit<T>]) + Sync,
) -> Vec<T> {
    let output = Output::new(length);
    let (rows, a_task) = (length / size.max(1), (CHUNK / size.max(1)).max(1));
    threads::for_each(rows.div_ceil(a_task), |task| {
        let rows = chunk_range(rows, a_task, task);
        let range = rows.start * size..rows.end * size;
        // SAFETY: tasks have rows of their own.
        body(range.clone(), unsafe { output.range(range) });
    });
    // SAFETY: the tasks cover the rows, and `body` writes each.
    unsafe { output.finish() }
}

/// The largest element that is a number; −∞ if there is none.
#[inline(always)]
pub(crate) fn largest<T: Element>(row: &[T]) -> T {
    let larger = |a: T, b: T| if b > a { b } else { a };
    let mut lanes = [T::from_f64(f64::NEG_INFINITY); LANES];
    let (blocks, rest) = row.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], block[lane]);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane = larger(*lane, value);
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = larger(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Hands `exp(x − largest)` to `store`, a block with its place at a time; returns their sum.
///
/// NaN anywhere, or a largest element that is infinite, makes the sum NaN.
#[inline(always)]
pub(crate) fn exponentials<T: Element>(
    row: &[T],
    largest: T,
    mut store: impl FnMut(Range<usize>, &[T]),
) -> T {
    let mut sums = [T::from_f64(0.0); LANES];
    let mut powers = [T::from_f64(0.0); LANES];
    let (blocks, rest) = row.as_chunks::<LANES>();
    for (index, block) in blocks.iter().enumerate() {
        for lane in 0..LANES {
            powers[lane] = (block[lane] - largest).exp();
            sums[lane] += powers[lane];
        }
        store(index * LANES..(index + 1) * LANES, &powers);
    }
    if !rest.is_empty() {
        // Filled up with what adds nothing, so that this block is a vector loop too.
        let mut block = [T::from_f64(f64::NEG_INFINITY); LANES];
        block[..rest.len()].copy_from_slice(rest);
        for lane in 0..LANES {
            powers[lane] = (block[lane] - largest).exp();
            sums[lane] += powers[lane];
        }
        store(row.len() - rest.len()..row.len(), &powers[..rest.len()]);
    }
    total(sums)
}

/// Copies `values` into fresh slots.
#[inline(always)]
pub(crate) fn write<T: Copy>(slots: &mut [MaybeUninit<T>], values: &[T]) {
    for (slot, &value) in slots.iter_mut().zip(values) {
        slot.write(value);
    }
}

pub(super) struct ForwardRows<'a, T> {
    pub(super) x: &'a [T],
    pub(super) output: &'a mut [MaybeUninit<T>],
    pub(super) size: usize,
    pub(super) log: bool,
}

impl<T: Element> Pass for ForwardRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let rows = self.x.chunks_exact(self.size.max(1));
        for (row, output) in rows.zip(self.output.chunks_exact_mut(self.size.max(1))) {
            let largest = largest(row);
            if self.log {
                let sum = exponentials(row, largest, |_, _| {});
                let log_sum = T::from_f64(sum.to_f64().ln());
                for (output, &x) in output.iter_mut().zip(row) {
                    output.write((x - largest) - log_sum);
                }
            } else {
                let sum = exponentials(row, largest, |part, powers| {
                    write(&mut output[part], powers);
                });
                let factor = T::from_f64(1.0) / sum;
                // SAFETY: `exponentials` stored every element of the row.
                for output in unsafe { output.assume_init_mut() } {
                    *output *= factor;
                }
            }
        }
    }
}

pub(super) struct BackwardRows<'a, T> {
    pub(super) y: &'a [T],
    pub(super) gradient: &'a [T],
    pub(super) dx: &'a mut [MaybeUninit<T>],
    pub(super) size: usize,
    pub(super) log: bool,
}

impl<T: Element> Pass for BackwardRows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let size = self.size.max(1);
        let rows = self
            .y
            .chunks_exact(size)
            .zip(self.gradient.chunks_exact(size));
        for ((y, gradient), dx) in rows.zip(self.dx.chunks_exact_mut(size)) {
            let operands = dx.iter_mut().zip(y).zip(gradient);
            if self.log {
                let sum = sum_of(y, gradient, |_, g| g);
                for ((dx, &y), &g) in operands {
                    dx.write(g - y.exp() * sum);
                }
            } else {
                let sum = sum_of(y, gradient, |y, g| y * g);
                for ((dx, &y), &g) in operands {
                    dx.write(y * (g - sum));
                }
            }
        }
    }
}

/// Σ term(a, b) over a row.
#[inline(always)]
fn sum_of<T: Element>(a: &[T], b: &[T], term: impl Fn(T, T) -> T) -> T {
    let mut sums = [T::from_f64(0.0); LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += term(a[lane], b[lane]);
        }
    }
    for (lane, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        sums[lane] += term(a, b);
    }
    total(sums)
}
