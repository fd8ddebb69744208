//! dw[tap] = Σ_images,positions dY · X[offset + position], 16 channels and some images a task.

use super::super::geometry::Problem;
use super::super::layout::Layout;
use super::super::pass::Pass;
use super::super::transfer::Source;
use crate::scratch::Scratch;
use crate::simd::{BLOCK, Kernel, Level, Simd};
use crate::threads::{Shared, for_each, for_each_chunk};

/// Tasks there should be; runs of images have sums of their own, added in order.
const TASKS: usize = 8;
/// Taps summed at once.
const TAPS: usize = 9;

pub(in super::super) fn compute(
    level: Level,
    problem: &Problem,
    input: &impl Source,
    gradient: &impl Source,
) -> Vec<f32> {
    let pass = Pass::forward(problem);
    let layout = Layout::new(&pass);
    let mut offsets = vec![0; problem.taps()];
    for tap in pass.taps() {
        offsets[tap.index] = layout.offset(tap);
    }
    let blocks = problem.in_channels.div_ceil(BLOCK);
    let chunks = TASKS.div_ceil(blocks).min(problem.batch);
    let len = problem.taps() * BLOCK;
    let mut sums = Scratch::zeros(chunks * blocks * len);
    let to = Shared(sums.as_mut_ptr());
    let context = Context {
        problem,
        layout: &layout,
        offsets: &offsets,
        pixel_offsets: (0..problem.output_pixels())
            .map(|pixel| (pixel * BLOCK) as u32)
            .collect(),
        chunks,
        input,
        gradient,
    };
    for_each(chunks * blocks, |task| {
        // SAFETY: each task writes its own sums; the level is available.
        unsafe {
            level.call(Task {
                context: &context,
                task,
                sums: to.at(task * len),
            })
        };
    });
    let mut result = vec![0.0; problem.weight_len()];
    for_each_chunk(&mut result, problem.taps(), |channel, weights| {
        let (block, lane) = (channel / BLOCK, channel % BLOCK);
        for (tap, weight) in weights.iter_mut().enumerate() {
            let part = |chunk: usize| sums[(block * chunks + chunk) * len + tap * BLOCK + lane];
            *weight = (0..chunks).map(part).sum();
        }
    });
    result
}

struct Context<'a, X, G> {
    problem: &'a Problem,
    layout: &'a Layout,
    offsets: &'a [usize],
    pixel_offsets: Vec<u32>,
    chunks: usize,
    input: &'a X,
    gradient: &'a G,
}

struct Task<'a, X, G> {
    context: &'a Context<'a, X, G>,
    task: usize,
    sums: *mut f32,
}

impl<X: Source, G: Source> Kernel for Task<'_, X, G> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.context;
        let p = c.problem;
        let (block, chunk) = (self.task / c.chunks, self.task % c.chunks);
        let images = (p.batch * chunk / c.chunks, p.batch * (chunk + 1) / c.chunks);
        let channel = block * BLOCK;
        let count = (p.in_channels - channel).min(BLOCK);
        let rows = p.output.0;
        // Strips of rows that fit the cache, one after the other.
        let strips = c.layout.strips(2);
        let most = rows.div_ceil(strips);
        let mut x = Scratch::take(c.layout.strip_len(most));
        let mut dy = Scratch::take(most * p.output.1 * BLOCK);
        for strip in 0..strips {
            let (first, end) = (rows * strip / strips, rows * (strip + 1) / strips);
            if first == end {
                continue;
            }
            x.fill(0.0);
            for image in images.0..images.1 {
                let channels = channel..channel + count;
                // SAFETY: x and dy hold the strip; the sums a vector a tap.
                unsafe {
                    let rows = (first, end);
                    c.layout
                        .load::<S>(c.input, image, channels.clone(), rows, x.as_mut_ptr());
                    let pixels = first * p.output.1..end * p.output.1;
                    let offsets = c.pixel_offsets.as_ptr();
                    c.gradient
                        .load::<S>(image, channels, pixels, dy.as_mut_ptr(), offsets);
                    self.add::<S>(&x, &dy, end - first);
                }
            }
        }
    }
}

impl<X: Source, G: Source> Task<'_, X, G> {
    /// Adds `rows` rows of positions to the sums of all taps.
    #[inline(always)]
    unsafe fn add<S: Simd>(&self, x: &[f32], dy: &[f32], rows: usize) {
        let offsets = self.context.offsets;
        let mut done = 0;
        while done < offsets.len() {
            // SAFETY: required of the caller.
            unsafe {
                done += match offsets.len() - done {
                    TAPS.. => self.taps::<S, TAPS>(x, dy, rows, done),
                    4..TAPS => self.taps::<S, 4>(x, dy, rows, done),
                    _ => self.taps::<S, 1>(x, dy, rows, done),
                };
            }
        }
    }

    /// N taps from `first` on; returns N.
    #[inline(always)]
    unsafe fn taps<S: Simd, const N: usize>(
        &self,
        x: &[f32],
        dy: &[f32],
        rows: usize,
        first: usize,
    ) -> usize {
        let c = self.context;
        let (row_step, step) = c.layout.steps();
        for lane in (0..BLOCK).step_by(S::LANES) {
            // SAFETY: required of the caller.
            unsafe {
                let to = self.sums.add(first * BLOCK + lane);
                let mut sums = [S::zero(); N];
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = S::load(to.add(j * BLOCK));
                }
                let offsets: [usize; N] = std::array::from_fn(|j| c.offsets[first + j] + lane);
                let mut gradient = dy.as_ptr().add(lane);
                for row in 0..rows {
                    let mut from = x.as_ptr().wrapping_add(row * row_step);
                    for _ in 0..c.problem.output.1 {
                        let value = S::load(gradient);
                        for (sum, &offset) in sums.iter_mut().zip(&offsets) {
                            *sum = S::mul_add(value, S::load(from.add(offset)), *sum);
                        }
                        gradient = gradient.add(BLOCK);
                        from = from.wrapping_add(step);
                    }
                }
                for (j, &sum) in sums.iter().enumerate() {
                    S::store(to.add(j * BLOCK), sum);
                }
            }
        }
        N
    }
}
