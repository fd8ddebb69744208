//! The pass itself: gather, register tiles, scatter.

use super::super::layout::Layout;
use super::super::pass::{Channels, Output, Pass};
use super::super::transfer::{Sink, Source};
use super::weights::Weights;
use crate::scratch::Scratch;
use crate::simd::{BLOCK, Kernel, Level, Simd};
use crate::threads::for_each;
use std::ops::Range;

/// Tasks that a pass is cut into at least, where its planes have rows enough.
const TASKS_AT_LEAST: usize = 4;

/// Floats of a panel's weights that are read again and again before the next: 256 KiB.
const WEIGHTS_AT_MOST: usize = 64 << 10;
/// Floats of weights (4 MiB) from which a pass had better read them once an image: tasks then share
/// an image's panels, not its rows.
const MANY_WEIGHTS: usize = 1 << 20;

/// Pixels of a register tile.
const fn tile_pixels<S: Simd>() -> usize {
    match (S::REGISTERS, S::LANES) {
        (32, 16) => 8,
        (32, _) | (16, _) => 6,
        _ => 2,
    }
}

/// Target channels of a panel: two vectors, but whole blocks.
fn panel_channels(lanes: usize) -> usize {
    (2 * lanes).max(BLOCK)
}

/// Parts that a pass cuts each image into.
pub(super) fn strips(pass: &Pass, channels: &Channels, batch: usize) -> usize {
    let layout = Layout::new(pass);
    let rows = pass.lattice().0.max(1);
    if has_many_weights(pass, channels) {
        // Each strip reads all weights, and the rows that its taps span.
        let of_span = layout.strips_of_span();
        return layout
            .strips(channels.source / BLOCK)
            .min(of_span)
            .min(rows);
    }
    let least = TASKS_AT_LEAST.div_ceil((batch * channels.groups).max(1));
    layout
        .strips(channels.source / BLOCK)
        .max(least)
        .clamp(1, rows)
}

/// Is reading the weights most of the work?
fn has_many_weights(pass: &Pass, channels: &Channels) -> bool {
    channels.source * channels.target * pass.taps().count() >= MANY_WEIGHTS
}

/// Parts that the target channels of a group are cut into, where `tasks` images and strips are few.
fn parts(pass: &Pass, channels: &Channels, tasks: usize) -> usize {
    if !has_many_weights(pass, channels) {
        return 1;
    }
    TASKS_AT_LEAST
        .div_ceil((tasks * channels.groups).max(1))
        .min(channels.target.div_ceil(2 * BLOCK))
}

/// Computes a pass over (batch, weight, bias); an empty bias is none.
pub(super) fn compute(
    level: Level,
    pass: &Pass,
    channels: &Channels,
    (batch, weight, bias): (usize, &[f32], &[f32]),
    source: &impl Source,
    sink: &impl Sink,
) {
    let layout = Layout::new(pass);
    let strips = strips(pass, channels, batch);
    let parts = parts(pass, channels, batch * strips);
    let no_bias = bias
        .is_empty()
        .then(|| vec![0.0; channels.groups * channels.target]);
    let context = Context {
        pass,
        channels,
        weights: pass
            .outputs
            .iter()
            .map(|output| {
                Weights::new(
                    level,
                    output,
                    channels,
                    weight,
                    panel_channels(level.lanes()),
                )
            })
            .collect(),
        layout: &layout,
        pixel_offsets: (0..pass.target.0 * pass.target.1)
            .map(|pixel| (pixel * BLOCK) as u32)
            .collect(),
        strips,
        parts,
        source,
        bias: no_bias.as_deref().unwrap_or(bias),
        sink,
    };
    for_each(batch * channels.groups * strips * parts, |task| {
        // SAFETY: each task writes its own rows of its own channels; the level is available.
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
    channels: &'a Channels,
    weights: Vec<Weights>,
    layout: &'a Layout,
    pixel_offsets: Vec<u32>,
    strips: usize,
    parts: usize,
    source: &'a From,
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
        let (rest, part) = (self.task / c.parts, self.task % c.parts);
        let (image_group, strip) = (rest / c.strips, rest % c.strips);
        let (image, group) = (
            image_group / c.channels.groups,
            image_group % c.channels.groups,
        );
        let rows = c.pass.lattice().0;
        let (first, end) = (rows * strip / c.strips, rows * (strip + 1) / c.strips);
        if first == end {
            return;
        }
        let block_len = c.layout.strip_len(end - first);
        let mut padded = Scratch::zeros(c.channels.source / BLOCK * block_len);
        for (block, padded) in padded.chunks_exact_mut(block_len).enumerate() {
            let start = group * c.channels.source + block * BLOCK;
            // SAFETY: 16 channels, and the strip's length.
            unsafe {
                c.layout.load::<S>(
                    c.source,
                    image,
                    start..start + BLOCK,
                    (first, end),
                    padded.as_mut_ptr(),
                );
            }
        }
        let width = c.pass.target.1;
        let target_rows = (
            first * c.pass.stride.0,
            (end * c.pass.stride.0).min(c.pass.target.0),
        );
        let pixels = target_rows.0 * width..target_rows.1 * width;
        let mut values = Scratch::take(panel_channels(S::LANES) * pixels.len());
        // Panels of all outputs have the same channels: turn each back when its outputs are done.
        let panel = panel_channels(S::LANES);
        let panels = c.channels.target.div_ceil(panel);
        for index in panels * part / c.parts..panels * (part + 1) / c.parts {
            let start = index * panel;
            let count = panel.min(c.channels.target - start);
            let channel = group * c.channels.target + start;
            for (output, weights) in c.pass.outputs.iter().zip(&c.weights) {
                let Some((_, _, weights)) = weights.panels(group).nth(index) else {
                    continue;
                };
                let panel = Panel {
                    pass: c.pass,
                    layout: c.layout,
                    channels: c.channels.source,
                    output,
                    weights,
                    bias: &c.bias[channel..][..count],
                    padded: &padded,
                    block_len,
                    rows: (first, end),
                    to: values.as_mut_ptr(),
                    block_stride: pixels.len() * BLOCK,
                };
                // SAFETY: padded and values hold the strip.
                unsafe {
                    match count / S::LANES {
                        1 => S::call(Wide::<1>(panel)),
                        4 if S::LANES == 4 => S::call(Wide::<4>(panel)),
                        _ => S::call(Wide::<2>(panel)),
                    }
                }
            }
            // SAFETY: the sink has all channels; values hold the panel.
            unsafe {
                for block in (0..count).step_by(BLOCK) {
                    let channels = channel + block..channel + block + BLOCK;
                    let from = values.as_ptr().add(block * pixels.len());
                    c.sink.store::<S>(
                        image,
                        channels.clone(),
                        pixels.clone(),
                        from,
                        c.pixel_offsets.as_ptr(),
                    );
                    c.sink.finish::<S>(image, strip, channels, pixels.clone());
                }
            }
        }
    }
}

/// One output's target channels of a panel, for a strip.
struct Panel<'a> {
    pass: &'a Pass,
    layout: &'a Layout,
    /// Source channels of the group.
    channels: usize,
    output: &'a Output,
    weights: &'a [f32],
    bias: &'a [f32],
    padded: &'a [f32],
    block_len: usize,
    rows: (usize, usize),
    /// `[block][pixel][16]`
    to: *mut f32,
    block_stride: usize,
}

/// A panel of N vectors.
struct Wide<'a, const N: usize>(Panel<'a>);

impl<const N: usize> Kernel for Wide<'_, N> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let p = self.0;
        let taps = p.output.taps.len();
        let a_tap = (p.channels * N * S::LANES).max(1);
        // Where all taps together do not stay in the cache, some at a time do, for all positions.
        let at_once = match taps * a_tap > 2 * WEIGHTS_AT_MOST {
            true => (WEIGHTS_AT_MOST / a_tap).max(1),
            false => taps.max(1),
        };
        for first in (0..taps.max(1)).step_by(at_once) {
            let range = first..(first + at_once).min(taps);
            // SAFETY: required of the caller.
            unsafe {
                match p.layout.is_column() {
                    true => p.column::<S, N>(range),
                    false => p.rows::<S, N>(range),
                }
            }
        }
    }
}

impl Panel<'_> {
    /// Adds some taps to all positions, tile by tile along each row.
    #[inline(always)]
    unsafe fn rows<S: Simd, const N: usize>(&self, range: Range<usize>) {
        let (row_step, step) = self.layout.steps();
        let columns = self.output.size.1;
        let pieces = columns.div_ceil(tile_pixels::<S>());
        let mut taps = Vec::with_capacity(range.len());
        for row in self.rows.0..self.rows.1.min(self.output.size.0) {
            self.reaching(&range, row..row + 1, &mut taps);
            let target_row = (row - self.rows.0) * self.pass.stride.0 + self.output.first.0;
            for piece in 0..pieces {
                let (left, right) = (columns * piece / pieces, columns * (piece + 1) / pieces);
                let target = target_row * self.pass.target.1
                    + self.output.first.1
                    + left * self.pass.stride.1;
                // SAFETY: the positions lie inside the strip and the target rows.
                unsafe {
                    let from = (row - self.rows.0) * row_step + left * step;
                    let tile = Tile {
                        panel: self,
                        taps: &taps,
                        add: range.start > 0,
                        from: self.padded.as_ptr().add(from),
                        step,
                        to: self.to.add(target * BLOCK),
                        to_step: self.pass.stride.1 * BLOCK,
                    };
                    tile.positions::<S, N>(right - left);
                }
            }
        }
    }

    /// The same where each row is one pixel: tiles run down the column.
    #[inline(always)]
    unsafe fn column<S: Simd, const N: usize>(&self, range: Range<usize>) {
        let (step, _) = self.layout.steps();
        let (top, bottom) = (self.rows.0, self.rows.1.min(self.output.size.0));
        let count = bottom.saturating_sub(top);
        let pieces = count.div_ceil(tile_pixels::<S>());
        let mut taps = Vec::with_capacity(range.len());
        for piece in 0..pieces {
            let (first, end) = (count * piece / pieces, count * (piece + 1) / pieces);
            self.reaching(&range, top + first..top + end, &mut taps);
            let target_row = first * self.pass.stride.0 + self.output.first.0;
            let target = target_row * self.pass.target.1 + self.output.first.1;
            // SAFETY: the positions lie inside the strip and the target rows.
            unsafe {
                let tile = Tile {
                    panel: self,
                    taps: &taps,
                    add: range.start > 0,
                    from: self.padded.as_ptr().add(first * step),
                    step,
                    to: self.to.add(target * BLOCK),
                    to_step: self.pass.stride.0 * self.pass.target.1 * BLOCK,
                };
                tile.positions::<S, N>(end - first);
            }
        }
    }

    /// Which taps of a range read the source from any of some rows, and their offsets.
    #[inline(always)]
    fn reaching(&self, range: &Range<usize>, rows: Range<usize>, taps: &mut Vec<(usize, usize)>) {
        taps.clear();
        for index in range.clone() {
            let tap = &self.output.taps[index];
            if self.layout.reaches(tap, &rows) {
                taps.push((index, self.layout.offset(tap)));
            }
        }
    }
}

/// Some positions, one after the other.
struct Tile<'a> {
    panel: &'a Panel<'a>,
    /// Which taps reach the source from here, and their offsets.
    taps: &'a [(usize, usize)],
    /// Add to what is there?
    add: bool,
    from: *const f32,
    step: usize,
    to: *mut f32,
    to_step: usize,
}

impl Tile<'_> {
    /// `count` positions times N vectors.
    #[inline(always)]
    unsafe fn positions<S: Simd, const N: usize>(&self, count: usize) {
        // SAFETY: required of the caller.
        unsafe {
            match count {
                1 => self.run::<S, 1, N>(),
                2 => self.run::<S, 2, N>(),
                3 if S::REGISTERS > 8 => self.run::<S, 3, N>(),
                4 if S::REGISTERS > 8 => self.run::<S, 4, N>(),
                5 if S::REGISTERS > 8 => self.run::<S, 5, N>(),
                6 if S::REGISTERS > 8 => self.run::<S, 6, N>(),
                7 if S::LANES == 16 => self.run::<S, 7, N>(),
                8 if S::LANES == 16 => self.run::<S, 8, N>(),
                _ => {}
            }
        }
    }

    /// Where the vector of position i from lane on lies.
    #[inline(always)]
    fn place(&self, position: usize, lane: usize) -> *mut f32 {
        let block = lane / BLOCK * self.panel.block_stride;
        self.to
            .wrapping_add(block + position * self.to_step + lane % BLOCK)
    }

    /// M positions times N vectors.
    #[inline(always)]
    unsafe fn run<S: Simd, const M: usize, const N: usize>(&self) {
        let width = N * S::LANES;
        let blocks = self.panel.channels / BLOCK;
        // SAFETY: required of the caller.
        unsafe {
            let mut bias = [S::zero(); N];
            for (j, bias) in bias.iter_mut().enumerate() {
                *bias = S::load(self.panel.bias.as_ptr().add(j * S::LANES));
            }
            let mut sums = [bias; M];
            if self.add {
                for (i, sums) in sums.iter_mut().enumerate() {
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum = S::load(self.place(i, j * S::LANES));
                    }
                }
            }
            for &(tap, offset) in self.taps {
                let mut weights = self
                    .panel
                    .weights
                    .as_ptr()
                    .add(tap * blocks * Weights::step(width));
                let mut from = self.from.add(offset);
                for _ in 0..blocks {
                    if S::LANES == 16 {
                        for channel in (0..BLOCK).step_by(4) {
                            steps::<S, M, N, 4>(
                                from.add(channel),
                                self.step,
                                weights.add(channel * width),
                                &mut sums,
                            );
                        }
                    } else {
                        for channel in 0..BLOCK {
                            steps::<S, M, N, 1>(
                                from.add(channel),
                                self.step,
                                weights.add(channel * width),
                                &mut sums,
                            );
                        }
                    }
                    weights = weights.add(Weights::step(width));
                    from = from.wrapping_add(self.panel.block_len);
                }
            }
            for (i, sums) in sums.iter().enumerate() {
                for (j, &sum) in sums.iter().enumerate() {
                    S::store(self.place(i, j * S::LANES), sum);
                }
            }
        }
    }
}

/// U source channels: M pixels `step` apart times N vectors of weights a channel.
#[inline(always)]
unsafe fn steps<S: Simd, const M: usize, const N: usize, const U: usize>(
    from: *const f32,
    step: usize,
    weights: *const f32,
    sums: &mut [[S::Vector; N]; M],
) {
    // SAFETY: required of the caller.
    unsafe {
        let mut vectors = [[S::zero(); N]; U];
        for (u, vectors) in vectors.iter_mut().enumerate() {
            for (j, vector) in vectors.iter_mut().enumerate() {
                *vector = S::load(weights.add((u * N + j) * S::LANES));
            }
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            let pixel = from.add(i * step);
            for (u, vectors) in vectors.iter().enumerate() {
                let value = S::splat(*pixel.add(u));
                for (sum, &vector) in sums.iter_mut().zip(vectors) {
                    *sum = S::mul_add(value, vector, *sum);
                }
            }
        }
    }
}
