//! The matrix product of forward pass and input gradient: weights times shifted planes.

use super::super::pass::{Channels, Output, Pass};
use super::panel::Panel;
use super::plan::Plan;
use super::planes::{Planes, spread_row};
use crate::scratch::Scratch;
use crate::simd::{Kernel, Level, Simd};
use crate::threads::{Shared, for_each};

/// Floats of shifted planes that a task holds: 256 KiB, part of the second-level cache.
const PLANES_AT_MOST: usize = 64 << 10;
/// Tasks that a pass is cut into at least, where its planes have rows enough.
const TASKS_AT_LEAST: usize = 4;

/// Target channels of a register tile, by registers.
pub(super) const fn tile_rows(registers: usize) -> usize {
    match registers {
        32 => 8,
        16 => 6,
        _ => 4,
    }
}

/// Vectors of pixels of a register tile.
const fn tile_vectors(registers: usize) -> usize {
    if registers == 32 { 3 } else { 2 }
}

/// Computes a pass: `source` `[batch, groups·source, ...]` to `[batch, groups·target, ...]`.
pub(super) fn compute(
    level: Level,
    pass: &Pass,
    channels: &Channels,
    batch: usize,
    source: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let planes = Planes::new(pass);
    let strips = strips(&planes, channels, batch);
    let most_rows = planes.lattice.0.div_ceil(strips);
    let plans: Vec<Plan> = pass
        .outputs
        .iter()
        .map(|output| Plan::new(level, output, &planes, channels, weight, most_rows))
        .collect();
    let target_pixels = pass.target.0 * pass.target.1;
    let len = batch * channels.groups * channels.target * target_pixels;
    let mut result = Vec::with_capacity(len);
    let context = Context {
        pass,
        channels,
        planes: &planes,
        plans: &plans,
        strips,
        most_rows,
        source,
        bias,
        target: Shared(result.as_mut_ptr()),
        target_pixels,
    };
    for_each(batch * channels.groups * strips, |task| {
        // SAFETY: each task writes its own rows of its own channels; the level is available.
        unsafe {
            level.call(Task {
                context: &context,
                task,
            })
        };
    });
    // SAFETY: the outputs of a pass cover its target, and the strips cover the outputs.
    unsafe { result.set_len(len) };
    result
}

/// How many strips of rows the planes are cut into.
fn strips(planes: &Planes, channels: &Channels, batch: usize) -> usize {
    let rows = planes.lattice.0;
    let fit = |strips: usize| match planes.is_source() {
        true => channels.source * rows.div_ceil(strips) * planes.lattice.1 <= PLANES_AT_MOST,
        false => channels.source * planes.channel_len(rows.div_ceil(strips)) <= PLANES_AT_MOST,
    };
    let least = TASKS_AT_LEAST.div_ceil((batch * channels.groups).max(1));
    let wanted = (1..=rows).find(|&strips| fit(strips)).unwrap_or(rows);
    wanted.max(least).clamp(1, rows.max(1))
}

struct Context<'a> {
    pass: &'a Pass,
    channels: &'a Channels,
    planes: &'a Planes,
    plans: &'a [Plan],
    strips: usize,
    most_rows: usize,
    source: &'a [f32],
    bias: Option<&'a [f32]>,
    target: Shared<f32>,
    target_pixels: usize,
}

struct Task<'a> {
    context: &'a Context<'a>,
    task: usize,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.context;
        let (image_group, strip) = (self.task / c.strips, self.task % c.strips);
        let group = image_group % c.channels.groups;
        let (rows, width) = c.planes.lattice;
        let (first, end) = (rows * strip / c.strips, rows * (strip + 1) / c.strips);
        if first == end {
            return;
        }
        let pixels = (end - first) * width;
        let start = image_group * c.channels.source * c.planes.source_pixels();
        let source = &c.source[start..start + c.channels.source * c.planes.source_pixels()];
        let right = if c.planes.is_source() {
            Right::of_source::<S>(
                &source[first * width..],
                c.channels.source,
                c.planes.source_pixels(),
                pixels,
            )
        } else {
            Right::of_copies::<S>(c, source, first)
        };
        let target = image_group * c.channels.target * c.target_pixels;
        let bias = c
            .bias
            .map(|bias| &bias[group * c.channels.target..][..c.channels.target]);
        // SAFETY: the target has planes for all channels of all images.
        unsafe {
            if c.pass.writes_in_place() {
                let to = c.target.at(target + first * width);
                product::<S>(
                    c,
                    &c.plans[0],
                    group,
                    &right,
                    pixels,
                    bias,
                    (to, c.target_pixels),
                );
                return;
            }
            let stride = pixels.next_multiple_of(16) + 16;
            let mut results = Scratch::take(c.channels.target * stride);
            for (plan, output) in c.plans.iter().zip(&c.pass.outputs) {
                product::<S>(
                    c,
                    plan,
                    group,
                    &right,
                    pixels,
                    bias,
                    (results.as_mut_ptr(), stride),
                );
                for (channel, values) in results.chunks_exact(stride).enumerate() {
                    let plane = c.target.at(target + channel * c.target_pixels);
                    place(c.pass, output, (first, end), (values, width), plane);
                }
            }
        }
    }
}

/// Writes one output's values, rows `first..end` of its lattice of some width, to where they belong in a target plane.
///
/// # Safety
/// `plane` is a target plane, and nobody else writes these positions.
#[inline(always)]
unsafe fn place(
    pass: &Pass,
    output: &Output,
    (first, end): (usize, usize),
    (values, width): (&[f32], usize),
    plane: *mut f32,
) {
    for y in first..end.min(output.size.0) {
        let row = (output.first.0 + y * pass.stride.0) * pass.target.1;
        let len = pass.target.1 - output.first.1;
        // SAFETY: the row lies inside the plane; required of the caller otherwise.
        let to = unsafe { std::slice::from_raw_parts_mut(plane.add(row + output.first.1), len) };
        let from = &values[(y - first) * width..][..output.size.1];
        match pass.stride.1 {
            2 => spread_row(from, 2, to),
            step => spread_row(from, step, to),
        }
    }
}

/// The right side of the product: values at offsets, and the last, incomplete vector apart if need be.
struct Right {
    /// Keeps what `values` points to, unless that is the source.
    _copies: Option<Scratch>,
    values: *const f32,
    tail: Option<Scratch>,
}

impl Right {
    /// The source itself. Whole vectors would end outside it, so the rest of each plane is copied.
    #[inline(always)]
    fn of_source<S: Simd>(source: &[f32], channels: usize, plane: usize, pixels: usize) -> Self {
        let rest = pixels % S::LANES;
        let tail = (rest > 0).then(|| {
            let mut tail = Scratch::zeros(channels * S::LANES);
            for (channel, tail) in tail.chunks_exact_mut(S::LANES).enumerate() {
                let from = channel * plane + pixels - rest;
                tail[..rest].copy_from_slice(&source[from..from + rest]);
            }
            tail
        });
        Self {
            _copies: None,
            values: source.as_ptr(),
            tail,
        }
    }

    #[inline(always)]
    fn of_copies<S: Simd>(c: &Context, source: &[f32], first: usize) -> Self {
        let len = c.planes.channel_len(c.most_rows);
        let slack = tile_vectors(S::REGISTERS) * S::LANES;
        let mut copies = Scratch::take(c.channels.source * len + slack);
        let end = copies.len() - slack;
        copies[end..].fill(0.0);
        // All strips have the layout of the largest: a smaller one computes rows that are not used.
        let start = first.min(c.planes.lattice.0.saturating_sub(c.most_rows));
        let shift = (first - start) * c.planes.lattice.1;
        for (channel, copies) in copies[..end].chunks_exact_mut(len.max(1)).enumerate() {
            let plane = &source[channel * c.planes.source_pixels()..][..c.planes.source_pixels()];
            // SAFETY: the machine has `S`.
            unsafe { c.planes.copy::<S>(plane, start, c.most_rows, copies) };
        }
        let values = copies.as_ptr().wrapping_add(shift);
        Self {
            _copies: Some(copies),
            values,
            tail: None,
        }
    }
}

/// All target channels of a group for the pixels of a strip, to rows `to.1` apart.
#[inline(always)]
unsafe fn product<S: Simd>(
    c: &Context,
    plan: &Plan,
    group: usize,
    right: &Right,
    pixels: usize,
    bias: Option<&[f32]>,
    to: (*mut f32, usize),
) {
    let depth = plan.offsets.len();
    let weights = &plan.weights[group * c.channels.target * depth..][..c.channels.target * depth];
    let base = Panel::<1> {
        weights,
        offsets: &plan.offsets,
        blocks: &plan.blocks,
        values: right.values,
        bias,
        to,
        last: S::LANES,
    };
    let whole = if right.tail.is_some() {
        pixels / S::LANES
    } else {
        pixels.div_ceil(S::LANES)
    };
    let tiles = whole.div_ceil(tile_vectors(S::REGISTERS));
    for tile in 0..tiles {
        let (first, end) = (whole * tile / tiles, whole * (tile + 1) / tiles);
        let values = right.values.wrapping_add(first * S::LANES);
        let to = (to.0.wrapping_add(first * S::LANES), to.1);
        let last = (pixels - (end - 1) * S::LANES).min(S::LANES);
        // SAFETY: the vectors lie inside the copies (with their slack) or the source; `last` keeps
        // stores inside the strip.
        unsafe {
            match end - first {
                1 => S::call(base.at::<1>(values, to, last)),
                3 if S::REGISTERS == 32 => S::call(base.at::<3>(values, to, last)),
                _ => S::call(base.at::<2>(values, to, last)),
            }
        }
    }
    if let Some(tail) = &right.tail {
        // An output that no tap reaches has no offsets here either.
        let channels = if depth == 0 { 0 } else { c.channels.source };
        let offsets: Vec<u32> = (0..channels)
            .map(|channel| (channel * S::LANES) as u32)
            .collect();
        let done = whole * S::LANES;
        let panel = Panel::<1> {
            offsets: &offsets,
            values: tail.as_ptr(),
            to: (to.0.wrapping_add(done), to.1),
            last: pixels - done,
            ..base
        };
        // SAFETY: the tail holds one vector a channel.
        unsafe { S::call(panel) };
    }
}
