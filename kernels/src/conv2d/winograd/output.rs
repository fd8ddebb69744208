//! Forward and input gradient: tiles to points, 36 products with the filters, points to outputs.

use super::super::transfer::{Sink, Source};
use super::grid::{Grid, POINTS, Planes};
use super::transform::{input_tile, output_tile};
use crate::scratch::Scratch;
use crate::simd::product::Product;
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
        let tiles = c.grid.task_tiles(self.task);
        // A plane stride that is no power of two keeps a tile's 36 stores in different cache sets.
        let (v_plane, m_plane) = (tiles * from + BLOCK, tiles * to + BLOCK);
        let mut v = Scratch::take(POINTS * v_plane);
        let mut m = Scratch::take(POINTS * m_plane);
        // SAFETY: buffers hold what the offsets address; see `Context` for the slices.
        unsafe {
            S::call(Gather {
                context: c,
                task: self.task,
                v: v.as_mut_ptr(),
                v_plane,
            });
            for point in 0..POINTS {
                Product {
                    a: v.as_ptr().add(point * v_plane),
                    a_stride: from,
                    transposed: false,
                    b: c.filters.as_ptr().add(point * (from * to + BLOCK)),
                    b_stride: to,
                    c: m.as_mut_ptr().add(point * m_plane),
                    c_stride: to,
                    rows: tiles,
                    columns: to,
                    depth: from,
                    add: false,
                }
                .compute::<S>();
            }
            S::call(Output {
                context: c,
                task: self.task,
                m: m.as_ptr(),
                m_plane,
            });
        }
    }
}

/// Tiles of all source channels to points V `[point][tile][channel]`.
struct Gather<'a, From, To> {
    context: &'a Context<'a, From, To>,
    task: usize,
    v: *mut f32,
    v_plane: usize,
}

impl<From: Source, To: Sink> Kernel for Gather<'_, From, To> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.context;
        let channels = c.sides.source.0;
        // SAFETY: `v` holds every tile of the task; the source has the planes of `sides`.
        unsafe {
            points_of::<S, 2>(
                c.grid,
                c.inputs,
                self.task,
                (c.source, channels),
                (self.v, self.v_plane),
            );
        }
    }
}

/// Transforms the tiles of a task, all channels, to points `[point][tile][channel]`; `OVERLAP` is 2 for inputs.
///
/// # Safety
/// `source` holds whole images of `channels` planes; `to` has a plane stride of its second part.
#[inline(always)]
pub(super) unsafe fn points_of<S: Simd, const OVERLAP: usize>(
    grid: &Grid,
    planes: &Planes,
    task: usize,
    (source, channels): (&impl Source, usize),
    (to, plane): (*mut f32, usize),
) {
    let mut block = Scratch::take(planes.block_len(grid.most_rows()));
    let row_stride = planes.row_stride();
    let mut cleared = false;
    for segment in grid.segments(task) {
        if !cleared {
            // All segments of a task have the same rows, hence the same border.
            planes.clear_border(&segment, &mut block);
            cleared = true;
        }
        for channel in (0..channels).step_by(BLOCK) {
            // SAFETY: the block holds the segment's padded rows, `to` the task's tiles.
            unsafe {
                planes.load::<S>(source, channel, &segment, block.as_mut_ptr());
                let mut tile = segment.tile;
                for y in 0..segment.end - segment.first {
                    for x in 0..grid.width {
                        let from = block.as_ptr().add(4 * (y * row_stride + x * BLOCK));
                        let to = to.add(tile * channels + channel);
                        match OVERLAP {
                            2 => input_tile::<S>(from, row_stride, to, plane),
                            _ => super::transform::gradient_tile::<S>(from, row_stride, to, plane),
                        }
                        tile += 1;
                    }
                }
            }
        }
    }
}

/// Points M `[point][tile][channel]` to the target.
struct Output<'a, From, To> {
    context: &'a Context<'a, From, To>,
    task: usize,
    m: *const f32,
    m_plane: usize,
}

impl<From: Source, To: Sink> Kernel for Output<'_, From, To> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.context;
        let channels = c.sides.target.0;
        let row_stride = c.outputs.row_stride();
        let mut block = Scratch::take(c.outputs.block_len(c.grid.most_rows()));
        for segment in c.grid.segments(self.task) {
            let pixels = c.outputs.pixels_of(&segment);
            for channel in (0..channels).step_by(BLOCK) {
                // SAFETY: the block (or window) holds the segment's rows; the sink has all channels of all
                // images, and only this task writes these rows.
                unsafe {
                    let window = c
                        .outputs
                        .whole_tiles()
                        .then(|| c.sink.window(segment.image, channel));
                    let window = window
                        .flatten()
                        .map(|window| window.add(pixels.start * BLOCK));
                    let rows = window.unwrap_or(block.as_mut_ptr());
                    let bias = c.bias[channel..channel + BLOCK].as_ptr();
                    let mut tile = segment.tile;
                    for y in 0..segment.end - segment.first {
                        for x in 0..c.grid.width {
                            output_tile::<S>(
                                self.m.add(tile * channels + channel),
                                self.m_plane,
                                rows.add(4 * (y * row_stride + x * BLOCK)),
                                row_stride,
                                bias,
                            );
                            tile += 1;
                        }
                    }
                    if window.is_none() {
                        c.outputs
                            .store::<S>(c.sink, channel, &segment, block.as_ptr());
                    }
                    c.sink.finish::<S>(
                        segment.image,
                        segment.strip,
                        channel..channel + BLOCK,
                        pixels.clone(),
                    );
                }
            }
        }
    }
}
