//! Weights in the order in which register tiles read them.

use super::super::pass::{Channels, Output};
use crate::scratch::Scratch;
use crate::simd::{BLOCK, IN_ORDER, Kernel, Level, Simd};
use crate::threads::{Shared, for_each};

/// The weights of one output of a pass: `[group][panel][tap][source channel][target of the panel]`.
pub(super) struct Weights {
    values: Scratch,
    /// Target channels of a panel; the last panel may have fewer.
    panel: usize,
    target: usize,
    source: usize,
    taps: usize,
}

impl Weights {
    /// Packs the weights of `output` in panels of `panel` target channels.
    pub(super) fn new(
        level: Level,
        output: &Output,
        channels: &Channels,
        weight: &[f32],
        panel: usize,
    ) -> Self {
        let (target, source, taps) = (channels.target, channels.source, output.taps.len());
        let mut values = Scratch::take(channels.groups * target * source * taps);
        let to = Shared(values.as_mut_ptr());
        let panels = target.div_ceil(panel);
        let filter = channels.source_stride.min(channels.target_stride);
        let mut slots = vec![None; filter];
        for (slot, tap) in output.taps.iter().enumerate() {
            slots[tap.index] = Some(slot);
        }
        for_each(channels.groups * panels, |task| {
            let (group, first) = (task / panels, task % panels * panel);
            let width = panel.min(target - first);
            let start = (group * target + first) * source * taps;
            let base = group * target * source * filter + first * channels.target_stride;
            // SAFETY: each task writes the weights of its own panel; the level is available.
            unsafe {
                level.call(Pack {
                    channels,
                    slots: &slots,
                    weight: &weight[base..],
                    width,
                    packed: std::slice::from_raw_parts_mut(to.at(start), width * source * taps),
                });
            }
        });
        Self {
            values,
            panel,
            target,
            source,
            taps,
        }
    }

    /// The panels of a group: first target channel, their number, and the weights.
    pub(super) fn panels(&self, group: usize) -> impl Iterator<Item = (usize, usize, &[f32])> {
        (0..self.target).step_by(self.panel).map(move |first| {
            let width = self.panel.min(self.target - first);
            let start = (group * self.target + first) * self.source * self.taps;
            (
                first,
                width,
                &self.values[start..start + width * self.source * self.taps],
            )
        })
    }

    /// Floats of one tap and block of source channels, in a panel `width` wide.
    pub(super) fn step(width: usize) -> usize {
        BLOCK * width
    }
}

/// Packs one panel: turns weights that lie next to each other for one target channel into target
/// channels that lie next to each other.
struct Pack<'a> {
    channels: &'a Channels,
    /// Where the panel has each weight of a filter, if it does.
    slots: &'a [Option<usize>],
    /// From the panel's first target channel on.
    weight: &'a [f32],
    width: usize,
    packed: &'a mut [f32],
}

impl Kernel for Pack<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let (source, filter) = (self.channels.source, self.slots.len());
        let (lane_stride, source_stride) =
            (self.channels.target_stride, self.channels.source_stride);
        // Filters of one target channel follow each other in the forward pass.
        let (runs, run) = match source_stride == filter {
            true => (1, source * filter),
            false => (source, filter),
        };
        let mut turned = [0.0; BLOCK * BLOCK];
        for lane in (0..self.width).step_by(BLOCK) {
            let rows: [usize; BLOCK] = std::array::from_fn(|i| (lane + i) * lane_stride);
            for index in 0..runs {
                for first in (0..run).step_by(BLOCK) {
                    let start = index * source_stride + first;
                    let columns = (run - first).min(BLOCK);
                    let last = start + rows[BLOCK - 1] + columns;
                    assert!(last <= self.weight.len());
                    if lane_stride == 1 {
                        turned[..BLOCK].copy_from_slice(&self.weight[start + lane..][..BLOCK]);
                    } else {
                        // SAFETY: sixteen rows of `columns` weights lie inside, as asserted.
                        unsafe {
                            let from = self.weight.as_ptr().add(start);
                            let to = turned.as_mut_ptr();
                            S::gather_pixels(from, &rows, columns, to, IN_ORDER.as_ptr());
                        }
                    }
                    for (column, values) in turned.chunks_exact(BLOCK).take(columns).enumerate() {
                        let at = index * filter + first + column;
                        self.place(at / filter, at % filter, lane, values);
                    }
                }
            }
        }
    }
}

impl Pack<'_> {
    /// Sixteen target channels of one weight of a filter.
    #[inline(always)]
    fn place(&mut self, channel: usize, index: usize, lane: usize, values: &[f32]) {
        if let Some(slot) = self.slots[index] {
            let at = (slot * self.channels.source + channel) * self.width + lane;
            self.packed[at..at + BLOCK].copy_from_slice(values);
        }
    }
}
