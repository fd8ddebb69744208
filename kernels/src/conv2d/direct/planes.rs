//! The shifted copies of source planes: `[channel][column shift][row phase][row][width]`.

use super::super::pass::{Pass, Phases, Tap, reach};
use crate::simd::Simd;

/// How source planes are copied for a pass.
pub(super) struct Planes {
    source: (usize, usize),
    step: (usize, usize),
    /// Rows and columns of the lattice of positions.
    pub lattice: (usize, usize),
    columns: Vec<isize>,
    rows: Phases,
}

impl Planes {
    pub(super) fn new(pass: &Pass) -> Self {
        let mut columns: Vec<isize> = pass.taps().map(|tap| tap.shift.1).collect();
        columns.sort_unstable();
        columns.dedup();
        Self {
            source: pass.source,
            step: pass.step,
            lattice: pass.lattice(),
            columns,
            rows: Phases::new(pass.taps().map(|tap| tap.shift.0), pass.step.0),
        }
    }

    /// Pixels of a source plane.
    pub(super) fn source_pixels(&self) -> usize {
        self.source.0 * self.source.1
    }

    /// Are the copies the source itself? So for 1×1 kernels of stride 1.
    pub(super) fn is_source(&self) -> bool {
        self.columns == [0]
            && self.step == (1, 1)
            && (self.rows.least, self.rows.extra) == (0, 0)
            && self.lattice == self.source
    }

    /// Floats of the copies of one channel for `rows` rows of positions.
    pub(super) fn channel_len(&self, rows: usize) -> usize {
        self.columns.len() * self.phase_len(rows) * self.rows.remainders.len()
    }

    fn phase_len(&self, rows: usize) -> usize {
        (rows + self.rows.extra) * self.lattice.1
    }

    /// Where a tap's values for the first position lie within a channel's copies.
    pub(super) fn offset(&self, tap: &Tap, rows: usize) -> usize {
        let column = self.columns.partition_point(|&other| other < tap.shift.1);
        let (phase, row) = self.rows.place(tap.shift.0);
        (column * self.rows.remainders.len() + phase) * self.phase_len(rows) + row * self.lattice.1
    }

    /// Copies one source plane for positions of rows `first..first + rows`.
    ///
    /// # Safety
    /// The machine has `S`.
    #[inline(always)]
    pub(super) unsafe fn copy<S: Simd>(
        &self,
        source: &[f32],
        first: usize,
        rows: usize,
        copies: &mut [f32],
    ) {
        let width = self.lattice.1;
        let mut parts = copies.chunks_exact_mut(self.phase_len(rows));
        for &column in &self.columns {
            let (left, right) = reach(column, self.step.1, self.source.1, width);
            for phase in 0..self.rows.remainders.len() {
                let Some(part) = parts.next() else { return };
                let start = self.rows.start(phase) + (first * self.step.0) as isize;
                let (top, bottom) =
                    reach(start, self.step.0, self.source.0, rows + self.rows.extra);
                part[..top * width].fill(0.0);
                part[bottom * width..].fill(0.0);
                if left == right || top == bottom {
                    part[top * width..bottom * width].fill(0.0);
                    continue;
                }
                let row = |y: usize| (start + (y * self.step.0) as isize) as usize * self.source.1;
                let inside = &mut part[top * width..bottom * width];
                if self.step == (1, 1) && width == self.source.1 {
                    copy_block(
                        &source[row(top)..row(bottom - 1) + width],
                        column,
                        inside,
                        width,
                    );
                    continue;
                }
                for (y, target) in inside.chunks_exact_mut(width).enumerate() {
                    let from = row(top + y) + (column + (left * self.step.1) as isize) as usize;
                    target[..left].fill(0.0);
                    target[right..].fill(0.0);
                    // SAFETY: required of the caller.
                    unsafe {
                        copy_row::<S>(&source[from..], self.step.1, &mut target[left..right])
                    };
                }
            }
        }
    }
}

/// Copies rows of equal width, shifted by `column`, in one go; then clears the columns that came from a neighbouring row.
#[inline(always)]
fn copy_block(source: &[f32], column: isize, target: &mut [f32], width: usize) {
    let by = column.unsigned_abs();
    let len = target.len() - by;
    if column < 0 {
        target[by..].copy_from_slice(&source[..len]);
        target
            .chunks_exact_mut(width)
            .for_each(|row| row[..by].fill(0.0));
    } else {
        target[..len].copy_from_slice(&source[by..]);
        target
            .chunks_exact_mut(width)
            .for_each(|row| row[width - by..].fill(0.0));
    }
}

/// Copies every `step`-th value.
///
/// # Safety
/// The machine has `S`.
#[inline(always)]
unsafe fn copy_row<S: Simd>(source: &[f32], step: usize, target: &mut [f32]) {
    let count = target.len();
    assert!(count == 0 || (count - 1) * step < source.len());
    if step > 2 {
        for (value, &from) in target.iter_mut().zip(source.iter().step_by(step)) {
            *value = from;
        }
        return;
    }
    for first in (0..count).step_by(S::LANES) {
        let left = (count - first).min(S::LANES);
        // SAFETY: the values read and written lie inside the slices, as asserted.
        unsafe {
            let from = source.as_ptr().add(first * step);
            let value = if step == 1 {
                S::load_first(from, left)
            } else {
                S::load_even(from, left)
            };
            S::store_first(target.as_mut_ptr().add(first), left, value);
        }
    }
}

/// Writes every `step`-th value.
#[inline(always)]
pub(super) fn spread_row(source: &[f32], step: usize, target: &mut [f32]) {
    for (value, &from) in target.iter_mut().step_by(step).zip(source) {
        *value = from;
    }
}
