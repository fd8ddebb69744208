//! Row after row where the axis is not the last, so that lines side by side are compared at once.

use crate::element::Element;
use crate::output::{Output, chunk_range, fill};
use crate::threads;
use crate::vector::{self, Pass};

/// Lines side by side that a task looks through.
const LINES: usize = 1024;
/// Elements a task looks at, about.
const TASK: usize = 16 * 1024;

/// For `[…, length, inner]` the position along the middle axis of each line's first maximum.
pub(super) fn first_maxima<T: Element>(x: &[T], length: usize, inner: usize) -> Vec<u32> {
    let block = length * inner;
    let lines = x.len() / length.max(1);
    let output = Output::new(lines);
    if lines == 0 {
        return Vec::new();
    }
    let blocks = x.len() / block;
    let pieces = inner.div_ceil(LINES);
    let a_task = (TASK / (length * inner.min(LINES))).max(1);
    threads::for_each((blocks * pieces).div_ceil(a_task), |task| {
        for number in chunk_range(blocks * pieces, a_task, task) {
            let columns = chunk_range(inner, LINES, number % pieces);
            let (start, line) = (number / pieces * block, number / pieces * inner);
            // SAFETY: pieces do not overlap.
            let found = unsafe { output.range(line + columns.start..line + columns.end) };
            vector::run(Maxima {
                x: &x[start + columns.start..start + block],
                inner,
                found: fill(found, 0),
            });
        }
    });
    // SAFETY: every piece was filled.
    unsafe { output.finish() }
}

struct Maxima<'a, T> {
    x: &'a [T],
    inner: usize,
    /// Zeros.
    found: &'a mut [u32],
}

impl<T: Element> Pass for Maxima<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { x, inner, found } = self;
        let columns = found.len();
        if inner == 1 {
            found[0] = first_maximum(x);
            return;
        }
        let mut largest = [T::from_f64(0.0); LINES];
        let largest = &mut largest[..columns];
        largest.copy_from_slice(&x[..columns]);
        for (row, values) in x.chunks(inner).enumerate().skip(1) {
            let values = &values[..columns];
            for ((largest, found), &value) in largest.iter_mut().zip(&mut *found).zip(values) {
                let larger = beats(value, *largest);
                *found = if larger { row as u32 } else { *found };
                *largest = if larger { value } else { *largest };
            }
        }
    }
}

/// Whether `value` takes the place of the largest so far: it is larger, or the first NaN.
#[inline(always)]
#[allow(clippy::eq_op)]
fn beats<T: Element>(value: T, largest: T) -> bool {
    (value > largest) | ((value != value) & (largest == largest))
}

#[inline(always)]
fn first_maximum<T: Element>(line: &[T]) -> u32 {
    let (mut largest, mut found) = (line[0], 0);
    for (row, &value) in line.iter().enumerate().skip(1) {
        if beats(value, largest) {
            (largest, found) = (value, row as u32);
        }
    }
    found
}
