//! How the passes of batch normalisation cut their tensors: by shape alone, never by thread count.

use crate::output::CHUNK;
use std::ops::Range;

/// Longest contiguous run a loop works on; two or three of them fit the first-level cache.
const SEGMENT: usize = 4096;
/// Below this many values a channel of one image is too short to sum on its own:
/// loops then run over whole rows (all channels of an image), sums over a block of images.
const SHORT_PLANE: usize = 128;
/// Row elements and images of one block of sums: 32 KiB of `f32`.
const BLOCK_ROW: usize = 1024;
const BLOCK_IMAGES: usize = 8;

/// A `[batch, channels, plane]` tensor.
#[derive(Clone, Debug)]
pub(crate) struct Grid {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) plane: usize,
    /// Whether loops run over rows of an image rather than planes.
    pub(crate) by_row: bool,
    segment: usize,
}

/// A contiguous run of elements and the run of per-channel (by row: per-row-element) parameters it takes.
pub(crate) struct Segment {
    pub(crate) elements: Range<usize>,
    pub(crate) parameters: Range<usize>,
}

/// Channels `channels` of images `images`: what one task sums when loops run over rows.
pub(crate) struct Block {
    pub(crate) images: Range<usize>,
    pub(crate) channels: Range<usize>,
}

impl Grid {
    pub(crate) fn new(batch: usize, channels: usize, plane: usize) -> Self {
        let by_row = plane < SHORT_PLANE;
        let run = if by_row { channels * plane } else { plane };
        Self {
            batch,
            channels,
            plane,
            by_row,
            segment: run.clamp(1, SEGMENT),
        }
    }

    /// Values of a channel.
    pub(crate) fn count(&self) -> usize {
        self.batch * self.plane
    }

    pub(crate) fn elements(&self) -> usize {
        self.batch * self.channels * self.plane
    }

    fn row(&self) -> usize {
        self.channels * self.plane
    }

    /// Contiguous runs that share parameters, and their length.
    fn runs(&self) -> (usize, usize) {
        if self.by_row {
            (self.batch, self.row())
        } else {
            (self.batch * self.channels, self.plane)
        }
    }

    /// Segments a run is cut into.
    pub(crate) fn segments_a_run(&self) -> usize {
        self.runs().1.div_ceil(self.segment)
    }

    /// All segments of the tensor.
    pub(crate) fn segments(&self) -> usize {
        self.runs().0 * self.segments_a_run()
    }

    pub(crate) fn segment(&self, index: usize) -> Segment {
        let (run, part) = (index / self.segments_a_run(), index % self.segments_a_run());
        let length = self.runs().1;
        let inside = part * self.segment..((part + 1) * self.segment).min(length);
        let elements = run * length + inside.start..run * length + inside.end;
        let channel = run % self.channels.max(1);
        Segment {
            elements,
            parameters: if self.by_row {
                inside
            } else {
                channel..channel + 1
            },
        }
    }

    /// Segments a task works on, so that a task has about [`CHUNK`] elements.
    pub(crate) fn segments_a_task(&self) -> usize {
        (CHUNK / self.segment).max(1)
    }

    /// One value a channel, as the segments' parameters want them.
    pub(crate) fn spread<T: Copy>(&self, per_channel: impl Iterator<Item = T>) -> Vec<T> {
        let copies = if self.by_row { self.plane } else { 1 };
        per_channel
            .flat_map(|value| std::iter::repeat_n(value, copies))
            .collect()
    }

    fn block_channels(&self) -> usize {
        (BLOCK_ROW / self.plane.max(1)).clamp(1, self.channels.max(1))
    }

    fn block_images(&self) -> usize {
        let width = (self.block_channels() * self.plane).max(1);
        (BLOCK_ROW * BLOCK_IMAGES / width).clamp(1, self.batch.max(1))
    }

    fn channel_blocks(&self) -> usize {
        self.channels.div_ceil(self.block_channels())
    }

    /// Blocks the tensor is cut into when loops run over rows.
    pub(crate) fn blocks(&self) -> usize {
        self.channel_blocks() * self.batch.div_ceil(self.block_images())
    }

    pub(crate) fn block(&self, index: usize) -> Block {
        let (images, channels) = (index / self.channel_blocks(), index % self.channel_blocks());
        let cut = |index: usize, size: usize, length: usize| {
            index * size..((index + 1) * size).min(length)
        };
        Block {
            images: cut(images, self.block_images(), self.batch),
            channels: cut(channels, self.block_channels(), self.channels),
        }
    }

    /// How many partial sums each channel has.
    pub(crate) fn groups(&self) -> usize {
        if self.by_row {
            self.batch.div_ceil(self.block_images())
        } else {
            self.batch * self.segments_a_run()
        }
    }

    /// Elements from `channels` of `image`.
    pub(crate) fn row_part(&self, image: usize, channels: &Range<usize>) -> Range<usize> {
        let start = image * self.row();
        start + channels.start * self.plane..start + channels.end * self.plane
    }
}
