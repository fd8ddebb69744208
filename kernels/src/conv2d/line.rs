//! Convolution along one axis by the blocked kernels: images of one row, turned for the shape at hand.
//!
//! A row is computed as a column (one pixel a row), so that strips of it fit the cache and give tasks
//! to all threads; or, where it is short, as a column whose pixels are those of all images: a register
//! tile then holds one position of several images, and taps in the padding are left out.

use super::blocked;
use super::geometry::{Conv2dGeometry, Problem};
use super::select::Method;
use super::transfer::{PlaneSink, PlaneSource, Sink, Source, written};
use crate::simd::{BLOCK, Level, Simd};
use crate::threads::Shared;
use std::ops::Range;

/// Positions that a row has at most for its images to be computed side by side.
const SHORT: usize = 32;
/// Images that fill a register tile well enough.
const IMAGES_AT_LEAST: usize = 4;

/// Taps of a kernel for which shifted copies of the gradient cost more than unaligned reads of one.
const LONG: usize = 8;

/// How the rows of a pass lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Whatever `Method` makes of rows.
    Rows,
    Column,
    SideBySide,
}

impl Shape {
    fn choose(problem: &Problem, positions: usize) -> Self {
        let blocks = |channels: usize| channels > 0 && channels.is_multiple_of(BLOCK);
        let empty = problem.input_len() == 0 || problem.output_len() == 0;
        if empty || !blocks(problem.group_in()) || !blocks(problem.group_out()) {
            Self::Rows
        } else if positions <= SHORT && problem.batch >= IMAGES_AT_LEAST {
            Self::SideBySide
        } else {
            Self::Column
        }
    }

    /// The problem of images of one row, turned.
    fn turn(self, problem: &Problem) -> Problem {
        let g = &problem.geometry;
        let down = |pair: (usize, usize)| (pair.1, pair.0);
        let (batch, width) = match self {
            Self::SideBySide => (1, problem.batch),
            _ => (problem.batch, 1),
        };
        Problem {
            batch,
            input: (problem.input.1, width),
            kernel: down(problem.kernel),
            output: (problem.output.1, width),
            geometry: Conv2dGeometry {
                stride: down(g.stride),
                padding: down(g.padding),
                dilation: down(g.dilation),
                groups: g.groups,
            },
            ..*problem
        }
    }
}

/// The forward pass of a problem whose images are rows.
pub(crate) fn forward(problem: &Problem, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    let level = Level::best();
    let shape = Shape::choose(problem, problem.output.1);
    if shape == Shape::Rows {
        return Method::choose(problem).forward(level, problem, x, w, bias);
    }
    let turned = shape.turn(problem);
    let pass = |level, from: &Rows, to: &RowsSink| match shape {
        Shape::SideBySide => {
            let (from, to) = (SideBySide(from), SideBySide(to));
            blocked::forward(level, &turned, &from, w, bias.unwrap_or(&[]), &to);
        }
        _ => blocked::forward(level, &turned, &from.0, w, bias.unwrap_or(&[]), &to.0),
    };
    let from = Rows::new(x, problem.batch, problem.in_channels, problem.input.1);
    let (channels, length) = (problem.out_channels, problem.output.1);
    // SAFETY: the kernels write every output.
    unsafe {
        written(problem.output_len(), |values| {
            pass(
                level,
                &from,
                &RowsSink::new(values, problem.batch, channels, length),
            );
        })
    }
}

/// The input gradient of a problem whose images are rows.
pub(crate) fn input_gradient(problem: &Problem, dy: &[f32], w: &[f32]) -> Vec<f32> {
    let level = Level::best();
    let shape = Shape::choose(problem, problem.input.1.div_ceil(problem.geometry.stride.1));
    if shape == Shape::Rows {
        let method = Method::choose(problem);
        // Shifted planes are copied once a column of the kernel: for a column, once.
        return match method == Method::Direct && problem.kernel.1 >= LONG {
            true => method.input_gradient(level, &Shape::Column.turn(problem), dy, w),
            false => method.input_gradient(level, problem, dy, w),
        };
    }
    let turned = shape.turn(problem);
    let pass = |level, from: &Rows, to: &RowsSink| match shape {
        Shape::SideBySide => {
            blocked::input_gradient(level, &turned, &SideBySide(from), w, &SideBySide(to));
        }
        _ => blocked::input_gradient(level, &turned, &from.0, w, &to.0),
    };
    let from = Rows::new(dy, problem.batch, problem.out_channels, problem.output.1);
    let (channels, length) = (problem.in_channels, problem.input.1);
    // SAFETY: the kernels write every element of the input's gradient.
    unsafe {
        written(problem.input_len(), |values| {
            pass(
                level,
                &from,
                &RowsSink::new(values, problem.batch, channels, length),
            );
        })
    }
}

/// A `[batch, channels, length]` tensor to read, and the batch.
struct Rows<'a>(PlaneSource<'a>, usize);

impl<'a> Rows<'a> {
    fn new(values: &'a [f32], batch: usize, channels: usize, pixels: usize) -> Self {
        let planes = PlaneSource {
            values,
            channels,
            pixels,
        };
        Self(planes, batch)
    }
}

/// A `[batch, channels, length]` tensor to write, and the batch.
struct RowsSink(PlaneSink, usize);

impl RowsSink {
    fn new(values: Shared<f32>, batch: usize, channels: usize, pixels: usize) -> Self {
        let planes = PlaneSink {
            values,
            channels,
            pixels,
        };
        Self(planes, batch)
    }
}

/// Rows as one image: its rows are positions, its columns the rows' images.
struct SideBySide<'a, R>(&'a R);

/// For sixteen positions of an image from `first` on, where the pixels of an image `count` columns wide lie.
#[inline(always)]
unsafe fn column_offsets(
    offsets: *const u32,
    first: usize,
    columns: usize,
    count: usize,
) -> [u32; BLOCK] {
    std::array::from_fn(|i| match i < columns {
        // SAFETY: the caller has an offset for each of these pixels.
        true => unsafe { *offsets.add((first + i) * count) },
        false => 0,
    })
}

impl Source for SideBySide<'_, Rows<'_>> {
    #[inline(always)]
    unsafe fn load<S: Simd>(
        &self,
        _: usize,
        channels: Range<usize>,
        pixels: Range<usize>,
        to: *mut f32,
        offsets: *const u32,
    ) {
        let (planes, images) = (&self.0.0, self.0.1);
        let positions = pixels.start / images..pixels.end / images;
        let rows: [usize; BLOCK] = std::array::from_fn(|i| i * planes.pixels);
        for image in 0..images {
            let first = (image * planes.channels + channels.start) * planes.pixels;
            let planes = &planes.values[first..first + channels.len() * planes.pixels];
            for position in positions.clone().step_by(BLOCK) {
                let columns = (positions.end - position).min(BLOCK);
                // SAFETY: the positions lie inside the rows; passes load whole rows of pixels.
                unsafe {
                    let offsets = offsets.add(image);
                    let offsets =
                        column_offsets(offsets, position - positions.start, columns, images);
                    let from = planes.as_ptr().add(position);
                    S::gather_pixels(from, &rows[..channels.len()], columns, to, offsets.as_ptr());
                }
            }
        }
    }
}

impl Sink for SideBySide<'_, RowsSink> {
    fn window(&self, _: usize, _: usize) -> Option<*mut f32> {
        None
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(
        &self,
        _: usize,
        channels: Range<usize>,
        pixels: Range<usize>,
        from: *const f32,
        offsets: *const u32,
    ) {
        let (planes, images) = (&self.0.0, self.0.1);
        let positions = pixels.start / images..pixels.end / images;
        for image in 0..images {
            let first = (image * planes.channels + channels.start) * planes.pixels;
            for position in positions.clone().step_by(BLOCK) {
                let columns = (positions.end - position).min(BLOCK);
                // SAFETY: the positions lie inside the rows; passes store whole rows of pixels.
                unsafe {
                    let offsets = offsets.add(image);
                    let offsets =
                        column_offsets(offsets, position - positions.start, columns, images);
                    let to = planes.values.at(first + position);
                    let (stride, count) = (planes.pixels, channels.len());
                    S::scatter_pixels(from, offsets.as_ptr(), to, stride, count, columns);
                }
            }
        }
    }
}
