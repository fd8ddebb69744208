//! Direct weight gradient, lanes = 16 input channels (or 16 taps): dW[k] = Σ_p dY[p][k] · X[p + offset].
//!
//! Input and output gradient are turned pixel-major; a register tile holds M output channels times
//! N vectors and runs over all pixels of some images. Images are cut into fixed chunks with sums of their own.

use super::super::geometry::Problem;
use super::super::pass::Pass;
use super::planes::Planes;
use crate::scratch::Scratch;
use crate::simd::{BLOCK, Kernel, Level, Simd, runs};
use crate::threads::{Shared, for_each, for_each_chunk};

/// Tasks of a group of channels: runs of images times parts of the output channels.
const TASKS: usize = 8;
/// Pixels that a register tile should run over before its sums are stored.
const PIXELS_AT_LEAST: usize = 256;

/// How the input is laid out, pixel-major in blocks of 16 lanes.
enum Input {
    /// `[channel block][padded row][padded column][16 channels]`; a tap is an offset.
    Padded {
        /// Where input pixel p lies.
        offsets: Vec<u32>,
    },
    /// `[block][pixel][16 taps of some channels]`: for few channels, and for 1×1 kernels with a stride.
    Columns { planes: Planes, taps: Vec<u32> },
}

/// Everything about a problem that does not depend on its values.
struct Plan {
    input: Input,
    /// Floats of one image of a group, laid out.
    image_len: usize,
    /// Where the first pixel of each vector of 16 lanes lies.
    vectors: Vec<u32>,
    /// For each vector and lane, the place in a filter `[group_in, kh, kw]`, if any.
    places: Vec<[Option<u32>; BLOCK]>,
    /// Rows, columns, floats from row to row and from pixel to pixel.
    rows: usize,
    columns: usize,
    row_step: usize,
    pixel_step: usize,
}

impl Plan {
    fn new(problem: &Problem) -> Self {
        let single = problem.taps() == 1 && problem.geometry.stride != (1, 1);
        if single || problem.group_in() < BLOCK {
            Self::columns(problem)
        } else {
            Self::padded(problem)
        }
    }

    fn padded(problem: &Problem) -> Self {
        let g = &problem.geometry;
        let extent = |output: usize,
                      stride: usize,
                      kernel: usize,
                      dilation: usize,
                      input: usize,
                      padding: usize| {
            ((output - 1) * stride + (kernel - 1) * dilation + 1).max(input + padding)
        };
        let height = extent(
            problem.output.0,
            g.stride.0,
            problem.kernel.0,
            g.dilation.0,
            problem.input.0,
            g.padding.0,
        );
        let width = extent(
            problem.output.1,
            g.stride.1,
            problem.kernel.1,
            g.dilation.1,
            problem.input.1,
            g.padding.1,
        );
        let mut offsets = Vec::with_capacity(problem.input_pixels());
        for y in 0..problem.input.0 {
            for x in 0..problem.input.1 {
                offsets.push((((y + g.padding.0) * width + x + g.padding.1) * BLOCK) as u32);
            }
        }
        let blocks = problem.group_in().div_ceil(BLOCK);
        let (mut vectors, mut places) = (Vec::new(), Vec::new());
        for block in 0..blocks {
            for tap in 0..problem.taps() {
                let (ky, kx) = (tap / problem.kernel.1, tap % problem.kernel.1);
                let pixel = (block * height + ky * g.dilation.0) * width + kx * g.dilation.1;
                vectors.push((pixel * BLOCK) as u32);
                places.push(std::array::from_fn(|lane| {
                    let channel = block * BLOCK + lane;
                    (channel < problem.group_in())
                        .then_some((channel * problem.taps() + tap) as u32)
                }));
            }
        }
        Self {
            input: Input::Padded { offsets },
            image_len: blocks * height * width * BLOCK,
            vectors,
            places,
            rows: problem.output.0,
            columns: problem.output.1,
            row_step: g.stride.0 * width * BLOCK,
            pixel_step: g.stride.1 * BLOCK,
        }
        .joined()
    }

    fn columns(problem: &Problem) -> Self {
        let pass = Pass::forward(problem);
        let planes = Planes::new(&pass);
        let (pixels, rows) = (problem.output_pixels(), problem.output.0);
        let (mut taps, mut index) = (Vec::new(), Vec::new());
        for channel in 0..problem.group_in() {
            for tap in pass.taps() {
                taps.push((channel * planes.channel_len(rows) + planes.offset(tap, rows)) as u32);
                index.push((channel * problem.taps() + tap.index) as u32);
            }
        }
        let blocks = taps.len().div_ceil(BLOCK);
        Self {
            input: Input::Columns { planes, taps },
            image_len: blocks * pixels * BLOCK,
            vectors: (0..blocks)
                .map(|block| (block * pixels * BLOCK) as u32)
                .collect(),
            places: (0..blocks)
                .map(|block| std::array::from_fn(|lane| index.get(block * BLOCK + lane).copied()))
                .collect(),
            rows: problem.output.0,
            columns: problem.output.1,
            row_step: problem.output.1 * BLOCK,
            pixel_step: BLOCK,
        }
        .joined()
    }

    /// Rows that follow each other without a gap are one row.
    fn joined(self) -> Self {
        if self.row_step == self.columns * self.pixel_step {
            Self {
                rows: 1,
                columns: self.rows * self.columns,
                ..self
            }
        } else {
            self
        }
    }
}

pub(in super::super) fn compute(
    level: Level,
    problem: &Problem,
    input: &[f32],
    gradient: &[f32],
) -> Vec<f32> {
    let plan = Plan::new(problem);
    let parts = (problem.group_out() / 64).clamp(1, 4);
    let chunks = (TASKS / parts).min(problem.batch).max(1);
    let filter = plan.vectors.len() * BLOCK;
    let len = problem.out_channels * filter;
    let mut sums = Scratch::take(chunks * len);
    let to = Shared(sums.as_mut_ptr());
    let context = Context {
        problem,
        plan: &plan,
        parts,
        chunks,
        input,
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
    let mut result = vec![0.0; problem.weight_len()];
    let taps = problem.group_in() * problem.taps();
    for_each_chunk(&mut result, taps, |channel, weights| {
        for (vector, places) in plan.places.iter().enumerate() {
            for (lane, place) in places.iter().enumerate() {
                if let Some(place) = place {
                    let at = channel * filter + vector * BLOCK + lane;
                    weights[*place as usize] =
                        (0..chunks).map(|chunk| sums[chunk * len + at]).sum();
                }
            }
        }
    });
    result
}

struct Context<'a> {
    problem: &'a Problem,
    plan: &'a Plan,
    parts: usize,
    chunks: usize,
    input: &'a [f32],
    gradient: &'a [f32],
}

struct Task<'a> {
    context: &'a Context<'a>,
    task: usize,
    sums: *mut f32,
}

impl Kernel for Task<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let c = self.context;
        let (p, plan) = (c.problem, c.plan);
        let (rest, part) = (self.task / c.parts, self.task % c.parts);
        let (chunk, group) = (rest / p.geometry.groups, rest % p.geometry.groups);
        let images = (p.batch * chunk / c.chunks, p.batch * (chunk + 1) / c.chunks);
        let outputs = (
            p.group_out() * part / c.parts,
            p.group_out() * (part + 1) / c.parts,
        );
        let outputs = (
            group * p.group_out() + outputs.0,
            group * p.group_out() + outputs.1,
        );
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
    let most = if S::LANES == 16 { 3 } else { 2 };
    let place =
        |index: usize| base.plan.vectors[index / pieces] as usize + index % pieces * S::LANES;
    let mut done = 0;
    while done < count {
        // SAFETY: required of the caller.
        unsafe {
            let sums = base.sums.add(done * S::LANES);
            match (count - done).min(most) {
                1 => S::call(base.at::<1>([place(done)], sums)),
                3 if S::LANES == 16 => {
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
    c: &Context,
    pixel_offsets: &[u32],
    (image, group): (usize, usize),
    x: &mut [f32],
) {
    let p = c.problem;
    let pixels = p.input_pixels();
    let start = (image * p.in_channels + group * p.group_in()) * pixels;
    let source = &c.input[start..start + p.group_in() * pixels];
    match &c.plan.input {
        Input::Padded { offsets } => {
            let blocks = p.group_in().div_ceil(BLOCK);
            for (block, x) in x.chunks_exact_mut(c.plan.image_len / blocks).enumerate() {
                let channels = (p.group_in() - block * BLOCK).min(BLOCK);
                let rows: [usize; BLOCK] = std::array::from_fn(|i| (block * BLOCK + i) * pixels);
                for (pixel, columns) in runs(source.as_ptr(), pixels, 0, pixels) {
                    // SAFETY: channels and pixels lie inside the source, offsets inside the block.
                    unsafe {
                        let (from, offsets) =
                            (source.as_ptr().add(pixel), offsets[pixel..].as_ptr());
                        S::gather_pixels(from, &rows[..channels], columns, x.as_mut_ptr(), offsets);
                    }
                }
            }
        }
        Input::Columns { planes, taps } => {
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
    c: &Context,
    pixel_offsets: &[u32],
    image: usize,
    outputs: (usize, usize),
    dy: &mut [f32],
) {
    let pixels = c.problem.output_pixels();
    for (block, dy) in dy.chunks_exact_mut(pixels * BLOCK).enumerate() {
        let first = outputs.0 + block * BLOCK;
        let channels = (outputs.1 - first).min(BLOCK);
        let start = (image * c.problem.out_channels + first) * pixels;
        let source = &c.gradient[start..start + channels * pixels];
        let rows: [usize; BLOCK] = std::array::from_fn(|i| i * pixels);
        for (pixel, columns) in runs(source.as_ptr(), pixels, 0, pixels) {
            // SAFETY: channels and pixels lie inside the gradient, offsets inside the block.
            unsafe {
                let (from, offsets) = (source.as_ptr().add(pixel), pixel_offsets[pixel..].as_ptr());
                S::gather_pixels(from, &rows[..channels], columns, dy.as_mut_ptr(), offsets);
            }
        }
    }
}

/// N vectors, all output channels of a task.
struct Panel<'a, const N: usize> {
    plan: &'a Plan,
    images: usize,
    pixels: usize,
    blocks: usize,
    outputs: usize,
    x: *const f32,
    dy: *const f32,
    offsets: [usize; N],
    /// Sums of the first output channel, `filter` floats a channel.
    sums: *mut f32,
    filter: usize,
    add: bool,
}

impl<'a, const N: usize> Panel<'a, N> {
    #[inline(always)]
    fn at<const M: usize>(&self, offsets: [usize; M], sums: *mut f32) -> Panel<'a, M> {
        Panel {
            plan: self.plan,
            images: self.images,
            pixels: self.pixels,
            blocks: self.blocks,
            outputs: self.outputs,
            x: self.x,
            dy: self.dy,
            offsets,
            sums,
            filter: self.filter,
            add: self.add,
        }
    }

    /// M output channels from `first` on.
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize>(&self, first: usize) {
        let plan = self.plan;
        // SAFETY: required of the caller of `run`.
        unsafe {
            let mut sums = [[S::zero(); N]; M];
            for image in 0..self.images {
                let block = (image * self.blocks + first / BLOCK) * self.pixels * BLOCK;
                let mut dy = self.dy.add(block + first % BLOCK);
                for row in 0..plan.rows {
                    let mut x = self.x.add(image * plan.image_len + row * plan.row_step);
                    for _ in 0..plan.columns {
                        let mut values = [S::zero(); N];
                        for (value, &offset) in values.iter_mut().zip(&self.offsets) {
                            *value = S::load(x.add(offset));
                        }
                        for (i, sums) in sums.iter_mut().enumerate() {
                            let factor = S::splat(*dy.add(i));
                            for (sum, &value) in sums.iter_mut().zip(&values) {
                                *sum = S::mul_add(factor, value, *sum);
                            }
                        }
                        dy = dy.add(BLOCK);
                        x = x.wrapping_add(plan.pixel_step);
                    }
                }
            }
            for (i, sums) in sums.iter().enumerate() {
                for (j, &sum) in sums.iter().enumerate() {
                    let to = self.sums.add((first + i) * self.filter + j * S::LANES);
                    S::store(
                        to,
                        if self.add {
                            S::add(S::load(to), sum)
                        } else {
                            sum
                        },
                    );
                }
            }
        }
    }
}

impl<const N: usize> Kernel for Panel<'_, N> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let most = match S::LANES {
            16 => 8,
            8 => 6,
            _ => 4,
        };
        for block in 0..self.blocks {
            let (start, count) = (block * BLOCK, (self.outputs - block * BLOCK).min(BLOCK));
            let tiles = count.div_ceil(most);
            for tile in 0..tiles {
                let (first, end) = (
                    start + count * tile / tiles,
                    start + count * (tile + 1) / tiles,
                );
                // SAFETY: required of the caller: x, dy and sums hold what the plan addresses.
                unsafe {
                    match end - first {
                        1 => self.tile::<S, 1>(first),
                        2 => self.tile::<S, 2>(first),
                        3 => self.tile::<S, 3>(first),
                        4 => self.tile::<S, 4>(first),
                        5 if S::LANES > 4 => self.tile::<S, 5>(first),
                        6 if S::LANES > 4 => self.tile::<S, 6>(first),
                        7 if S::LANES == 16 => self.tile::<S, 7>(first),
                        8 if S::LANES == 16 => self.tile::<S, 8>(first),
                        _ => {}
                    }
                }
            }
        }
    }
}
