//! Direct weight gradient, lanes = 16 input channels: dW[k] = Σ_p dY[p][k] · X[p + offset].
//!
//! Input and output gradient are turned pixel-major; a register tile holds M output channels times
//! N vectors and runs over all pixels of some images. Images are cut into fixed chunks with sums of their own.

mod collect;
mod panel;
mod pixels;
mod plan;

use super::super::geometry::Problem;
use super::super::transfer::{PlaneSource, Source, written};
use crate::scratch::Scratch;
use crate::simd::{BLOCK, Kernel, Level, Simd};
use crate::threads::{Shared, for_each};
use collect::Collect;
use panel::Panel;
use plan::{Input, Plan};

/// Tasks of a group of channels: runs of images times parts of the output channels.
const TASKS: usize = 8;
/// Floats of sums (16 MiB) that are not kept once a chunk.
const LARGE: usize = 4 << 20;
/// Pixels that a register tile should run over before its sums are stored.
const PIXELS_AT_LEAST: usize = 256;

/// From planes.
pub(in super::super::super) fn compute(
    level: Level,
    problem: &Problem,
    input: &[f32],
    gradient: &[f32],
) -> Vec<f32> {
    if problem.group_in() < BLOCK {
        return pixels::compute(level, problem, input, gradient);
    }
    let planes = |values, channels, pixels| PlaneSource {
        values,
        channels,
        pixels,
    };
    let source = planes(input, problem.in_channels, problem.input_pixels());
    let gradient = planes(gradient, problem.out_channels, problem.output_pixels());
    sum(
        level,
        problem,
        &Plan::new(problem),
        (&source, input),
        &gradient,
    )
}

/// From anything, groups of at least 16 input channels.
pub(in super::super::super) fn compute_from(
    level: Level,
    problem: &Problem,
    input: &impl Source,
    gradient: &impl Source,
) -> Vec<f32> {
    sum(
        level,
        problem,
        &Plan::padded(problem),
        (input, &[]),
        gradient,
    )
}

/// `planes` is the input as planes; only plans that lay out columns read it.
fn sum(
    level: Level,
    problem: &Problem,
    plan: &Plan,
    (input, planes): (&impl Source, &[f32]),
    gradient: &impl Source,
) -> Vec<f32> {
    let parts = (problem.group_out() / 64).clamp(1, 4);
    let filter = plan.vectors.len() * BLOCK;
    let len = problem.out_channels * filter;
    // Adding up large sums costs more than a few tasks less.
    let tasks = if len > LARGE { parts } else { TASKS };
    let chunks = (tasks / parts).min(problem.batch).max(1);
    let mut sums = Scratch::take(chunks * len);
    let to = Shared(sums.as_mut_ptr());
    let context = Context {
        problem,
        plan,
        parts,
        chunks,
        input,
        planes,
        gradient,
    };
    for_each(chunks * problem.geometry.groups * parts, |task| {
        let chunk = task / (problem.geometry.groups * parts);
        // SAFETY: each task writes the sums of its own output channels in its own chunk.
        unsafe {
            level.call(Task {
                context: &context,
                task,
                sums: to.at(chunk * len),
            })
        };
    });
    // SAFETY: every filter is written as a whole: its places are all there are.
    unsafe {
        written(problem.weight_len(), |result| {
            for_each(problem.out_channels, |channel| {
                level.call(Collect {
                    problem,
                    plan,
                    sums: &sums,
                    len,
                    channel,
                    to: result.at(channel * problem.group_in() * problem.taps()),
                });
            });
        })
    }
}

struct Context<'a, X, G> {
    problem: &'a Problem,
    plan: &'a Plan,
    parts: usize,
    chunks: usize,
    input: &'a X,
    planes: &'a [f32],
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
        let (p, plan) = (c.problem, c.plan);
        let (rest, part) = (self.task / c.parts, self.task % c.parts);
        let (chunk, group) = (rest / p.geometry.groups, rest % p.geometry.groups);
        let images = (p.batch * chunk / c.chunks, p.batch * (chunk + 1) / c.chunks);
        // Parts are whole blocks of channels.
        let group_blocks = p.group_out().div_ceil(BLOCK);
        let outputs = [part, part + 1].map(|part| {
            let inside = group_blocks * part / c.parts * BLOCK;
            group * p.group_out() + inside.min(p.group_out())
        });
        let outputs = (outputs[0], outputs[1]);
        let blocks = (outputs.1 - outputs.0).div_ceil(BLOCK);
        let pixels = p.output_pixels();
        let at_a_time = PIXELS_AT_LEAST
            .div_ceil(pixels)
            .min(images.1 - images.0)
            .max(1);
        let mut x = Scratch::zeros(at_a_time * plan.image_len);
        let mut dy = Scratch::take(at_a_time * blocks * pixels * BLOCK);
        let pixel_offsets: Vec<u32> = (0..pixels).map(|pixel| (pixel * BLOCK) as u32).collect();
        let filter = plan.vectors.len() * BLOCK;
        for first in (images.0..images.1).step_by(at_a_time) {
            let count = at_a_time.min(images.1 - first);
            for (image, x) in x.chunks_exact_mut(plan.image_len).enumerate().take(count) {
                // SAFETY: the machine has `S`.
                unsafe { lay_out::<S>(c, &pixel_offsets, (first + image, group), x) };
            }
            for (image, dy) in dy
                .chunks_exact_mut(blocks * pixels * BLOCK)
                .enumerate()
                .take(count)
            {
                // SAFETY: as above.
                unsafe { turn::<S>(c, &pixel_offsets, first + image, outputs, dy) };
            }
            // SAFETY: x and dy hold `count` images; the sums those of all channels.
            unsafe {
                let base = Panel::<1> {
                    plan,
                    images: count,
                    pixels,
                    blocks,
                    outputs: outputs.1 - outputs.0,
                    x: x.as_ptr(),
                    dy: dy.as_ptr(),
                    offsets: [0; 1],
                    sums: self.sums.add(outputs.0 * filter),
                    filter,
                    add: first > images.0,
                };
                vectors::<S>(&base);
            }
        }
    }
}

/// Cuts all vectors into panels of up to 3.
#[inline(always)]
unsafe fn vectors<S: Simd>(base: &Panel<1>) {
    let pieces = BLOCK / S::LANES;
    let count = base.plan.vectors.len() * pieces;
    let most = if S::REGISTERS == 32 { 3 } else { 2 };
    let place =
        |index: usize| base.plan.vectors[index / pieces] as usize + index % pieces * S::LANES;
    let mut done = 0;
    while done < count {
        // SAFETY: required of the caller.
        unsafe {
            let sums = base.sums.add(done * S::LANES);
            match (count - done).min(most) {
                1 => S::call(base.at::<1>([place(done)], sums)),
                3 if S::REGISTERS == 32 => {
                    S::call(base.at::<3>([place(done), place(done + 1), place(done + 2)], sums));
                }
                _ => S::call(base.at::<2>([place(done), place(done + 1)], sums)),
            }
        }
        done += (count - done).min(most);
    }
}

/// Lays out one image's channels of a group.
#[inline(always)]
unsafe fn lay_out<S: Simd>(
    c: &Context<impl Source, impl Source>,
    pixel_offsets: &[u32],
    (image, group): (usize, usize),
    x: &mut [f32],
) {
    let p = c.problem;
    let pixels = p.input_pixels();
    let first = group * p.group_in();
    match &c.plan.input {
        Input::Padded { offsets } => {
            let blocks = p.group_in().div_ceil(BLOCK);
            for (block, x) in x.chunks_exact_mut(c.plan.image_len / blocks).enumerate() {
                let channel = first + block * BLOCK;
                let channels = channel..(channel + BLOCK).min(first + p.group_in());
                // SAFETY: the offsets lie inside the block.
                unsafe {
                    let offsets = offsets.as_ptr();
                    c.input
                        .load::<S>(image, channels, 0..pixels, x.as_mut_ptr(), offsets);
                }
            }
        }
        Input::Columns { planes, taps } => {
            let start = (image * p.in_channels + first) * pixels;
            let source = &c.planes[start..start + p.group_in() * pixels];
            let len = planes.channel_len(p.output.0);
            let mut copies = Scratch::take(p.group_in() * len);
            for (channel, copies) in copies.chunks_exact_mut(len.max(1)).enumerate() {
                // SAFETY: the machine has `S`.
                unsafe {
                    planes.copy::<S>(&source[channel * pixels..][..pixels], 0, p.output.0, copies)
                };
            }
            let out_pixels = p.output_pixels();
            for (taps, x) in taps
                .chunks(BLOCK)
                .zip(x.chunks_exact_mut(out_pixels * BLOCK))
            {
                let rows: [usize; BLOCK] =
                    std::array::from_fn(|i| taps.get(i).map_or(0, |&tap| tap as usize));
                for pixel in (0..out_pixels).step_by(BLOCK) {
                    let columns = (out_pixels - pixel).min(BLOCK);
                    // SAFETY: every tap's copies hold all output pixels.
                    unsafe {
                        let from = copies.as_ptr().add(pixel);
                        let offsets = pixel_offsets[pixel..].as_ptr();
                        S::gather_pixels(
                            from,
                            &rows[..taps.len()],
                            columns,
                            x.as_mut_ptr(),
                            offsets,
                        );
                    }
                }
            }
        }
    }
}

/// Turns one image's gradient, output channels `outputs`, to `[block][pixel][16 channels]`.
#[inline(always)]
unsafe fn turn<S: Simd>(
    c: &Context<impl Source, impl Source>,
    pixel_offsets: &[u32],
    image: usize,
    outputs: (usize, usize),
    dy: &mut [f32],
) {
    let pixels = c.problem.output_pixels();
    for (block, dy) in dy.chunks_exact_mut(pixels * BLOCK).enumerate() {
        let first = outputs.0 + block * BLOCK;
        // SAFETY: the pixels lie inside the block.
        unsafe {
            let channels = first..outputs.1.min(first + BLOCK);
            let offsets = pixel_offsets.as_ptr();
            c.gradient
                .load::<S>(image, channels, 0..pixels, dy.as_mut_ptr(), offsets);
        }
    }
}
