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

    /// Tiles of a row.
    pub(super) fn tile_columns(&self) -> usize {
        self.tiles.1
    }

    /// Floats of a padded block of `rows` tile rows.
    pub(super) fn block_len(&self, rows: usize) -> usize {
        (4 * rows + self.overlap) * self.row_stride()
    }

    /// Pixels from padded row `first` to padded row `end`.
    fn pixel_range(&self, first: usize, end: usize) -> Range<usize> {
        let row =
            |padded: usize| padded.saturating_sub(self.before.0).min(self.height) * self.width;
        row(first)..row(end)
    }

    /// The pixels that the tiles of a segment read or write, without those that it kept.
    pub(super) fn pixels_of(&self, segment: &Segment) -> Range<usize> {
        let kept = if segment.kept > 0 { self.overlap } else { 0 };
        self.pixel_range(4 * segment.first + kept, 4 * segment.end + self.overlap)
    }

    /// The pixels of the whole strip that a segment is part of.
    pub(super) fn pixels_of_strip(&self, segment: &Segment) -> Range<usize> {
        self.pixel_range(4 * segment.rows.0, 4 * segment.rows.1 + self.overlap)
    }

    /// Makes `block` ready to load a segment: moves the rows that are kept from the segment before
    /// to its top and clears the border, all else that `load` does not write.
    pub(super) fn prepare(&self, segment: &Segment, block: &mut [f32]) {
        let stride = self.row_stride();
        let kept = if segment.kept > 0 { self.overlap } else { 0 };
        block.copy_within(
            4 * segment.kept * stride..(4 * segment.kept + kept) * stride,
            0,
        );
        let (first, end) = (4 * segment.first + kept, 4 * segment.end + self.overlap);
        let columns = self.before.1 * BLOCK..(self.before.1 + self.width) * BLOCK;
        let rows = block[kept * stride..].chunks_exact_mut(stride);
        for (row, values) in (first..end).zip(rows) {
            if row < self.before.0 || row >= self.before.0 + self.height {
                values.fill(0.0);
            } else {
                values[..columns.start].fill(0.0);
                values[columns.end..].fill(0.0);
            }
        }
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

/// Tile rows `first..end` of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub image: usize,
    /// Which part of the image this belongs to, and the tile rows of that part.
    pub strip: usize,
    pub rows: (usize, usize),
    pub first: usize,
    pub end: usize,
    /// Tile rows of the segment right above, if that was the last one of the same task: pixel rows
    /// that both need are there already.
    pub kept: usize,
    /// Tiles of the group that lie before it.
    pub tile: usize,
}

/// Segments whose tiles are transformed and multiplied together: some images, or some rows of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    images: (usize, usize),
    /// One of the images, at tile 0.
    segment: Segment,
    width: usize,
}

impl Group {
    pub(super) fn segments(self) -> impl Iterator<Item = Segment> {
        (self.images.0..self.images.1).map(move |image| Segment {
            image,
            tile: (image - self.images.0) * self.tiles_of_image(),
            ..self.segment
        })
    }

    fn tiles_of_image(&self) -> usize {
        (self.segment.end - self.segment.first) * self.width
    }

    pub(super) fn tiles(&self) -> usize {
        (self.images.1 - self.images.0) * self.tiles_of_image()
    }
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

    /// The images of a task, its rows of each, and which strip these are.
    fn extent(&self, task: usize) -> ((usize, usize), (usize, usize), usize) {
        if self.strips > 1 {
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
        }
    }

    /// The groups of a task, in order, each of at most `at_most` tiles or one row of tiles.
    pub(super) fn groups(&self, task: usize, at_most: usize) -> impl Iterator<Item = Group> {
        let (images, rows, strip) = self.extent(task);
        let (count, width) = (rows.1 - rows.0, self.width);
        let pieces = count.div_ceil((at_most / width.max(1)).max(1)).max(1);
        let at_a_time = match pieces {
            1 => (at_most / (count * width).max(1)).max(1),
            _ => 1,
        };
        let parts = (images.1 - images.0).div_ceil(at_a_time);
        (0..parts * pieces).map(move |index| {
            let (part, piece) = (index / pieces, index % pieces);
            let image = images.0 + part * at_a_time;
            let row = |piece: usize| rows.0 + count * piece / pieces;
            Group {
                images: (image, images.1.min(image.saturating_add(at_a_time))),
                segment: Segment {
                    image,
                    strip,
                    rows,
                    first: row(piece),
                    end: row(piece + 1),
                    kept: piece
                        .checked_sub(1)
                        .map_or(0, |before| row(piece) - row(before)),
                    tile: 0,
                },
                width,
            }
        })
    }

    /// Tiles of a task.
    pub(super) fn task_tiles(&self, task: usize) -> usize {
        let (images, rows, _) = self.extent(task);
        (images.1 - images.0) * (rows.1 - rows.0) * self.width
    }

    /// Most tiles of any group of at most `at_most`.
    pub(super) fn most_tiles(&self, at_most: usize) -> usize {
        let images = if self.strips > 1 {
            1
        } else {
            self.batch.div_ceil(self.tasks.max(1))
        };
        let task = self.height.div_ceil(self.strips) * self.width * images;
        task.min(at_most.max(self.width))
    }

    /// Most tile rows of a segment of groups of at most `at_most` tiles.
    pub(super) fn most_rows(&self, at_most: usize) -> usize {
        let rows = self.height.div_ceil(self.strips);
        rows.min((at_most / self.width.max(1)).max(1))
    }

    /// Are images cut into several groups, so that segments keep rows of the segment before?
    pub(super) fn keeps_rows(&self, at_most: usize) -> bool {
        self.most_rows(at_most) < self.height.div_ceil(self.strips)
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
            for at_most in [1, 8, 16, usize::MAX] {
                let mut seen = vec![0; batch * grid.height];
                for task in 0..grid.tasks() {
                    let mut tiles = 0;
                    let mut before = None;
                    for group in grid.groups(task, at_most) {
                        let mut tile = 0;
                        for segment in group.segments() {
                            assert_eq!(segment.tile, tile);
                            for row in segment.first..segment.end {
                                seen[segment.image * grid.height + row] += 1;
                            }
                            assert!(segment.end - segment.first <= grid.most_rows(at_most));
                            assert!(segment.kept == 0 || grid.keeps_rows(at_most));
                            let above = (segment.image, segment.first, segment.kept);
                            assert!(segment.kept == 0 || before == Some(above));
                            let rows = segment.end - segment.first;
                            before = Some((segment.image, segment.end, rows));
                            tile += rows * grid.width;
                        }
                        assert_eq!(group.tiles(), tile);
                        assert!(tile <= grid.most_tiles(at_most));
                        tiles += tile;
                    }
                    assert_eq!(grid.task_tiles(task), tiles);
                }
                assert!(seen.iter().all(|&count| count == 1), "{batch} {output:?}");
            }
        }
    }
}
