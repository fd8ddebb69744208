//! Padded planes of one channel: `[row phase][column phase][row][width]`.

use super::super::direct::copy_row;
use super::super::pass::{Pass, Phases, Tap, reach};
use crate::simd::Simd;

pub(super) struct Planes {
    source: (usize, usize),
    step: (usize, usize),
    rows: Phases,
    columns: Phases,
    pub lattice: (usize, usize),
    /// Floats of a row.
    pub width: usize,
    /// Rows of a phase.
    height: usize,
}

impl Planes {
    pub(super) fn new(pass: &Pass) -> Self {
        let rows = Phases::new(pass.taps().map(|tap| tap.shift.0), pass.step.0);
        let columns = Phases::new(pass.taps().map(|tap| tap.shift.1), pass.step.1);
        let lattice = pass.lattice();
        Self {
            source: pass.source,
            step: pass.step,
            width: lattice.1 + columns.extra,
            height: lattice.0 + rows.extra,
            rows,
            columns,
            lattice,
        }
    }

    /// Floats of all phases; the border stays as it is when planes are copied in.
    pub(super) fn len(&self) -> usize {
        self.rows.remainders.len() * self.columns.remainders.len() * self.height * self.width
    }

    /// Where a tap's value for position 0 lies.
    pub(super) fn offset(&self, tap: &Tap) -> usize {
        let ((row_phase, row), (column_phase, column)) = (
            self.rows.place(tap.shift.0),
            self.columns.place(tap.shift.1),
        );
        let phase = row_phase * self.columns.remainders.len() + column_phase;
        (phase * self.height + row) * self.width + column
    }

    /// Copies a source plane between the borders.
    ///
    /// # Safety
    /// The machine has `S`.
    #[inline(always)]
    pub(super) unsafe fn copy<S: Simd>(&self, source: &[f32], copies: &mut [f32]) {
        let mut parts = copies.chunks_exact_mut(self.height * self.width);
        for row_phase in 0..self.rows.remainders.len() {
            let start = self.rows.start(row_phase);
            let (top, bottom) = reach(start, self.step.0, self.source.0, self.height);
            for column_phase in 0..self.columns.remainders.len() {
                let Some(part) = parts.next() else { return };
                let column = self.columns.start(column_phase);
                let (left, right) = reach(column, self.step.1, self.source.1, self.width);
                if left == right {
                    continue;
                }
                for y in top..bottom {
                    let row = (start + (y * self.step.0) as isize) as usize * self.source.1;
                    let from = row + (column + (left * self.step.1) as isize) as usize;
                    let (from, to) = (
                        &source[from..row + self.source.1],
                        &mut part[y * self.width + left..y * self.width + right],
                    );
                    if self.step.1 == 1 {
                        // SAFETY: both slices hold as many floats.
                        unsafe { copy_vectors::<S>(from.as_ptr(), to.as_mut_ptr(), to.len()) };
                    } else {
                        copy_row(from, self.step.1, to);
                    }
                }
            }
        }
    }
}

/// Copies `count` floats, whole vectors and one part of a vector.
#[inline(always)]
pub(super) unsafe fn copy_vectors<S: Simd>(from: *const f32, to: *mut f32, count: usize) {
    // SAFETY: required of the caller.
    unsafe {
        let mut done = 0;
        while done + S::LANES <= count {
            S::store(to.add(done), S::load(from.add(done)));
            done += S::LANES;
        }
        if done < count {
            S::store_first(
                to.add(done),
                count - done,
                S::load_first(from.add(done), count - done),
            );
        }
    }
}
