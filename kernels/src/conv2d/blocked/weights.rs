//! Weights in the order in which register tiles read them.

use super::super::pass::{Channels, Output};
use crate::scratch::Scratch;
use crate::simd::BLOCK;
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
    pub(super) fn new(output: &Output, channels: &Channels, weight: &[f32], panel: usize) -> Self {
        let (target, source, taps) = (channels.target, channels.source, output.taps.len());
        let mut values = Scratch::take(channels.groups * target * source * taps);
        let to = Shared(values.as_mut_ptr());
        let panels = target.div_ceil(panel);
        let filter = channels.source_stride.min(channels.target_stride);
        for_each(channels.groups * panels, |task| {
            let (group, first) = (task / panels, task % panels * panel);
            let width = panel.min(target - first);
            let start = (group * target + first) * source * taps;
            // SAFETY: each task writes the weights of its own panel.
            let packed =
                unsafe { std::slice::from_raw_parts_mut(to.at(start), width * source * taps) };
            let group_start = group * target * source * filter;
            let mut rows = packed.chunks_exact_mut(width);
            for tap in &output.taps {
                for (channel, row) in (0..source).zip(&mut rows) {
                    let base = group_start + channel * channels.source_stride + tap.index;
                    for (lane, value) in row.iter_mut().enumerate() {
                        *value = weight[base + (first + lane) * channels.target_stride];
                    }
                }
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
