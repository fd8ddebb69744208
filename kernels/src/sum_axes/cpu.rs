//! Tasks take a block of sums and a part of their terms, so memory is read in order.

use crate::copy_strided::cpu::{Axis, offset};
use crate::element::Element;
use crate::output::{Output, chunk_range};
use crate::threads;
use crate::vector::{self, LANES, Pass, total};
use std::ops::Range;

/// Sums a task works on at most.
const BLOCK: usize = 1024;
/// Terms a task adds up at least, if there are so many.
const TASK: usize = 32 * 1024;
/// Tasks that keep the threads of a common machine evenly busy.
const TASKS: usize = 32;
/// Terms of one sum that are read in one go.
const PIECE: usize = 16 * 1024;
/// Rows that are added in the tensor's own type before `f64` takes their sum.
const ROWS: usize = 16;
/// Vectors of a run that are added in the tensor's own type before `f64` takes their sum.
const VECTORS: usize = 16;
/// Adjacent rows shorter than this are added several at a time.
const NARROW: usize = 64;

/// The sums over the axes marked in `summed` of a contiguous tensor.
pub(crate) fn sum<T: Element>(x: &[T], dims: &[usize], summed: &[bool]) -> Vec<T> {
    let kept = dims.iter().zip(summed).filter(|(_, summed)| !**summed);
    let outputs = kept.map(|(&length, _)| length).product();
    if x.is_empty() {
        return vec![T::from_f64(0.0); outputs];
    }
    let problem = Problem::new(dims, summed);
    if problem.within {
        problem.sum_runs(x)
    } else {
        problem.sum_columns(x)
    }
}

/// A contiguous tensor as axes that are kept, axes that are summed over, and runs of adjacent elements.
pub(super) struct Problem {
    pub(super) kept: Vec<Axis>,
    pub(super) summed: Vec<Axis>,
    /// Elements of a run.
    pub(super) run: usize,
    /// Whether a run belongs to one sum; else its elements belong to neighbouring sums.
    pub(super) within: bool,
}

pub(super) fn count(axes: &[Axis]) -> usize {
    axes.iter().map(|axis| axis.length).product()
}

impl Problem {
    pub(super) fn new(dims: &[usize], summed: &[bool]) -> Self {
        // From the last axis to the first, neighbours of a kind made one.
        let mut groups: Vec<(usize, bool)> = Vec::new();
        for (&length, &summed) in dims.iter().zip(summed).rev() {
            match groups.last_mut() {
                _ if length == 1 => {}
                Some(group) if group.1 == summed => group.0 *= length,
                _ => groups.push((length, summed)),
            }
        }
        let (run, within) = groups.first().copied().unwrap_or((1, false));
        let (mut kept, mut summed, mut stride) = (Vec::new(), Vec::new(), run);
        for &(length, over) in groups.iter().skip(1) {
            let axes = if over { &mut summed } else { &mut kept };
            axes.insert(0, Axis { length, stride });
            stride *= length;
        }
        Self {
            kept,
            summed,
            run,
            within,
        }
    }

    /// Each run as a whole, in pieces where it is long.
    fn sum_runs<T: Element>(&self, x: &[T]) -> Vec<T> {
        let outputs = count(&self.kept);
        let pieces = self.run.div_ceil(PIECE);
        let piece = self.run.div_ceil(pieces);
        let block = (TASK / piece).clamp(1, BLOCK);
        let work = Work {
            outputs,
            blocks: outputs.div_ceil(block),
            rows: count(&self.summed) * pieces,
            row: block.min(outputs) * piece,
            together: 1,
        };
        work.run(
            |number| chunk_range(outputs, block, number),
            |block, rows, sums| {
                let bases: Vec<usize> = block.map(|output| offset(&self.kept, output)).collect();
                for row in rows {
                    let part = chunk_range(self.run, piece, row % pieces);
                    let from = offset(&self.summed, row / pieces) + part.start;
                    vector::run(Runs {
                        x: &x[from..],
                        bases: &bases,
                        length: part.len(),
                        sums,
                    });
                }
            },
        )
    }

    /// Runs added to each other element by element.
    fn sum_columns<T: Element>(&self, x: &[T]) -> Vec<T> {
        let groups = count(&self.kept);
        let pieces = self.run.div_ceil(BLOCK);
        let piece = self.run.div_ceil(pieces);
        let work = Work {
            outputs: groups * self.run,
            blocks: groups * pieces,
            rows: count(&self.summed),
            row: piece,
            together: ROWS,
        };
        let range = |number: usize| {
            let (start, columns) = (
                number / pieces * self.run,
                chunk_range(self.run, piece, number % pieces),
            );
            start + columns.start..start + columns.end
        };
        work.run(range, |block, rows, sums| {
            let base = offset(&self.kept, block.start / self.run) + block.start % self.run;
            self.each_stretch(rows, |from, rows, stride| {
                vector::run(Columns {
                    x: &x[base + from..],
                    rows,
                    stride,
                    sums,
                });
            });
        })
    }

    /// Cuts a range of summed rows where the innermost summed axis begins anew: (start, rows, stride).
    fn each_stretch(&self, rows: Range<usize>, mut body: impl FnMut(usize, usize, usize)) {
        let innermost = self.summed.last().copied();
        let Axis { length, stride } = innermost.unwrap_or(Axis {
            length: 1,
            stride: self.run,
        });
        let mut row = rows.start;
        while row < rows.end {
            let stretch = (length - row % length).min(rows.end - row);
            body(offset(&self.summed, row), stretch, stride);
            row += stretch;
        }
    }
}

/// How sums and their terms are shared out.
struct Work {
    outputs: usize,
    /// Blocks of sums.
    blocks: usize,
    /// Rows of terms that every block has.
    rows: usize,
    /// Terms of a block in a row.
    row: usize,
    /// Rows that are best added at once.
    together: usize,
}

impl Work {
    /// `body(block, rows, sums)` adds the terms of some rows to the sums of a block, which `range` numbers.
    fn run<T: Element>(
        &self,
        range: impl Fn(usize) -> Range<usize> + Sync,
        body: impl Fn(Range<usize>, Range<usize>, &mut [f64]) + Sync,
    ) -> Vec<T> {
        // Terms are shared out only where the blocks alone are too few.
        let wanted = TASKS.div_ceil(self.blocks);
        let most = (self.rows * self.row).div_ceil(TASK);
        let a_task = self
            .rows
            .div_ceil(wanted.min(most).max(1))
            .next_multiple_of(self.together);
        let parts = self.rows.div_ceil(a_task);
        let sums = Output::new(self.outputs);
        if parts == 1 {
            threads::for_each(self.blocks, |number| {
                let block = range(number);
                let mut found = [0.0; BLOCK];
                let found = &mut found[..block.len()];
                body(block.clone(), 0..self.rows, found);
                // SAFETY: blocks do not overlap.
                let sums = unsafe { sums.range(block) };
                for (sum, &found) in sums.iter_mut().zip(found.iter()) {
                    sum.write(T::from_f64(found));
                }
            });
            // SAFETY: the blocks cover all sums.
            return unsafe { sums.finish() };
        }
        let partial = Output::new(parts * self.outputs);
        threads::for_each(self.blocks * parts, |task| {
            let (number, part) = (task / parts, task % parts);
            let (block, start) = (range(number), part * self.outputs);
            let mut found = [0.0; BLOCK];
            let found = &mut found[..block.len()];
            body(block.clone(), chunk_range(self.rows, a_task, part), found);
            // SAFETY: blocks of a part do not overlap.
            let partial = unsafe { partial.range(start + block.start..start + block.end) };
            partial.write_copy_of_slice(found);
        });
        // SAFETY: the blocks cover the sums of every part.
        let partial = unsafe { partial.finish() };
        threads::for_each(self.outputs.div_ceil(BLOCK), |number| {
            let block = chunk_range(self.outputs, BLOCK, number);
            let mut found = [0.0; BLOCK];
            let found = &mut found[..block.len()];
            for part in partial.chunks_exact(self.outputs) {
                for (sum, &term) in found.iter_mut().zip(&part[block.clone()]) {
                    *sum += term;
                }
            }
            // SAFETY: blocks do not overlap.
            let sums = unsafe { sums.range(block) };
            for (sum, &found) in sums.iter_mut().zip(found.iter()) {
                sum.write(T::from_f64(found));
            }
        });
        // SAFETY: the blocks cover all sums.
        unsafe { sums.finish() }
    }
}

/// `sums[i] += Σ x[bases[i]..][..length]`.
struct Runs<'a, T> {
    x: &'a [T],
    bases: &'a [usize],
    length: usize,
    sums: &'a mut [f64],
}

impl<T: Element> Pass for Runs<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (sum, &base) in self.sums.iter_mut().zip(self.bases) {
            let values = &self.x[base..base + self.length];
            if values.len() < LANES {
                let mut short = T::from_f64(0.0);
                for &value in values {
                    short += value;
                }
                *sum += short.to_f64();
                continue;
            }
            for run in values.chunks(VECTORS * LANES) {
                let mut lanes = [T::from_f64(0.0); LANES];
                let (blocks, rest) = run.as_chunks::<LANES>();
                for block in blocks {
                    prefetch(block.as_ptr().wrapping_add(AHEAD));
                    prefetch(block.as_ptr().wrapping_add(AHEAD + LANES / 2));
                    for lane in 0..LANES {
                        lanes[lane] += block[lane];
                    }
                }
                for (lane, &value) in lanes.iter_mut().zip(rest) {
                    *lane += value;
                }
                *sum += total(lanes).to_f64();
            }
        }
    }
}

/// Columns of a group of rows that are fetched while the ones before are added.
const STRIP: usize = 256;
/// Elements between what is added and what is fetched for later.
const AHEAD: usize = 512;

/// Asks for the cache line at `address`, which need not be there.
#[inline(always)]
fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// `sums[c] += Σ_r x[r · stride + c]`.
struct Columns<'a, T> {
    x: &'a [T],
    rows: usize,
    stride: usize,
    sums: &'a mut [f64],
}

impl<T: Element> Pass for Columns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            x,
            rows,
            stride,
            sums,
        } = self;
        let columns = sums.len();
        let together = 2 * NARROW / columns;
        if stride != columns || columns >= NARROW || rows < 2 * together {
            add_rows(x, rows, stride, sums);
            return;
        }
        // Several adjacent rows as one of up to 128 columns, folded at the end.
        let mut folded = [0.0; 2 * NARROW];
        let folded = &mut folded[..together * columns];
        add_rows(x, rows / together, folded.len(), folded);
        for row in folded.chunks_exact(columns) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
        let done = rows / together * together;
        add_rows(&x[done * columns..], rows - done, stride, sums);
    }
}

/// `sums[c] += Σ_r x[r · stride + c]`, several rows at a time.
#[inline(always)]
fn add_rows<T: Element>(x: &[T], rows: usize, stride: usize, sums: &mut [f64]) {
    let columns = sums.len();
    let row = |index: usize| &x[index * stride..index * stride + columns];
    let mut index = 0;
    while index + ROWS <= rows {
        for start in (0..columns).step_by(STRIP) {
            let end = (start + STRIP).min(columns);
            // What comes next: these rows further on, or the beginning of those below.
            let next = if end < columns {
                x[index * stride + end..].as_ptr()
            } else {
                x.as_ptr().wrapping_add((index + ROWS) * stride)
            };
            for row in 0..ROWS {
                for line in (0..STRIP.min(columns)).step_by(LANES / 2) {
                    prefetch(next.wrapping_add(row * stride + line));
                }
            }
            let strip = &mut sums[start..end];
            let sixteen: [&[T]; ROWS] =
                std::array::from_fn(|next| &row(index + next)[..end][start..][..strip.len()]);
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = sixteen;
            for (column, sum) in strip.iter_mut().enumerate() {
                let tree =
                    |[a, b, c, d]: [&[T]; 4]| (a[column] + b[column]) + (c[column] + d[column]);
                let low = tree([a, b, c, d]) + tree([e, f, g, h]);
                let high = tree([i, j, k, l]) + tree([m, n, o, p]);
                *sum += (low + high).to_f64();
            }
        }
        index += ROWS;
    }
    for index in index..rows {
        for (sum, &value) in sums.iter_mut().zip(row(index)) {
            *sum += value.to_f64();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sum;

    /// One term after another, in `f64`.
    fn plainly(x: &[f64], dims: &[usize], summed: &[bool]) -> Vec<f64> {
        let outputs = |index: usize| {
            let (mut rest, mut place, mut step) = (index, 0, 1);
            for (&length, &summed) in dims.iter().zip(summed).rev() {
                if !summed {
                    place += rest % length * step;
                    step *= length;
                }
                rest /= length;
            }
            place
        };
        let kept = dims.iter().zip(summed).filter(|(_, summed)| !**summed);
        let mut sums = vec![0.0; kept.map(|(&length, _)| length).product()];
        for (index, value) in x.iter().enumerate() {
            sums[outputs(index)] += value;
        }
        sums
    }

    #[test]
    fn sums_are_the_sums() {
        let cases: [&[usize]; 12] = [
            &[1],
            &[70_001],
            &[300, 1],
            &[3, 5, 7],
            &[130, 1100],
            &[40_000, 3],
            &[3, 40_000],
            &[9, 40, 5, 31],
            &[64, 16, 8, 8],
            &[2, 1, 600, 2, 70],
            &[3, 33_000, 2],
            &[4, 0, 3],
        ];
        for dims in cases {
            let length = dims.iter().product();
            // Multiples of 1/8 below 64: exact in f32 too while sums stay below 2^20.
            let x: Vec<f64> = (0..length)
                .map(|i: usize| (i * 7919 % 509) as f64 / 8.0 - 31.0)
                .collect();
            let single: Vec<f32> = x.iter().map(|&value| value as f32).collect();
            for mask in 0..1usize << dims.len() {
                let summed: Vec<bool> = (0..dims.len()).map(|axis| mask >> axis & 1 == 1).collect();
                let expected = plainly(&x, dims, &summed);
                assert_eq!(sum(&x, dims, &summed), expected, "{dims:?} {summed:?}");
                let found = sum(&single, dims, &summed);
                assert!(
                    found.iter().map(|&value| f64::from(value)).eq(expected),
                    "{dims:?} {summed:?}"
                );
            }
        }
    }
}
