//! Forward pass and input gradient: Σ_taps w · shifted plane.

use super::super::direct::place;
use super::super::pass::Pass;
use super::planes::Planes;
use crate::scratch::Scratch;
use crate::simd::{Kernel, Level, Simd};
use crate::threads::{Shared, for_each};

/// Channels of a task: enough to make up for clearing the border once.
const CHANNELS: usize = 8;
/// Vectors of pixels in registers.
const VECTORS: usize = 4;

/// Computes a pass over `shape.0` images of `shape.1` channels.
pub(super) fn compute(
    level: Level,
    pass: &Pass,
    shape: (usize, usize),
    source: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let planes = Planes::new(pass);
    let offsets: Vec<Vec<(usize, usize)>> = pass
        .outputs
        .iter()
        .map(|output| {
            output
                .taps
                .iter()
                .map(|tap| (planes.offset(tap), tap.index))
                .collect()
        })
        .collect();
    let taps = weight.len() / shape.1.max(1);
    let len = shape.0 * shape.1 * pass.target.0 * pass.target.1;
    let mut result = Vec::with_capacity(len);
    let context = Context {
        pass,
        planes: &planes,
        offsets: &offsets,
        taps,
        channels: shape.1,
        source,
        weight,
        bias,
        target: Shared(result.as_mut_ptr()),
    };
    for_each(shape.0 * shape.1.div_ceil(CHANNELS), |task| {
        // SAFETY: each task writes its own planes; the level is available.
        unsafe {
            level.call(Task {
                context: &context,
                task,
            })
        };
    });
    // SAFETY: the outputs of a pass cover its target planes.
    unsafe { result.set_len(len) };
    result
}

struct Context<'a> {
    pass: &'a Pass,
    planes: &'a Planes,
    /// For each output, where a tap reads and its place in the kernel.
    offsets: &'a [Vec<(usize, usize)>],
    taps: usize,
    channels: usize,
    source: &'a [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
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
        let tasks = c.channels.div_ceil(CHANNELS);
        let (image, first) = (self.task / tasks, self.task % tasks * CHANNELS);
        let source_pixels = c.pass.source.0 * c.pass.source.1;
        let target_pixels = c.pass.target.0 * c.pass.target.1;
        let (rows, width) = c.planes.lattice;
        let slack = VECTORS * S::LANES;
        let mut copies = Scratch::zeros(c.planes.len() + slack);
        // Narrow maps are computed as if their padded rows were one: else most lanes would idle.
        let flat = width < S::LANES;
        let stride = if flat { c.planes.width } else { width };
        let mut values = Scratch::take(rows * stride + slack);
        for channel in first..(first + CHANNELS).min(c.channels) {
            let start = (image * c.channels + channel) * source_pixels;
            let weights = &c.weight[channel * c.taps..(channel + 1) * c.taps];
            let bias = c.bias.map_or(0.0, |bias| bias[channel]);
            // SAFETY: copies and values have a slack of whole vectors; the plane written is this task's.
            unsafe {
                c.planes
                    .copy::<S>(&c.source[start..start + source_pixels], &mut copies);
                let plane = c.target.at((image * c.channels + channel) * target_pixels);
                for (output, taps) in c.pass.outputs.iter().zip(c.offsets) {
                    let sums = Sums {
                        copies: &copies,
                        weights,
                        taps,
                        bias,
                    };
                    if flat {
                        sums.flat::<S>(rows * stride, values.as_mut_ptr());
                    } else if c.pass.writes_in_place() {
                        sums.rows::<S>(rows, width, c.planes.width, plane);
                        continue;
                    } else {
                        sums.rows::<S>(rows, width, c.planes.width, values.as_mut_ptr());
                    }
                    if c.pass.writes_in_place() {
                        for row in 0..rows {
                            let from = values.as_ptr().add(row * stride);
                            super::planes::copy_vectors::<S>(from, plane.add(row * width), width);
                        }
                    } else {
                        place(c.pass, output, (0, rows), (&values, stride), plane);
                    }
                }
            }
        }
    }
}

/// The sums of one channel.
struct Sums<'a> {
    copies: &'a [f32],
    weights: &'a [f32],
    taps: &'a [(usize, usize)],
    bias: f32,
}

impl Sums<'_> {
    /// All positions as one row.
    #[inline(always)]
    unsafe fn flat<S: Simd>(&self, count: usize, to: *mut f32) {
        for position in (0..count).step_by(VECTORS * S::LANES) {
            // SAFETY: copies and target have a slack of whole vectors.
            unsafe {
                let at = std::array::from_fn(|j| position + j * S::LANES);
                for (j, sum) in self.vectors::<S, VECTORS>(at).into_iter().enumerate() {
                    S::store(to.add(position + j * S::LANES), sum);
                }
            }
        }
    }

    /// Row by row, four vectors at a time, which may span rows.
    #[inline(always)]
    unsafe fn rows<S: Simd>(&self, rows: usize, width: usize, stride: usize, to: *mut f32) {
        let across = width.div_ceil(S::LANES);
        let count = rows * across;
        let mut next = 0;
        let (mut row, mut column) = (0, 0);
        while next < count {
            let mut places = [(0, 0); VECTORS];
            for (j, place) in places.iter_mut().enumerate() {
                *place = if next + j < count {
                    (row, column)
                } else {
                    (rows - 1, 0)
                };
                column += S::LANES;
                if column >= width {
                    (row, column) = (row + 1, 0);
                }
            }
            // SAFETY: the positions lie inside the copies; stores end with the row.
            unsafe {
                let sums =
                    self.vectors::<S, VECTORS>(places.map(|(row, column)| row * stride + column));
                for (j, sum) in sums.into_iter().enumerate() {
                    if next + j < count {
                        let (row, column) = places[j];
                        let to = to.add(row * width + column);
                        if column + S::LANES <= width {
                            S::store(to, sum);
                        } else {
                            S::store_first(to, width - column, sum);
                        }
                    }
                }
            }
            next += VECTORS;
        }
    }

    /// N vectors of positions.
    #[inline(always)]
    unsafe fn vectors<S: Simd, const N: usize>(&self, positions: [usize; N]) -> [S::Vector; N] {
        // SAFETY: required of the caller.
        unsafe {
            let mut sums = [S::splat(self.bias); N];
            for &(offset, tap) in self.taps {
                let weight = S::splat(*self.weights.get_unchecked(tap));
                let from = self.copies.as_ptr().add(offset);
                for (sum, &position) in sums.iter_mut().zip(&positions) {
                    *sum = S::mul_add(weight, S::load(from.add(position)), *sum);
                }
            }
            sums
        }
    }
}
