//! One output's weights, in the order of the register tiles, and the offsets of its taps.

use super::super::pass::{Channels, Output};
use super::planes::Planes;
use super::product::tile_rows;
use crate::scratch::Scratch;
use crate::simd::Level;
use crate::threads::{Shared, for_each};

/// One output's weights and offsets, by channel and tap.
pub(super) struct Plan {
    /// `[group][block][channel, tap][row of the block]`
    pub(super) weights: Scratch,
    /// Offsets into the copies for strips of `most_rows` rows, `[channel, tap]`.
    pub(super) offsets: Vec<u32>,
    /// The first target channel of each block of a group, and the end.
    pub(super) blocks: Vec<usize>,
}

impl Plan {
    pub(super) fn new(
        level: Level,
        output: &Output,
        planes: &Planes,
        channels: &Channels,
        weight: &[f32],
        rows: usize,
    ) -> Self {
        let most = tile_rows(level.registers());
        let count = channels.target.div_ceil(most);
        let blocks: Vec<usize> = (0..=count)
            .map(|block| channels.target * block / count.max(1))
            .collect();
        let channel_len = if planes.is_source() {
            planes.source_pixels()
        } else {
            planes.channel_len(rows)
        };
        let mut offsets = Vec::with_capacity(channels.source * output.taps.len());
        for channel in 0..channels.source {
            for tap in &output.taps {
                let within = if planes.is_source() {
                    0
                } else {
                    planes.offset(tap, rows)
                };
                offsets.push((channel * channel_len + within) as u32);
            }
        }
        let depth = offsets.len();
        let mut weights = Scratch::take(channels.groups * channels.target * depth);
        let to = Shared(weights.as_mut_ptr());
        for_each(channels.groups * count, |task| {
            let (group, block) = (task / count, task % count);
            let (first, end) = (blocks[block], blocks[block + 1]);
            let start = (group * channels.target + first) * depth;
            // SAFETY: each task writes the weights of its own block.
            let packed =
                unsafe { std::slice::from_raw_parts_mut(to.at(start), (end - first) * depth) };
            let group_start = group * channels.target * channels.source * channel_taps(channels);
            for (row, target) in (first..end).enumerate() {
                let base = group_start + target * channels.target_stride;
                let mut at = row;
                for source in 0..channels.source {
                    for tap in &output.taps {
                        packed[at] = weight[base + source * channels.source_stride + tap.index];
                        at += end - first;
                    }
                }
            }
        });
        Self {
            weights,
            offsets,
            blocks,
        }
    }
}

/// Taps of a filter: the smaller of the two strides is one filter long.
fn channel_taps(channels: &Channels) -> usize {
    channels.source_stride.min(channels.target_stride)
}
