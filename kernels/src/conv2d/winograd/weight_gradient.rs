//! Weight gradient: dU[point] = Σ_tiles V[point]ᵀ E[point], then Gᵀ dU G.
//!
//! Two drivers. *Chunks*: eight fixed runs of tasks, each with sums of its own, added in order.
//! *Global*: the points of all images first, then one task a point; better where the sums are large.

use super::super::geometry::Problem;
use super::super::transfer::Source;
use super::grid::{Grid, Group, POINTS, Planes};
use super::output::{GradientPoints, InputPoints, Pixels, group_tiles, points_of};
use super::transform;
use crate::scratch::Scratch;
use crate::simd::product::{Product, Series};
use crate::simd::{BLOCK, Kernel, Level, Simd};
use crate::threads::{Shared, for_each};

/// Runs of tasks with sums of their own; fixed, so that results do not depend on threads.
pub(super) const CHUNKS: usize = 8;
/// Tiles that a global product takes at a time, so that V and E stay in the cache.
const TILES_AT_A_TIME: usize = 256;

/// Floats of V and E that a global round holds: 64 MiB.
const ROUND_AT_MOST: usize = 16 << 20;

pub(in super::super) fn compute(
    level: Level,
    problem: &Problem,
    input: &impl Source,
    gradient: &impl Source,
) -> Vec<f32> {
    let context = Context::new(problem, input, gradient);
    let (from, to) = (context.from, context.to);
    let (sums, chunks) = if in_chunks(problem) {
        (chunked(level, &context), CHUNKS)
    } else {
        (global(level, &context, ROUND_AT_MOST), 1)
    };
    to_filters(level, &sums, chunks, (from, to))
}

/// Are sums of their own for each chunk better than the points of all images at once?
pub(super) fn in_chunks(problem: &Problem) -> bool {
    let (from, to) = (problem.in_channels, problem.out_channels);
    let tiles = Grid::new(problem.batch, problem.output).tiles();
    let few_tiles = tiles * (from + to) <= 16 * from * to;
    let large_sums = CHUNKS * POINTS * from * to > ROUND_AT_MOST;
    !few_tiles && !large_sums
}

/// Floats from one point's sums to the next.
pub(super) fn sum_plane(from: usize, to: usize) -> usize {
    from * to + BLOCK
}

/// Adds the sums of `chunks` and transforms them to filters `[to, from, 3, 3]`.
pub(super) fn to_filters(
    level: Level,
    sums: &[f32],
    chunks: usize,
    (from, to): (usize, usize),
) -> Vec<f32> {
    let mut result = vec![0.0; from * to * 9];
    let target = Shared(result.as_mut_ptr());
    for_each(to / BLOCK, |block| {
        // SAFETY: each task writes the filters of its own outputs; the level is available.
        unsafe {
            level.call(Filters {
                sums,
                chunks,
                from,
                to,
                block,
                target: target.at(0),
            })
        };
    });
    result
}

struct Context<'a, X, G> {
    grid: Grid,
    inputs: Planes,
    outputs: Planes,
    from: usize,
    to: usize,
    input: &'a X,
    gradient: &'a G,
}

impl<'a, X: Source, G: Source> Context<'a, X, G> {
    fn new(problem: &Problem, input: &'a X, gradient: &'a G) -> Self {
        let grid = Grid::new(problem.batch, problem.output);
        let tiles = (grid.height, grid.width);
        Self {
            inputs: Planes::new(problem.input, problem.geometry.padding, 2, tiles),
            outputs: Planes::new(problem.output, (0, 0), 0, tiles),
            from: problem.in_channels,
            to: problem.out_channels,
            grid,
            input,
            gradient,
        }
    }

    /// Floats from one point's sums to the next.
    fn sum_plane(&self) -> usize {
        sum_plane(self.from, self.to)
    }
}

fn chunked(level: Level, context: &Context<impl Source, impl Source>) -> Scratch {
    let len = POINTS * context.sum_plane();
    let mut sums = Scratch::take(CHUNKS * len);
    let to = Shared(sums.as_mut_ptr());
    for_each(CHUNKS, |chunk| {
        // SAFETY: each task writes its own sums; the level is available.
        unsafe {
            level.call(Chunk {
                context,
                chunk,
                sums: to.at(chunk * len),
            })
        };
    });
    sums
}

struct Chunk<'a, X, G> {
    context: &'a Context<'a, X, G>,
    chunk: usize,
    sums: *mut f32,
}

impl<X: Source, G: Source> Kernel for Chunk<'_, X, G> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.context;
        let at_most = group_tiles(c.from, c.to);
        let most = c.grid.most_tiles(at_most);
        let mut v = Scratch::take(POINTS * (most * c.from + BLOCK));
        let mut e = Scratch::take(POINTS * (most * c.to + BLOCK));
        let mut pixels = [
            Pixels::take(&c.grid, &c.inputs, c.from, at_most),
            Pixels::take(&c.grid, &c.outputs, c.to, at_most),
        ];
        let tasks = c.grid.tasks();
        let (first, end) = (
            tasks * self.chunk / CHUNKS,
            tasks * (self.chunk + 1) / CHUNKS,
        );
        let mut add = false;
        for group in (first..end).flat_map(|task| c.grid.groups(task, at_most)) {
            let tiles = group.tiles();
            let (v_plane, e_plane) = (tiles * c.from + BLOCK, tiles * c.to + BLOCK);
            // SAFETY: the buffers hold the tiles of any group, `sums` the chunk's sums.
            unsafe {
                S::call(Points {
                    context: c,
                    group,
                    pixels: &mut pixels,
                    v: (v.as_mut_ptr(), v_plane),
                    e: (e.as_mut_ptr(), e_plane),
                });
                Series {
                    first: Product {
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
                    },
                    count: POINTS,
                    steps: (v_plane, e_plane, c.sum_plane()),
                }
                .compute::<S>();
            }
            add = true;
        }
        if !add {
            // SAFETY: the chunk's own sums.
            unsafe { std::slice::from_raw_parts_mut(self.sums, POINTS * c.sum_plane()).fill(0.0) };
        }
    }
}

/// Tasks in rounds whose points together stay within `at_most` floats, or single tasks.
fn rounds(
    context: &Context<impl Source, impl Source>,
    at_most: usize,
) -> Vec<std::ops::Range<usize>> {
    let most = at_most / (POINTS * (context.from + context.to));
    let mut rounds = Vec::new();
    let (mut first, mut tiles) = (0, 0);
    for task in 0..context.grid.tasks() {
        let more = context.grid.task_tiles(task);
        if task > first && tiles + more > most {
            rounds.push(first..task);
            (first, tiles) = (task, 0);
        }
        tiles += more;
    }
    rounds.push(first..context.grid.tasks());
    rounds
}

fn global(level: Level, context: &Context<impl Source, impl Source>, at_most: usize) -> Scratch {
    let mut sums = Scratch::take(POINTS * context.sum_plane());
    let to = Shared(sums.as_mut_ptr());
    for (round, tasks) in rounds(context, at_most).into_iter().enumerate() {
        let mut before = Vec::with_capacity(tasks.len());
        let mut tiles = 0;
        for task in tasks.clone() {
            before.push(tiles);
            tiles += context.grid.task_tiles(task);
        }
        let (v_plane, e_plane) = (tiles * context.from + BLOCK, tiles * context.to + BLOCK);
        let mut v = Scratch::take(POINTS * v_plane);
        let mut e = Scratch::take(POINTS * e_plane);
        let (v_to, e_to) = (Shared(v.as_mut_ptr()), Shared(e.as_mut_ptr()));
        for_each(tasks.len(), |index| {
            // SAFETY: each task writes its own tiles; the level is available.
            unsafe {
                let v = (v_to.at(before[index] * context.from), v_plane);
                let e = (e_to.at(before[index] * context.to), e_plane);
                level.call(TaskPoints {
                    context,
                    task: tasks.start + index,
                    v,
                    e,
                });
            }
        });
        for_each(POINTS, |point| {
            // SAFETY: each task writes the sums of its own point; the level is available.
            unsafe {
                level.call(PointSum {
                    context,
                    tiles,
                    v: v[point * v_plane..].as_ptr(),
                    e: e[point * e_plane..].as_ptr(),
                    sums: to.at(point * context.sum_plane()),
                    add: round > 0,
                });
            }
        });
    }
    sums
}

struct PointSum<'a, X, G> {
    context: &'a Context<'a, X, G>,
    tiles: usize,
    v: *const f32,
    e: *const f32,
    sums: *mut f32,
    add: bool,
}

impl<X: Source, G: Source> Kernel for PointSum<'_, X, G> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.context;
        let tiles = self.tiles;
        for first in (0..tiles.max(1)).step_by(TILES_AT_A_TIME) {
            // SAFETY: V and E hold all tiles of the point, `sums` its sums.
            unsafe {
                Product {
                    a: self.v.add(first * c.from),
                    a_stride: c.from,
                    transposed: true,
                    b: self.e.add(first * c.to),
                    b_stride: c.to,
                    c: self.sums,
                    c_stride: c.to,
                    rows: c.from,
                    columns: c.to,
                    depth: (tiles - first).min(TILES_AT_A_TIME),
                    add: self.add || first > 0,
                }
                .compute::<S>();
            }
        }
    }
}

/// The points of one group: V from the input, E from the gradient.
struct Points<'a, 'b, X, G> {
    context: &'a Context<'a, X, G>,
    group: Group,
    pixels: &'b mut [Pixels; 2],
    v: (*mut f32, usize),
    e: (*mut f32, usize),
}

impl<X: Source, G: Source> Kernel for Points<'_, '_, X, G> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.context;
        let [inputs, outputs] = self.pixels;
        // SAFETY: V and E hold the group's tiles; input and gradient have the planes of the problem.
        unsafe {
            let v = InputPoints(self.v.0, self.v.1);
            points_of::<S>(&c.inputs, self.group, inputs, (c.input, c.from), &v);
            let e = GradientPoints(self.e.0, self.e.1);
            points_of::<S>(&c.outputs, self.group, outputs, (c.gradient, c.to), &e);
        }
    }
}

/// The points of one task, in one group.
struct TaskPoints<'a, X, G> {
    context: &'a Context<'a, X, G>,
    task: usize,
    v: (*mut f32, usize),
    e: (*mut f32, usize),
}

impl<X: Source, G: Source> Kernel for TaskPoints<'_, X, G> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.context;
        let mut pixels = [
            Pixels::take(&c.grid, &c.inputs, c.from, usize::MAX),
            Pixels::take(&c.grid, &c.outputs, c.to, usize::MAX),
        ];
        for group in c.grid.groups(self.task, usize::MAX) {
            // SAFETY: required of the caller.
            unsafe {
                S::call(Points {
                    context: c,
                    group,
                    pixels: &mut pixels,
                    v: self.v,
                    e: self.e,
                });
            }
        }
    }
}

/// Adds the chunks in order and transforms the sums of 16 outputs to filters `[output, input, 3, 3]`.
struct Filters<'a> {
    sums: &'a [f32],
    chunks: usize,
    from: usize,
    to: usize,
    block: usize,
    target: *mut f32,
}

impl Kernel for Filters<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let plane = self.from * self.to + BLOCK;
        let first = self.block * BLOCK;
        for input in 0..self.from {
            for lane in (0..BLOCK).step_by(S::LANES) {
                // SAFETY: the sums hold all points of all chunks; the filters written are this task's.
                unsafe {
                    let mut points = [[S::zero(); 6]; 6];
                    for (i, row) in points.iter_mut().enumerate() {
                        for (j, value) in row.iter_mut().enumerate() {
                            let at = (i * 6 + j) * plane + input * self.to + first + lane;
                            *value = S::load(self.sums.as_ptr().add(at));
                            for chunk in 1..self.chunks {
                                let part =
                                    S::load(self.sums.as_ptr().add(chunk * POINTS * plane + at));
                                *value = S::add(*value, part);
                            }
                        }
                    }
                    let mut taps = [0f32; 9 * BLOCK];
                    for (i, row) in transform::filter_gradient::<S>(&points)
                        .into_iter()
                        .enumerate()
                    {
                        for (j, value) in row.into_iter().enumerate() {
                            S::store(taps.as_mut_ptr().add((i * 3 + j) * BLOCK), value);
                        }
                    }
                    for output in 0..S::LANES {
                        let filter = self
                            .target
                            .add(((first + lane + output) * self.from + input) * 9);
                        for tap in 0..9 {
                            *filter.add(tap) = taps[tap * BLOCK + output];
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::geometry::{Conv2dGeometry, Problem};
    use super::super::super::transfer::PlaneSource;
    use super::{Context, global, rounds};
    use crate::simd::{BLOCK, Level};

    #[test]
    fn rounds_add_up_to_the_whole() {
        let problem = Problem {
            batch: 31,
            in_channels: 16,
            out_channels: 32,
            input: (8, 8),
            kernel: (3, 3),
            output: (8, 8),
            geometry: Conv2dGeometry::same(3),
        };
        let values = |len: usize| -> Vec<f32> {
            (0..len)
                .map(|i| ((i * 7 + i / 64) % 13) as f32 - 6.0)
                .collect()
        };
        let (x, dy) = (values(problem.input_len()), values(problem.output_len()));
        let planes = |values, channels| PlaneSource {
            values,
            channels,
            pixels: 64,
        };
        let (x, dy) = (planes(&x, 16), planes(&dy, 32));
        let context = Context::new(&problem, &x, &dy);
        assert!(rounds(&context, 1).len() == context.grid.tasks() && context.grid.tasks() > 2);
        assert_eq!(rounds(&context, usize::MAX).len(), 1);
        let [whole, cut] = [usize::MAX, 1].map(|most| global(Level::best(), &context, most));
        for point in whole
            .chunks(context.sum_plane())
            .zip(cut.chunks(context.sum_plane()))
        {
            let used = context.from * context.to;
            assert_eq!(context.sum_plane(), used + BLOCK);
            for (a, b) in point.0[..used].iter().zip(&point.1[..used]) {
                assert!((a - b).abs() <= 1e-4 * (1.0 + a.abs()), "{a} against {b}");
            }
        }
    }
}
