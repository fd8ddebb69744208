//! How input and sums are laid out: what does not depend on values.

use super::super::super::geometry::Problem;
use super::super::super::pass::Pass;
use super::super::planes::Planes;
use crate::simd::BLOCK;

/// How the input is laid out, pixel-major in blocks of 16 lanes.
pub(super) enum Input {
    /// `[channel block][padded row][padded column][16 channels]`; a tap is an offset.
    Padded {
        /// Where input pixel p lies.
        offsets: Vec<u32>,
    },
    /// `[block][pixel][16 taps of some channels]`: for few channels, and for 1×1 kernels with a stride.
    Columns { planes: Planes, taps: Vec<u32> },
}

/// Everything about a problem that does not depend on its values.
pub(super) struct Plan {
    pub(super) input: Input,
    /// Floats of one image of a group, laid out.
    pub(super) image_len: usize,
    /// Where the first pixel of each vector of 16 lanes lies.
    pub(super) vectors: Vec<u32>,
    /// For each vector and lane, the place in a filter `[group_in, kh, kw]`, if any.
    pub(super) places: Vec<[Option<u32>; BLOCK]>,
    /// Rows, columns, floats from row to row and from pixel to pixel.
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) row_step: usize,
    pub(super) pixel_step: usize,
}

impl Plan {
    pub(super) fn new(problem: &Problem) -> Self {
        let single = problem.taps() == 1 && problem.geometry.stride != (1, 1);
        if single || problem.group_in() < BLOCK {
            Self::columns(problem)
        } else {
            Self::padded(problem)
        }
    }

    /// Taps as offsets into padded input: for groups of at least 16 input channels.
    pub(super) fn padded(problem: &Problem) -> Self {
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
