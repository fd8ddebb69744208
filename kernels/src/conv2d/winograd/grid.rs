//! How a batch of planes is cut into 4×4 tiles, and tiles into tasks.

use super::super::transfer::{Sink, Source};
use crate::simd::{BLOCK, Simd};
use std::ops::Range;

/// Tiles a task should have: enough rows for the products, little enough for the second-level cache.
const TASK_TILES: usize = 48;

/// Tasks that few images are cut into, where they have rows of tiles enough.
const TASKS_AT_LEAST: usize = 4;

/// Points of a transformed tile.
pub(super) const POINTS: usize = 36;

/// Planes of pixels behind a grid of tiles: pixel-major blocks hold them with `before` rows and columns
/// of zeros in front, and enough behind to fill the last tile.
pub(super) struct Planes {
    height: usize,
    width: usize,
    before: (usize, usize),
    /// Rows and columns of a tile beyond its step of 4: 2 for inputs, 0 for outputs.
    overlap: usize,
    tiles: (usize, usize),
    /// Where pixel p lies in a padded block that begins with the first tile row.
    offsets: Vec<u32>,
}

impl Planes {
    pub(super) fn new(
        size: (usize, usize),
        before: (usize, usize),
        overlap: usize,
        tiles: (usize, usize),
    ) -> Self {
        let padded_width = 4 * tiles.1 + overlap;
        let mut offsets = Vec::with_capacity(size.0 * size.1);
        for y in 0..size.0 {
            for x in 0..size.1 {
                offsets.push((((y + before.0) * padded_width + x + before.1) * BLOCK) as u32);
            }
        }
        Self {
            height: size.0,
            width: size.1,
            before,
            overlap,
            tiles,
            offsets,
        }
    }

    /// Floats from one row of a padded block to the next.
    pub(super) fn row_stride(&self) -> usize {
        (4 * self.tiles.1 + self.overlap) * BLOCK
    }

    /// Floats of a padded block of `rows` tile rows.
    pub(super) fn block_len(&self, rows: usize) -> usize {
        (4 * rows + self.overlap) * self.row_stride()
    }

    /// The pixels that tile rows `first..end` read or write.
    fn pixel_range(&self, first: usize, end: usize) -> (usize, usize) {
        let row =
            |padded: usize| padded.saturating_sub(self.before.0).min(self.height) * self.width;
        (row(4 * first), row(4 * end + self.overlap))
    }

    /// Clears the border of a segment's padded block: all that `gather` does not write.
    pub(super) fn clear_border(&self, segment: &Segment, block: &mut [f32]) {
        let (first, end) = (4 * segment.first, 4 * segment.end + self.overlap);
        let columns = self.before.1 * BLOCK..(self.before.1 + self.width) * BLOCK;
        for (row, values) in (first..end).zip(block.chunks_exact_mut(self.row_stride())) {
            if row < self.before.0 || row >= self.before.0 + self.height {
                values.fill(0.0);
            } else {
                values[..columns.start].fill(0.0);
                values[columns.end..].fill(0.0);
            }
        }
    }

    /// The pixels that the tiles of a segment read or write.
    pub(super) fn pixels_of(&self, segment: &Segment) -> Range<usize> {
        let (first, end) = self.pixel_range(segment.first, segment.end);
        first..end
    }

    /// Do the tiles cover the planes and nothing else, so that a padded block is a plane?
    pub(super) fn whole_tiles(&self) -> bool {
        self.overlap == 0
            && self.before == (0, 0)
            && (self.height, self.width) == (4 * self.tiles.0, 4 * self.tiles.1)
    }

    /// Copies 16 channels from `channel` on, pixel by pixel, into the padded `block` of a segment.
    ///
    /// # Safety
    /// The source has the channels, `block` at least `block_len` floats.
    #[inline(always)]
    pub(super) unsafe fn load<S: Simd>(
        &self,
        source: &impl Source,
        channel: usize,
        segment: &Segment,
        block: *mut f32,
    ) {
        let pixels = self.pixels_of(segment);
        let block = block.wrapping_sub(4 * segment.first * self.row_stride());
        let offsets = self.offsets[pixels.start.min(self.offsets.len())..].as_ptr();
        // SAFETY: the pixels' offsets lie inside the block; the rest is required of the caller.
        unsafe {
            source.load::<S>(
                segment.image,
                channel..channel + BLOCK,
                pixels,
                block,
                offsets,
            );
        }
    }

    /// Hands 16 channels from the block of a segment to the sink.
    ///
    /// # Safety
    /// As for `load`.
    #[inline(always)]
    pub(super) unsafe fn store<S: Simd>(
        &self,
        sink: &impl Sink,
        channel: usize,
        segment: &Segment,
        block: *const f32,
    ) {
        let pixels = self.pixels_of(segment);
        let block = block.wrapping_sub(4 * segment.first * self.row_stride());
        let offsets = self.offsets[pixels.start.min(self.offsets.len())..].as_ptr();
        // SAFETY: the pixels' offsets lie inside the block; the rest is required of the caller.
        unsafe {
            sink.store::<S>(
                segment.image,
                channel..channel + BLOCK,
                pixels,
                block,
                offsets,
            );
        }
    }
}

/// Tile rows `first..end` of one image, and how many tiles of the task lie before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub image: usize,
    /// Which part of the image this is.
    pub strip: usize,
    pub first: usize,
    pub end: usize,
    pub tile: usize,
}

/// All tiles of a batch: `height × width` a plane, in tasks that do not depend on the thread count.
pub(super) struct Grid {
    pub height: usize,
    pub width: usize,
    batch: usize,
    /// Tasks an image is cut into, if more than one image would be too many tiles.
    strips: usize,
    tasks: usize,
}

impl Grid {
    pub(super) fn new(batch: usize, output: (usize, usize)) -> Self {
        let (height, width) = (output.0.div_ceil(4), output.1.div_ceil(4));
        let tiles = height * width;
        let by_size = (tiles + TASK_TILES / 2) / (TASK_TILES + TASK_TILES / 2);
        let strips = by_size
            .max(TASKS_AT_LEAST.div_ceil(batch.max(1)))
            .clamp(1, height.max(1));
        let tasks = if strips > 1 {
            batch * strips
        } else {
            let images = (TASK_TILES / tiles.max(1)).max(1);
            // An even number of tasks: two threads, the usual case, get the same.
            batch.div_ceil(images).next_multiple_of(2).min(batch)
        };
        Self {
            height,
            width,
            batch,
            strips,
            tasks,
        }
    }

    pub(super) fn tasks(&self) -> usize {
        self.tasks
    }

    /// Parts that an image is cut into.
    pub(super) fn strips(&self) -> usize {
        self.strips
    }

    /// Tiles of the whole batch.
    pub(super) fn tiles(&self) -> usize {
        self.batch * self.height * self.width
    }

    /// The segments of a task, in order.
    pub(super) fn segments(&self, task: usize) -> impl Iterator<Item = Segment> + '_ {
        let (images, rows, strip) = if self.strips > 1 {
            let (image, strip) = (task / self.strips, task % self.strips);
            let rows = (
                self.height * strip / self.strips,
                self.height * (strip + 1) / self.strips,
            );
            ((image, image + 1), rows, strip)
        } else {
            let images = (
                self.batch * task / self.tasks,
                self.batch * (task + 1) / self.tasks,
            );
            (images, (0, self.height), 0)
        };
        (images.0..images.1).map(move |image| Segment {
            image,
            strip,
            first: rows.0,
            end: rows.1,
            tile: (image - images.0) * (rows.1 - rows.0) * self.width,
        })
    }

    /// Tiles of a task.
    pub(super) fn task_tiles(&self, task: usize) -> usize {
        self.segments(task)
            .map(|segment| (segment.end - segment.first) * self.width)
            .sum()
    }

    /// Most tiles of any task.
    pub(super) fn most_tiles(&self) -> usize {
        self.most_rows()
            * self.width
            * if self.strips > 1 {
                1
            } else {
                self.batch.div_ceil(self.tasks.max(1))
            }
    }

    /// Most tile rows of a segment.
    pub(super) fn most_rows(&self) -> usize {
        self.height.div_ceil(self.strips)
    }
}

#[cfg(test)]
mod tests {
    use super::Grid;

    #[test]
    fn tasks_cover_every_tile_once() {
        for (batch, output) in [
            (64, (8, 8)),
            (3, (1, 1)),
            (5, (9, 13)),
            (2, (112, 100)),
            (1, (400, 6)),
            (7, (32, 32)),
            (0, (8, 8)),
        ] {
            let grid = Grid::new(batch, output);
            let mut seen = vec![0; batch * grid.height];
            for task in 0..grid.tasks() {
                let mut tile = 0;
                for segment in grid.segments(task) {
                    assert_eq!(segment.tile, tile);
                    for row in segment.first..segment.end {
                        seen[segment.image * grid.height + row] += 1;
                    }
                    assert!(segment.end - segment.first <= grid.most_rows());
                    tile += (segment.end - segment.first) * grid.width;
                }
                assert_eq!(grid.task_tiles(task), tile);
                assert!(tile <= grid.most_tiles());
            }
            assert!(seen.iter().all(|&count| count == 1), "{batch} {output:?}");
        }
    }
}
