//! Forward and input gradient: tiles to points, 36 products with the filters, points to outputs.

use super::grid::{Grid, POINTS, Planes};
use super::transform::{input_tile, output_tile};
use crate::scratch::Scratch;
use crate::simd::product::Product;
use crate::simd::{BLOCK, Kernel, Level, Simd};
use crate::threads::{Shared, for_each};

/// What is convolved into what: channels and plane sizes.
pub(super) struct Sides {
    pub batch: usize,
    pub source: (usize, (usize, usize)),
    pub target: (usize, (usize, usize)),
    pub padding: (usize, usize),
}

/// Convolves `source` with transformed `filters`.
pub(super) fn convolve(
    level: Level,
    sides: &Sides,
    source: &[f32],
    filters: &Scratch,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let grid = Grid::new(sides.batch, sides.target.1);
    let tiles = (grid.height, grid.width);
    let inputs = Planes::new(sides.source.1, sides.padding, 2, tiles);
    let outputs = Planes::new(sides.target.1, (0, 0), 0, tiles);
    let len = sides.batch * sides.target.0 * outputs.pixels();
    let mut result = Vec::with_capacity(len);
    let no_bias = bias.is_none().then(|| vec![0.0; sides.target.0]);
    let context = Context {
        sides,
        grid: &grid,
        inputs: &inputs,
        outputs: &outputs,
        source,
        filters,
        bias: bias.or(no_bias.as_deref()).unwrap_or_default(),
        target: Shared(result.as_mut_ptr()),
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
    // SAFETY: the tasks cover all rows of all images, so every element has been written.
    unsafe { result.set_len(len) };
    result
}

struct Context<'a> {
    sides: &'a Sides,
    grid: &'a Grid,
    inputs: &'a Planes,
    outputs: &'a Planes,
    source: &'a [f32],
    filters: &'a [f32],
    bias: &'a [f32],
    target: Shared<f32>,
}

struct Task<'a> {
    context: &'a Context<'a>,
    task: usize,
}

impl Kernel for Task<'_> {
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
struct Gather<'a> {
    context: &'a Context<'a>,
    task: usize,
    v: *mut f32,
    v_plane: usize,
}

impl Kernel for Gather<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.context;
        let channels = c.sides.source.0;
        // SAFETY: `v` holds every tile of the task; the source has the planes of `sides`.
        unsafe {
            points_of::<S>(
                c.grid,
                c.inputs,
                self.task,
                (c.source, channels),
                (self.v, self.v_plane),
                2,
            );
        }
    }
}

/// Transforms the tiles of a task, all channels, to points `[point][tile][channel]`; `overlap` is 2 for inputs.
///
/// # Safety
/// `source` holds whole images of `channels` planes; `to` has a plane stride of its second part.
#[inline(always)]
pub(super) unsafe fn points_of<S: Simd>(
    grid: &Grid,
    planes: &Planes,
    task: usize,
    (source, channels): (&[f32], usize),
    (to, plane): (*mut f32, usize),
    overlap: usize,
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
            let start = (segment.image * channels + channel) * planes.pixels();
            let image = &source[start..start + BLOCK * planes.pixels()];
            // SAFETY: the block holds the segment's padded rows, `to` the task's tiles.
            unsafe {
                planes.gather::<S>(image.as_ptr(), &segment, block.as_mut_ptr());
                let mut tile = segment.tile;
                for y in 0..segment.end - segment.first {
                    for x in 0..grid.width {
                        let from = block.as_ptr().add(4 * (y * row_stride + x * BLOCK));
                        let to = to.add(tile * channels + channel);
                        match overlap {
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

/// Points M `[point][tile][channel]` to the planes of the target.
struct Output<'a> {
    context: &'a Context<'a>,
    task: usize,
    m: *const f32,
    m_plane: usize,
}

impl Kernel for Output<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.context;
        let channels = c.sides.target.0;
        let row_stride = c.outputs.row_stride();
        let mut block = Scratch::take(c.outputs.block_len(c.grid.most_rows()));
        for segment in c.grid.segments(self.task) {
            for channel in (0..channels).step_by(BLOCK) {
                // SAFETY: the block holds the segment's rows; the target has planes for all channels of all
                // images, and only this task writes these rows.
                unsafe {
                    let bias = c.bias[channel..channel + BLOCK].as_ptr();
                    let mut tile = segment.tile;
                    for y in 0..segment.end - segment.first {
                        for x in 0..c.grid.width {
                            let to = block.as_mut_ptr().add(4 * (y * row_stride + x * BLOCK));
                            output_tile::<S>(
                                self.m.add(tile * channels + channel),
                                self.m_plane,
                                to,
                                row_stride,
                                bias,
                            );
                            tile += 1;
                        }
                    }
                    let plane = (segment.image * channels + channel) * c.outputs.pixels();
                    c.outputs
                        .scatter::<S>(block.as_ptr(), &segment, c.target.at(plane));
                }
            }
        }
    }
}
