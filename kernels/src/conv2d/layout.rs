//! Source planes in blocks of 16 channels, pixel-major and padded: `[row][column][16]`.
//!
//! A tap of any stride or dilation is then an offset, and lanes are channels on maps of any width.

use super::pass::{Pass, Tap};
use super::transfer::Source;
use crate::simd::{BLOCK, Simd};
use std::ops::Range;

/// Floats of a strip of padded planes, at most: 256 KiB, part of the second-level cache.
const STRIP_AT_MOST: usize = 64 << 10;

pub(super) struct Layout {
    source: (usize, usize),
    step: (usize, usize),
    /// Zeros before the first row and column, which the taps' shifts are counted from.
    before: (usize, usize),
    /// Pixels of a padded row.
    pub width: usize,
    /// Rows that the taps of one position span.
    span: usize,
    /// Rows of positions.
    rows: usize,
    /// Where source pixel p lies in a strip that begins with the first padded row.
    offsets: Vec<u32>,
}

impl Layout {
    pub(super) fn new(pass: &Pass) -> Self {
        let least = |pick: fn(&Tap) -> isize| {
            pass.taps()
                .map(pick)
                .min()
                .unwrap_or(0)
                .min(0)
                .unsigned_abs()
        };
        let most =
            |pick: fn(&Tap) -> isize| pass.taps().map(pick).max().unwrap_or(0).max(0) as usize;
        let before = (least(|tap| tap.shift.0), least(|tap| tap.shift.1));
        let (rows, columns) = pass.lattice();
        let reached = columns.saturating_sub(1) * pass.step.1 + most(|tap| tap.shift.1) + 1;
        let width = before.1 + reached.max(pass.source.1);
        let mut offsets = Vec::with_capacity(pass.source.0 * pass.source.1);
        for y in 0..pass.source.0 {
            for x in 0..pass.source.1 {
                offsets.push((((y + before.0) * width + x + before.1) * BLOCK) as u32);
            }
        }
        let span = before.0 + most(|tap| tap.shift.0) + 1;
        Self {
            source: pass.source,
            step: pass.step,
            before,
            width,
            span,
            rows,
            offsets,
        }
    }

    /// Strips of rows of positions that fit the cache with `blocks` blocks of channels.
    pub(super) fn strips(&self, blocks: usize) -> usize {
        let fits =
            |strips: usize| blocks * self.strip_len(self.rows.div_ceil(strips)) <= STRIP_AT_MOST;
        (1..=self.rows)
            .find(|&strips| fits(strips))
            .unwrap_or(self.rows)
            .max(1)
    }

    /// The most strips whose rows of positions advance by no less than their taps span.
    pub(super) fn strips_of_span(&self) -> usize {
        (self.rows * self.step.0 / self.span.max(1)).max(1)
    }

    /// Floats of a strip for `rows` rows of positions.
    pub(super) fn strip_len(&self, rows: usize) -> usize {
        (rows.saturating_sub(1) * self.step.0 + self.span) * self.width * BLOCK
    }

    /// Floats from one row of positions to the next, and from one position to the next.
    pub(super) fn steps(&self) -> (usize, usize) {
        (self.step.0 * self.width * BLOCK, self.step.1 * BLOCK)
    }

    /// Where a tap's value for the strip's first position lies.
    pub(super) fn offset(&self, tap: &Tap) -> usize {
        let along = |shift: isize, before: usize| (shift + before as isize) as usize;
        (along(tap.shift.0, self.before.0) * self.width + along(tap.shift.1, self.before.1)) * BLOCK
    }

    /// Is each row one pixel?
    pub(super) fn is_column(&self) -> bool {
        self.width == 1
    }

    /// Does a tap read any row of the source from these position rows?
    pub(super) fn reaches(&self, tap: &Tap, rows: &Range<usize>) -> bool {
        let y = |row: usize| (row * self.step.0) as isize + tap.shift.0;
        !rows.is_empty() && y(rows.end - 1) >= 0 && y(rows.start) < self.source.0 as isize
    }

    /// Copies `channels` of `image` into the strip of position rows `first..end`; its border stays as it is.
    ///
    /// # Safety
    /// The source has the channels, `strip` at least `strip_len` floats; the machine has `S`.
    #[inline(always)]
    pub(super) unsafe fn load<S: Simd>(
        &self,
        source: &impl Source,
        image: usize,
        channels: Range<usize>,
        (first, end): (usize, usize),
        strip: *mut f32,
    ) {
        let padded = (first * self.step.0, (end - 1) * self.step.0 + self.span);
        let row =
            |padded: usize| padded.saturating_sub(self.before.0).min(self.source.0) * self.source.1;
        let pixels = row(padded.0)..row(padded.1);
        let strip = strip.wrapping_sub(padded.0 * self.width * BLOCK);
        let offsets = self.offsets[pixels.start.min(self.offsets.len())..].as_ptr();
        // SAFETY: the pixels' offsets lie inside the strip; the rest is required of the caller.
        unsafe { source.load::<S>(image, channels, pixels, strip, offsets) }
    }
}
