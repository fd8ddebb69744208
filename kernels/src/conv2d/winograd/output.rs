//! Forward and input gradient: tiles to points, 36 products with the filters, points to outputs.

use super::super::transfer::{Sink, Source};
use super::grid::{Grid, Group, POINTS, Planes};
use super::transform::{gradient_tile, input_tile, output_tile};
use crate::scratch::Scratch;
use crate::simd::product::{Product, Series};
use crate::simd::{BLOCK, Kernel, Level, Simd};
use crate::threads::for_each;

/// What is convolved into what: channels and plane sizes.
pub(super) struct Sides {
    pub batch: usize,
    pub source: (usize, (usize, usize)),
    pub target: (usize, (usize, usize)),
    pub padding: (usize, usize),
}

/// Convolves `source` with transformed `filters`, adds `bias` if it is not empty.
pub(super) fn convolve(
    level: Level,
    sides: &Sides,
    source: &impl Source,
    filters: &Scratch,
    bias: &[f32],
    sink: &impl Sink,
) {
    let grid = Grid::new(sides.batch, sides.target.1);
    let tiles = (grid.height, grid.width);
    let no_bias = bias.is_empty().then(|| vec![0.0; sides.target.0]);
    let context = Context {
        sides,
        grid: &grid,
        inputs: &Planes::new(sides.source.1, sides.padding, 2, tiles),
        outputs: &Planes::new(sides.target.1, (0, 0), 0, tiles),
        source,
        filters,
        bias: no_bias.as_deref().unwrap_or(bias),
        sink,
    };
    for_each(grid.tasks(), |task| {
        // SAFETY: each task writes the rows of its own segments; the level is available.
        unsafe {
            level.call(Task {
                context: &context,
                task,
            })
        };
    });
}

struct Context<'a, From, To> {
    sides: &'a Sides,
    grid: &'a Grid,
    inputs: &'a Planes,
    outputs: &'a Planes,
    source: &'a From,
    filters: &'a [f32],
    bias: &'a [f32],
    sink: &'a To,
}

struct Task<'a, From, To> {
    context: &'a Context<'a, From, To>,
    task: usize,
}

impl<From: Source, To: Sink> Kernel for Task<'_, From, To> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.context;
        let (from, to) = (c.sides.source.0, c.sides.target.0);
        let at_most = group_tiles(from, to);
        let most = c.grid.most_tiles(at_most);
        // M may take the place of V if a register tile holds all outputs of its rows.
        let in_place = to <= from && to <= S::TILE_VECTORS * S::LANES;
        let mut v = Scratch::take(POINTS * (most * from + BLOCK));
        let m_len = if in_place { 0 } else { most * to + BLOCK };
        let mut m = Scratch::take(POINTS * m_len);
        let (v, m) = match in_place {
            true => (v.as_mut_ptr(), v.as_mut_ptr()),
            false => (v.as_mut_ptr(), m.as_mut_ptr()),
        };
        let mut pixels = Pixels::take(c.grid, c.inputs, from, at_most);
        let mut block = Scratch::take(c.outputs.block_len(c.grid.most_rows(at_most)));
        for group in c.grid.groups(self.task, at_most) {
            let tiles = group.tiles();
            // A plane stride that is no power of two keeps a tile's 36 stores in different cache sets.
            let v_plane = tiles * from + BLOCK;
            let (m_row, m_plane) = match in_place {
                true => (from, v_plane),
                false => (to, tiles * to + BLOCK),
            };
            // SAFETY: buffers hold what the offsets address; see `Context` for the slices.
            unsafe {
                S::call(Gather {
                    context: c,
                    group,
                    pixels: &mut pixels,
                    v,
                    v_plane,
                });
                Series {
                    first: Product {
                        a: v,
                        a_stride: from,
                        transposed: false,
                        b: c.filters.as_ptr(),
                        b_stride: to,
                        c: m,
                        c_stride: m_row,
                        rows: tiles,
                        columns: to,
                        depth: from,
                        add: false,
                    },
                    count: POINTS,
                    steps: (v_plane, from * to + BLOCK, m_plane),
                }
                .compute::<S>();
                S::call(Output {
                    planes: c.outputs,
                    channels: to,
                    bias: c.bias,
                    sink: c.sink,
                    group,
                    block: &mut block,
                    m,
                    m_row,
                    m_plane,
                });
            }
        }
    }
}

/// Tiles that are transformed and multiplied at a time: all of a task, or, where the products are
/// small, as many as the first-level cache holds.
pub(super) fn group_tiles(from: usize, to: usize) -> usize {
    if from.max(to) <= BLOCK {
        16
    } else {
        usize::MAX
    }
}

/// Tiles of all source channels to points V `[point][tile][channel]`.
struct Gather<'a, 'b, From, To> {
    context: &'a Context<'a, From, To>,
    group: Group,
    pixels: &'b mut Pixels,
    v: *mut f32,
    v_plane: usize,
}

impl<From: Source, To: Sink> Kernel for Gather<'_, '_, From, To> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.context;
        let channels = c.sides.source.0;
        // SAFETY: `v` holds every tile of the group; the source has the planes of `sides`.
        unsafe {
            let points = InputPoints(self.v, self.v_plane);
            points_of::<S>(
                c.inputs,
                self.group,
                self.pixels,
                (c.source, channels),
                &points,
            );
        }
    }
}

/// The pixels of a segment, padded, 16 channels: those of one block after the other, or, if the
/// next segment needs some of them, of all.
pub(super) struct Pixels {
    values: Scratch,
    /// Floats from one block of channels to the next.
    step: usize,
    len: usize,
    /// Is the border clear? All segments that keep nothing have the same.
    clear: bool,
}

impl Pixels {
    /// Room for the segments of groups of at most `at_most` tiles.
    pub(super) fn take(grid: &Grid, planes: &Planes, channels: usize, at_most: usize) -> Self {
        let len = planes.block_len(grid.most_rows(at_most));
        let (blocks, step) = match grid.keeps_rows(at_most) {
            true => (channels / BLOCK, len),
            false => (1, 0),
        };
        Self {
            values: Scratch::take(blocks * len),
            step,
            len,
            clear: false,
        }
    }
}

/// What becomes of the pixels of a tile.
pub(super) trait Points {
    /// From the tile's first pixel to points at place `at` of each plane of points.
    ///
    /// # Safety
    /// The pixels are there, `row_stride` floats a row, and the points.
    unsafe fn transform<S: Simd>(&self, from: *const f32, row_stride: usize, at: usize);
}

/// Bᵀ d B: planes of points at the first, as far apart as the second.
pub(super) struct InputPoints(pub *mut f32, pub usize);

impl Points for InputPoints {
    #[inline(always)]
    unsafe fn transform<S: Simd>(&self, from: *const f32, row_stride: usize, at: usize) {
        // SAFETY: required of the caller.
        unsafe { input_tile::<S>(from, row_stride, self.0.add(at), self.1) }
    }
}

/// A dY Aᵀ: planes of points at the first, as far apart as the second.
pub(super) struct GradientPoints(pub *mut f32, pub usize);

impl Points for GradientPoints {
    #[inline(always)]
    unsafe fn transform<S: Simd>(&self, from: *const f32, row_stride: usize, at: usize) {
        // SAFETY: required of the caller.
        unsafe { gradient_tile::<S>(from, row_stride, self.0.add(at), self.1) }
    }
}

/// Transforms the tiles of a group, all channels, to points `[point][tile][channel]`.
///
/// # Safety
/// `source` holds whole images of `channels` planes; `points` has room for the group.
#[inline(always)]
pub(super) unsafe fn points_of<S: Simd>(
    planes: &Planes,
    group: Group,
    pixels: &mut Pixels,
    (source, channels): (&impl Source, usize),
    points: &impl Points,
) {
    let row_stride = planes.row_stride();
    for segment in group.segments() {
        for index in 0..channels / BLOCK {
            let start = index * pixels.step;
            let block = &mut pixels.values[start..start + pixels.len];
            if !pixels.clear {
                planes.prepare(&segment, block);
                pixels.clear = pixels.step == 0;
            }
            let channel = index * BLOCK;
            // SAFETY: the block holds the segment's padded rows; the rest is required of the caller.
            unsafe {
                planes.load::<S>(source, channel, &segment, block.as_mut_ptr());
                let mut tile = segment.tile;
                for y in 0..segment.end - segment.first {
                    for x in 0..planes.tile_columns() {
                        let from = block.as_ptr().add(4 * (y * row_stride + x * BLOCK));
                        points.transform::<S>(from, row_stride, tile * channels + channel);
                        tile += 1;
                    }
                }
            }
        }
    }
}

/// Points M `[point][tile][channel]` to the target.
pub(super) struct Output<'a, To> {
    pub planes: &'a Planes,
    pub channels: usize,
    pub bias: &'a [f32],
    pub sink: &'a To,
    pub group: Group,
    pub block: &'a mut Scratch,
    pub m: *const f32,
    pub m_row: usize,
    pub m_plane: usize,
}

impl<To: Sink> Kernel for Output<'_, To> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self;
        let row_stride = c.planes.row_stride();
        for segment in c.group.segments() {
            let pixels = c.planes.pixels_of(&segment);
            for channel in (0..c.channels).step_by(BLOCK) {
                // SAFETY: the block (or window) holds the segment's rows; the sink has all channels of all
                // images, and only this task writes these rows.
                unsafe {
                    let window = c
                        .planes
                        .whole_tiles()
                        .then(|| c.sink.window(segment.image, channel));
                    let window = window
                        .flatten()
                        .map(|window| window.add(pixels.start * BLOCK));
                    let rows = window.unwrap_or(c.block.as_mut_ptr());
                    let bias = c.bias[channel..channel + BLOCK].as_ptr();
                    let mut tile = segment.tile;
                    for y in 0..segment.end - segment.first {
                        for x in 0..c.planes.tile_columns() {
                            output_tile::<S>(
                                c.m.add(tile * c.m_row + channel),
                                c.m_plane,
                                rows.add(4 * (y * row_stride + x * BLOCK)),
                                row_stride,
                                bias,
                            );
                            tile += 1;
                        }
                    }
                    if window.is_none() {
                        c.planes
                            .store::<S>(c.sink, channel, &segment, c.block.as_ptr());
                    }
                    if segment.end == segment.rows.1 {
                        c.sink.finish::<S>(
                            segment.image,
                            segment.strip,
                            channel..channel + BLOCK,
                            c.planes.pixels_of_strip(&segment),
                        );
                    }
                }
            }
        }
    }
}
