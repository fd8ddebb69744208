//! The weight gradient of few input channels, lanes = output pixels: dW[k][t] = Σ_p dY[k][p] · X[p + offset(t)].
//!
//! In shifted planes a tap is an offset, so both sides are read as they lie and nothing is turned:
//! for few channels that takes longer than the arithmetic. A register tile holds M output channels
//! times N taps; its lanes are added up at the end of a run of images.

use super::super::super::geometry::Problem;
use super::super::super::pass::Pass;
use super::super::planes::Planes;
use super::{PIXELS_AT_LEAST, TASKS};
use crate::scratch::Scratch;
use crate::simd::{Kernel, Level, Simd};
use crate::threads::{Shared, for_each, for_each_chunk};

/// Output channels and taps of a register tile, by registers.
const fn tile_size(registers: usize) -> (usize, usize) {
    match registers {
        32 => (4, 6),
        _ => (2, 4),
    }
}

pub(super) fn compute(
    level: Level,
    problem: &Problem,
    input: &[f32],
    gradient: &[f32],
) -> Vec<f32> {
    let pass = Pass::forward(problem);
    let planes = Planes::new(&pass);
    let rows = problem.output.0;
    let channel_len = planes.channel_len(rows);
    let (mut offsets, mut places) = (Vec::new(), Vec::new());
    for channel in 0..problem.group_in() {
        for tap in pass.taps() {
            offsets.push(channel * channel_len + planes.offset(tap, rows));
            places.push(channel * problem.taps() + tap.index);
        }
    }
    let chunks = TASKS.min(problem.batch).max(1);
    let len = problem.out_channels * offsets.len();
    let mut sums = Scratch::take(chunks * len);
    let to = Shared(sums.as_mut_ptr());
    let context = Context {
        problem,
        planes: &planes,
        offsets: &offsets,
        image_len: problem.group_in() * channel_len,
        chunks,
        input,
        gradient,
    };
    for_each(chunks * problem.geometry.groups, |task| {
        let chunk = task / problem.geometry.groups;
        // SAFETY: each task writes the sums of its own output channels in its own chunk.
        unsafe {
            level.call(Task {
                context: &context,
                task,
                sums: to.at(chunk * len),
            })
        };
    });
    let mut result = vec![0.0; problem.weight_len()];
    for_each_chunk(&mut result, places.len(), |channel, weights| {
        for (tap, &place) in places.iter().enumerate() {
            let part = |chunk: usize| sums[chunk * len + channel * places.len() + tap];
            weights[place] = (0..chunks).map(part).sum();
        }
    });
    result
}

struct Context<'a> {
    problem: &'a Problem,
    planes: &'a Planes,
    /// Where each tap of each channel reads in an image's copies.
    offsets: &'a [usize],
    /// Floats of one image's copies.
    image_len: usize,
    chunks: usize,
    input: &'a [f32],
    gradient: &'a [f32],
}

/// The output channels of a group, a chunk of images.
struct Task<'a> {
    context: &'a Context<'a>,
    task: usize,
    /// `[output channel][tap]`
    sums: *mut f32,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.context;
        let p = c.problem;
        let groups = p.geometry.groups;
        let (chunk, group) = (self.task / groups, self.task % groups);
        let images = (p.batch * chunk / c.chunks, p.batch * (chunk + 1) / c.chunks);
        let pixels = p.output_pixels();
        let at_a_time = (PIXELS_AT_LEAST / pixels.max(1)).clamp(1, (images.1 - images.0).max(1));
        let mut x = Scratch::take(at_a_time * c.image_len);
        let mut lanes = Scratch::zeros(p.group_out() * c.offsets.len() * S::LANES);
        for first in (images.0..images.1).step_by(at_a_time) {
            let count = at_a_time.min(images.1 - first);
            for image in 0..count {
                let start =
                    ((first + image) * p.in_channels + group * p.group_in()) * p.input_pixels();
                let source = &c.input[start..start + p.group_in() * p.input_pixels()];
                let copies = &mut x[image * c.image_len..(image + 1) * c.image_len];
                let copies = copies.chunks_exact_mut((c.image_len / p.group_in()).max(1));
                for (plane, copies) in source.chunks_exact(p.input_pixels()).zip(copies) {
                    // SAFETY: the machine has `S`.
                    unsafe { c.planes.copy::<S>(plane, 0, p.output.0, copies) };
                }
            }
            let start = (first * p.out_channels + group * p.group_out()) * pixels;
            // SAFETY: x holds `count` images, `lanes` all outputs and taps.
            unsafe {
                S::call(Images {
                    context: c,
                    count,
                    x: x.as_ptr(),
                    dy: c.gradient[start..].as_ptr(),
                    lanes: lanes.as_mut_ptr(),
                });
            }
        }
        let first = group * p.group_out() * c.offsets.len();
        for (index, lanes) in lanes.chunks_exact(S::LANES).enumerate() {
            // SAFETY: the task's own sums.
            unsafe { *self.sums.add(first + index) = lanes.iter().sum() };
        }
    }
}

/// Adds some images to the lanes of all output channels and taps of a group.
struct Images<'a> {
    context: &'a Context<'a>,
    count: usize,
    x: *const f32,
    /// The first image's output channels of the group.
    dy: *const f32,
    /// `[output channel][tap][lane]`
    lanes: *mut f32,
}

impl Kernel for Images<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (most_outputs, most_taps) = tile_size(S::REGISTERS);
        let (outputs, taps) = (self.context.problem.group_out(), self.context.offsets.len());
        let (high, wide) = (outputs.div_ceil(most_outputs), taps.div_ceil(most_taps));
        for column in 0..wide {
            let tap = (taps * column / wide, taps * (column + 1) / wide);
            for row in 0..high {
                let output = (outputs * row / high, outputs * (row + 1) / high);
                // SAFETY: required of the caller.
                unsafe {
                    match output.1 - output.0 {
                        1 => self.outputs::<S, 1>(output.0, tap),
                        2 => self.outputs::<S, 2>(output.0, tap),
                        3 if S::REGISTERS == 32 => self.outputs::<S, 3>(output.0, tap),
                        4 if S::REGISTERS == 32 => self.outputs::<S, 4>(output.0, tap),
                        _ => {}
                    }
                }
            }
        }
    }
}

impl Images<'_> {
    /// M output channels from `first` on, taps `tap.0..tap.1`.
    #[inline(always)]
    unsafe fn outputs<S: Simd, const M: usize>(&self, first: usize, tap: (usize, usize)) {
        // SAFETY: required of the caller.
        unsafe {
            match tap.1 - tap.0 {
                1 => self.tile::<S, M, 1>(first, tap.0),
                2 => self.tile::<S, M, 2>(first, tap.0),
                3 => self.tile::<S, M, 3>(first, tap.0),
                4 => self.tile::<S, M, 4>(first, tap.0),
                5 if S::REGISTERS == 32 => self.tile::<S, M, 5>(first, tap.0),
                6 if S::REGISTERS == 32 => self.tile::<S, M, 6>(first, tap.0),
                _ => {}
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const N: usize>(&self, output: usize, tap: usize) {
        let c = self.context;
        let (pixels, taps) = (c.problem.output_pixels(), c.offsets.len());
        let whole = pixels / S::LANES * S::LANES;
        // SAFETY: required of the caller.
        unsafe {
            let mut sums = [[S::zero(); N]; M];
            for image in 0..self.count {
                let dy = self
                    .dy
                    .add((image * c.problem.out_channels + output) * pixels);
                let image = self.x.add(image * c.image_len);
                let x: [*const f32; N] = std::array::from_fn(|j| image.add(c.offsets[tap + j]));
                for pixel in (0..whole).step_by(S::LANES) {
                    let x = x.map(|x| S::load(x.add(pixel)));
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let dy = S::load(dy.add(i * pixels + pixel));
                        for (sum, &x) in sums.iter_mut().zip(&x) {
                            *sum = S::mul_add(dy, x, *sum);
                        }
                    }
                }
                if whole < pixels {
                    let rest = pixels - whole;
                    // What lies behind the last pixel belongs to others: it may be NaN.
                    let x = x.map(|x| S::load_first(x.add(whole), rest));
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let dy = S::load_first(dy.add(i * pixels + whole), rest);
                        for (sum, &x) in sums.iter_mut().zip(&x) {
                            *sum = S::mul_add(dy, x, *sum);
                        }
                    }
                }
            }
            for (i, sums) in sums.iter().enumerate() {
                for (j, &sum) in sums.iter().enumerate() {
                    let to = self.lanes.add(((output + i) * taps + tap + j) * S::LANES);
                    S::store(to, S::add(S::load(to), sum));
                }
            }
        }
    }
}
