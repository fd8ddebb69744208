//! From sums in the order of the register tiles to a weight `[out, in/groups, kh, kw]`.

use super::super::super::geometry::Problem;
use super::plan::{Input, Plan};
use crate::scratch::Scratch;
use crate::simd::{BLOCK, IN_ORDER, Kernel, Simd};

/// The filter of one output channel: adds the chunks in order and puts each sum in its place.
pub(super) struct Collect<'a> {
    pub(super) problem: &'a Problem,
    pub(super) plan: &'a Plan,
    /// The sums of all chunks, `len` floats each.
    pub(super) sums: &'a [f32],
    pub(super) len: usize,
    pub(super) channel: usize,
    /// Room for the filter.
    pub(super) to: *mut f32,
}

impl Kernel for Collect<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let filter = self.plan.vectors.len() * BLOCK;
        let of_chunk = |chunk: &'_ [f32]| chunk[self.channel * filter..].as_ptr();
        let mut chunks = self.sums.chunks_exact(self.len);
        let Some(first) = chunks.next() else { return };
        // SAFETY: each chunk holds the channel's filter; the target is required of the caller.
        unsafe {
            let mut total = None;
            if self.sums.len() > self.len {
                let mut sum = Scratch::take(filter);
                sum.copy_from_slice(std::slice::from_raw_parts(of_chunk(first), filter));
                for chunk in chunks {
                    let from = of_chunk(chunk);
                    for lane in (0..filter).step_by(S::LANES) {
                        let to = sum.as_mut_ptr().add(lane);
                        S::store(to, S::add(S::load(to), S::load(from.add(lane))));
                    }
                }
                total = Some(sum);
            }
            let from = total
                .as_ref()
                .map_or(of_chunk(first), |total| total.as_ptr());
            match self.plan.input {
                Input::Padded { .. } => self.turn::<S>(from),
                Input::Columns { .. } => self.scatter(from),
            }
        }
    }
}

impl Collect<'_> {
    /// `[channel block][tap][16 channels]` to `[channel][tap]`.
    #[inline(always)]
    unsafe fn turn<S: Simd>(&self, from: *const f32) {
        let (channels, taps) = (self.problem.group_in(), self.problem.taps());
        for first in (0..channels).step_by(BLOCK) {
            let rows = (channels - first).min(BLOCK);
            for tap in (0..taps).step_by(BLOCK) {
                // SAFETY: the vectors lie inside the filter's sums, the rows inside the filter.
                unsafe {
                    let from = from.add(first * taps + tap * BLOCK);
                    let to = self.to.add(first * taps + tap);
                    if taps == 1 {
                        std::ptr::copy_nonoverlapping(from, to, rows);
                    } else {
                        let columns = (taps - tap).min(BLOCK);
                        S::scatter_pixels(from, IN_ORDER.as_ptr(), to, taps, rows, columns);
                    }
                }
            }
        }
    }

    /// Lane by lane.
    unsafe fn scatter(&self, from: *const f32) {
        for (vector, places) in self.plan.places.iter().enumerate() {
            for (lane, place) in places.iter().enumerate() {
                if let Some(place) = place {
                    // SAFETY: places lie inside a filter, vectors inside its sums.
                    unsafe { *self.to.add(*place as usize) = *from.add(vector * BLOCK + lane) };
                }
            }
        }
    }
}
