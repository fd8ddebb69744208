//! Input gradient and weight gradient together: both read the output's gradient, which is read once.
//!
//! As in the weight gradient's chunks, runs of tasks have sums of their own. A training step spends
//! half of its time on memory: what a task has loaded serves both products.

use super::super::geometry::Problem;
use super::super::transfer::{Sink, Source};
use super::grid::{Grid, Group, POINTS, Planes};
use super::output::{InputPoints, Output, Pixels, Points, group_tiles, points_of};
use super::transform::{gradient_tile, input_tile};
use super::weight_gradient::{CHUNKS, in_chunks, sum_plane, to_filters};
use super::{Level, filters};
use crate::scratch::Scratch;
use crate::simd::product::{Product, Series};
use crate::simd::{BLOCK, Kernel, Simd};
use crate::threads::{Shared, for_each};

/// Floats of the points of a group, at most: 1 MiB. With more the second-level cache holds less than
/// reading the gradient twice would cost (32 channels at 32×32: no gain; 16: 1.06 times faster).
const POINTS_AT_MOST: usize = 256 << 10;

/// Are the tiles of both passes the same, are chunks the way to sum the weight gradient, and does it pay?
pub(in super::super) fn suits(problem: &Problem) -> bool {
    let (from, to) = (problem.in_channels, problem.out_channels);
    let most = Grid::new(problem.batch, problem.output).most_tiles(group_tiles(from, to));
    problem.geometry.padding == (1, 1)
        && problem.input == problem.output
        && in_chunks(problem)
        && 2 * POINTS * most * (from + to) <= POINTS_AT_MOST
}

/// Hands the input gradient to `sink` and returns the weight gradient.
pub(in super::super) fn compute(
    level: Level,
    problem: &Problem,
    (input, gradient): (&impl Source, &impl Source),
    weight: &[f32],
    sink: &impl Sink,
) -> Vec<f32> {
    let (from, to) = (problem.in_channels, problem.out_channels);
    let grid = Grid::new(problem.batch, problem.output);
    let tiles = (grid.height, grid.width);
    let shape = filters::Shape {
        outputs: from,
        inputs: to,
        turned: true,
    };
    let context = Context {
        padded: Planes::new(problem.output, (1, 1), 2, tiles),
        outputs: Planes::new(problem.output, (0, 0), 0, tiles),
        filters: &filters::transform(level, weight, shape),
        no_bias: &vec![0.0; from],
        grid,
        from,
        to,
        input,
        gradient,
        sink,
    };
    let len = POINTS * sum_plane(from, to);
    let mut sums = Scratch::take(CHUNKS * len);
    let sums_at = Shared(sums.as_mut_ptr());
    for_each(CHUNKS, |chunk| {
        // SAFETY: each task writes its own sums and the rows of its own tasks; the level is available.
        unsafe {
            level.call(Chunk {
                context: &context,
                chunk,
                sums: sums_at.at(chunk * len),
            })
        };
    });
    to_filters(level, &sums, CHUNKS, (from, to))
}

struct Context<'a, X, G, To> {
    grid: Grid,
    /// Input and output have one size: padded, and as they are.
    padded: Planes,
    outputs: Planes,
    from: usize,
    to: usize,
    input: &'a X,
    gradient: &'a G,
    filters: &'a [f32],
    no_bias: &'a [f32],
    sink: &'a To,
}

struct Chunk<'a, X, G, To> {
    context: &'a Context<'a, X, G, To>,
    chunk: usize,
    sums: *mut f32,
}

impl<X: Source, G: Source, To: Sink> Kernel for Chunk<'_, X, G, To> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.context;
        let at_most = group_tiles(c.from, c.to);
        let most = c.grid.most_tiles(at_most);
        let take = |channels: usize| Scratch::take(POINTS * (most * channels + BLOCK));
        let (mut v, mut e, mut d) = (take(c.from), take(c.to), take(c.to));
        let mut m = take(c.from);
        let mut pixels =
            [c.from, c.to].map(|channels| Pixels::take(&c.grid, &c.padded, channels, at_most));
        let mut block = Scratch::take(c.outputs.block_len(c.grid.most_rows(at_most)));
        let tasks = c.grid.tasks();
        let (first, end) = (
            tasks * self.chunk / CHUNKS,
            tasks * (self.chunk + 1) / CHUNKS,
        );
        let mut add = false;
        for group in (first..end).flat_map(|task| c.grid.groups(task, at_most)) {
            let tiles = group.tiles();
            let (from_plane, to_plane) = (tiles * c.from + BLOCK, tiles * c.to + BLOCK);
            // SAFETY: the buffers hold the tiles of any group, `sums` the chunk's sums.
            unsafe {
                S::call(GroupPoints {
                    context: c,
                    group,
                    pixels: &mut pixels,
                    v: InputPoints(v.as_mut_ptr(), from_plane),
                    both: BothPoints {
                        input: d.as_mut_ptr(),
                        gradient: e.as_mut_ptr(),
                        plane: to_plane,
                    },
                });
                let of_input = Product {
                    a: d.as_ptr(),
                    a_stride: c.to,
                    transposed: false,
                    b: c.filters.as_ptr(),
                    b_stride: c.from,
                    c: m.as_mut_ptr(),
                    c_stride: c.from,
                    rows: tiles,
                    columns: c.from,
                    depth: c.to,
                    add: false,
                };
                let of_weight = Product {
                    a: v.as_ptr(),
                    a_stride: c.from,
                    transposed: true,
                    b: e.as_ptr(),
                    b_stride: c.to,
                    c: self.sums,
                    c_stride: c.to,
                    rows: c.from,
                    columns: c.to,
                    depth: tiles,
                    add,
                };
                let plane = sum_plane(c.from, c.to);
                for (first, steps) in [
                    (of_input, (to_plane, plane, from_plane)),
                    (of_weight, (from_plane, to_plane, plane)),
                ] {
                    Series {
                        first,
                        count: POINTS,
                        steps,
                    }
                    .compute::<S>();
                }
                S::call(Output {
                    planes: &c.outputs,
                    channels: c.from,
                    bias: c.no_bias,
                    sink: c.sink,
                    group,
                    block: &mut block,
                    m: m.as_ptr(),
                    m_row: c.from,
                    m_plane: from_plane,
                });
            }
            add = true;
        }
        if !add {
            let len = POINTS * sum_plane(c.from, c.to);
            // SAFETY: the chunk's own sums.
            unsafe { std::slice::from_raw_parts_mut(self.sums, len).fill(0.0) };
        }
    }
}

/// The points of one group: of the input, and both kinds of the gradient.
struct GroupPoints<'a, 'b, X, G, To> {
    context: &'a Context<'a, X, G, To>,
    group: Group,
    pixels: &'b mut [Pixels; 2],
    v: InputPoints,
    both: BothPoints,
}

impl<X: Source, G: Source, To: Sink> Kernel for GroupPoints<'_, '_, X, G, To> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.context;
        let [inputs, gradients] = self.pixels;
        // SAFETY: there is room for the group's tiles; input and gradient have the planes of the problem.
        unsafe {
            let gradient = (c.gradient, c.to);
            points_of::<S>(&c.padded, self.group, gradients, gradient, &self.both);
            points_of::<S>(&c.padded, self.group, inputs, (c.input, c.from), &self.v);
        }
    }
}

/// Bᵀ d B of padded pixels, and A dY Aᵀ of the 4×4 in their middle.
struct BothPoints {
    input: *mut f32,
    gradient: *mut f32,
    plane: usize,
}

impl Points for BothPoints {
    #[inline(always)]
    unsafe fn transform<S: Simd>(&self, from: *const f32, row_stride: usize, at: usize) {
        // SAFETY: required of the caller.
        unsafe {
            input_tile::<S>(from, row_stride, self.input.add(at), self.plane);
            let inner = from.add(row_stride + BLOCK);
            gradient_tile::<S>(inner, row_stride, self.gradient.add(at), self.plane);
        }
    }
}
