//! Forward pass and input gradient: Σ_taps w · X[offset + position].

use super::super::layout::Layout;
use super::super::pass::{Output, Pass};
use super::super::transfer::{Sink, Source};
use crate::scratch::Scratch;
use crate::simd::{BLOCK, Kernel, Level, Simd};
use crate::threads::for_each;

/// Pixels a task should have, so that its border is cleared seldom.
const PIXELS_AT_LEAST: usize = 1024;

/// Parts that a pass cuts each image into.
pub(super) fn strips(pass: &Pass) -> usize {
    Layout::new(pass).strips(2)
}

/// Computes a pass over `shape.0` images of `shape.1` channels from (weight, bias); an empty bias is none.
pub(super) fn compute(
    level: Level,
    pass: &Pass,
    shape: (usize, usize),
    (weight, bias): (&[f32], &[f32]),
    source: &impl Source,
    sink: &impl Sink,
) {
    let layout = Layout::new(pass);
    let strips = strips(pass);
    let target_pixels = pass.target.0 * pass.target.1;
    let images = (PIXELS_AT_LEAST / target_pixels.max(1)).clamp(1, shape.0.max(1));
    let blocks = shape.1.div_ceil(BLOCK);
    let offsets = pass
        .outputs
        .iter()
        .map(|output| {
            output
                .taps
                .iter()
                .map(|tap| (layout.offset(tap), tap.index))
                .collect()
        })
        .collect();
    let context = Context {
        pass,
        layout: &layout,
        offsets,
        pixel_offsets: (0..target_pixels)
            .map(|pixel| (pixel * BLOCK) as u32)
            .collect(),
        strips,
        images,
        shape,
        source,
        weight,
        bias,
        sink,
    };
    for_each(shape.0.div_ceil(images) * blocks * strips, |task| {
        // SAFETY: each task writes its own rows of its own planes; the level is available.
        unsafe {
            level.call(Task {
                context: &context,
                task,
            })
        };
    });
}

struct Context<'a, From, To> {
    pass: &'a Pass,
    layout: &'a Layout,
    /// For each output, where each tap reads, and its place in the kernel.
    offsets: Vec<Vec<(usize, usize)>>,
    pixel_offsets: Vec<u32>,
    strips: usize,
    images: usize,
    shape: (usize, usize),
    source: &'a From,
    weight: &'a [f32],
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
        let (batch, channels) = c.shape;
        let blocks = channels.div_ceil(BLOCK);
        let (rest, strip) = (self.task / c.strips, self.task % c.strips);
        let (group, block) = (rest / blocks, rest % blocks);
        let rows = c.pass.lattice().0;
        let (first, end) = (rows * strip / c.strips, rows * (strip + 1) / c.strips);
        if first == end {
            return;
        }
        let channel = block * BLOCK;
        let count = (channels - channel).min(BLOCK);
        let width = c.pass.target.1;
        let target_rows = (
            first * c.pass.stride.0,
            (end * c.pass.stride.0).min(c.pass.target.0),
        );
        let pixels = target_rows.0 * width..target_rows.1 * width;
        let mut padded = Scratch::zeros(c.layout.strip_len(end - first));
        let mut values = Scratch::take(pixels.len() * BLOCK);
        let weights = block_weights(c.weight, c.weight.len() / channels, channel, count);
        let mut bias = [0.0; BLOCK];
        if !c.bias.is_empty() {
            bias[..count].copy_from_slice(&c.bias[channel..channel + count]);
        }
        for image in group * c.images..((group + 1) * c.images).min(batch) {
            let channels = channel..channel + count;
            // SAFETY: padded and values (or the window) hold the strip; the sink has all channels.
            unsafe {
                c.layout.load::<S>(
                    c.source,
                    image,
                    channels.clone(),
                    (first, end),
                    padded.as_mut_ptr(),
                );
                let window = c.sink.window(image, channel);
                let window = window.map(|window| window.add(pixels.start * BLOCK));
                let to = window.unwrap_or(values.as_mut_ptr());
                for (output, taps) in c.pass.outputs.iter().zip(&c.offsets) {
                    let sums = Sums {
                        pass: c.pass,
                        layout: c.layout,
                        output,
                        taps,
                        weights: &weights,
                        bias: &bias,
                        padded: &padded,
                    };
                    sums.strip::<S>((first, end), to);
                }
                if window.is_none() {
                    let (from, offsets) = (values.as_ptr(), c.pixel_offsets.as_ptr());
                    c.sink
                        .store::<S>(image, channels.clone(), pixels.clone(), from, offsets);
                }
                c.sink.finish::<S>(image, strip, channels, pixels.clone());
            }
        }
    }
}

/// The weights of `count` channels from `channel` on, `[tap][16]`.
fn block_weights(weight: &[f32], taps: usize, channel: usize, count: usize) -> Scratch {
    let mut weights = Scratch::zeros(taps * BLOCK);
    for lane in 0..count {
        for tap in 0..taps {
            weights[tap * BLOCK + lane] = weight[(channel + lane) * taps + tap];
        }
    }
    weights
}

/// The sums of one output, 16 channels.
struct Sums<'a> {
    pass: &'a Pass,
    layout: &'a Layout,
    output: &'a Output,
    taps: &'a [(usize, usize)],
    weights: &'a [f32],
    bias: &'a [f32; BLOCK],
    padded: &'a [f32],
}

impl Sums<'_> {
    /// Position rows `first..end`, to pixel-major `values`.
    ///
    /// # Safety
    /// `padded` and `values` hold the strip.
    #[inline(always)]
    unsafe fn strip<S: Simd>(&self, (first, end): (usize, usize), values: *mut f32) {
        let pass = self.pass;
        let (row_step, step) = self.layout.steps();
        let columns = self.output.size.1;
        let pieces = columns.div_ceil(8);
        for row in first..end.min(self.output.size.0) {
            let target_row = (row - first) * pass.stride.0 + self.output.first.0;
            for piece in 0..pieces {
                let (left, right) = (columns * piece / pieces, columns * (piece + 1) / pieces);
                let target =
                    target_row * pass.target.1 + self.output.first.1 + left * pass.stride.1;
                // SAFETY: the positions lie inside the strip and the target rows.
                unsafe {
                    let from = self
                        .padded
                        .as_ptr()
                        .add((row - first) * row_step + left * step);
                    let to = values.add(target * BLOCK);
                    let steps = (step, pass.stride.1 * BLOCK);
                    match right - left {
                        1 => self.positions::<S, 1>(from, to, steps),
                        2 => self.positions::<S, 2>(from, to, steps),
                        3 => self.positions::<S, 3>(from, to, steps),
                        4 => self.positions::<S, 4>(from, to, steps),
                        5 => self.positions::<S, 5>(from, to, steps),
                        6 => self.positions::<S, 6>(from, to, steps),
                        7 => self.positions::<S, 7>(from, to, steps),
                        _ => self.positions::<S, 8>(from, to, steps),
                    }
                }
            }
        }
    }

    /// N positions of a row, `steps` floats apart in source and target.
    #[inline(always)]
    unsafe fn positions<S: Simd, const N: usize>(
        &self,
        from: *const f32,
        to: *mut f32,
        steps: (usize, usize),
    ) {
        for lane in (0..BLOCK).step_by(S::LANES) {
            // SAFETY: required of the caller.
            unsafe {
                let mut sums = [S::load(self.bias.as_ptr().add(lane)); N];
                for &(offset, tap) in self.taps {
                    let weight = S::load(self.weights.as_ptr().add(tap * BLOCK + lane));
                    let from = from.add(offset + lane);
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum = S::mul_add(weight, S::load(from.add(j * steps.0)), *sum);
                    }
                }
                for (j, &sum) in sums.iter().enumerate() {
                    S::store(to.add(j * steps.1 + lane), sum);
                }
            }
        }
    }
}
