//! Row by row: along the columns once for each row that is read, then down the rows a vector at a time.

use super::Sizes;
use super::axis::{Blend, Layers, Nearest};
use crate::element::Element;
use crate::output::{CHUNK, Output, chunk_range, fill};
use crate::vector::Pass;
use crate::{threads, vector};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Every element of every plane is a weighted mean of four.
pub(super) fn bilinear<T: Element>(x: &[T], sizes: &Sizes, align_corners: bool) -> Vec<T> {
    let (rows, columns) = axes(sizes, align_corners);
    for_each_strip(sizes.planes, sizes.output, |plane, strip, output| {
        vector::run(BilinearStrip {
            x: plane_of(x, plane, sizes.input),
            width: sizes.input.1,
            axes: (&rows, &columns),
            strip,
            output,
        });
    })
}

/// The transpose of [`bilinear`].
pub(super) fn bilinear_backward<T: Element>(
    gradient: &[T],
    sizes: &Sizes,
    align_corners: bool,
) -> Vec<T> {
    let (rows, columns) = axes::<T>(sizes, align_corners);
    let (rows, columns) = (rows.readers(), Layers::new(&columns));
    for_each_strip(sizes.planes, sizes.input, |plane, strip, dx| {
        vector::run(BilinearBackward {
            gradient: plane_of(gradient, plane, sizes.output),
            width: sizes.output.1,
            rows: &rows[strip],
            columns: &columns,
            dx,
        });
    })
}

/// Every element of every plane is a copy of one.
pub(super) fn nearest<T: Element>(x: &[T], sizes: &Sizes) -> Vec<T> {
    let (rows, columns) = nearest_axes::<T>(sizes);
    for_each_strip(sizes.planes, sizes.output, |plane, strip, output| {
        vector::run(NearestStrip {
            x: plane_of(x, plane, sizes.input),
            width: sizes.input.1,
            axes: (&rows, &columns),
            strip,
            output,
        });
    })
}

/// The transpose of [`nearest`].
pub(super) fn nearest_backward<T: Element>(gradient: &[T], sizes: &Sizes) -> Vec<T> {
    let (rows, columns) = nearest_axes::<T>(sizes);
    for_each_strip(sizes.planes, sizes.input, |plane, strip, dx| {
        vector::run(NearestBackward {
            gradient: plane_of(gradient, plane, sizes.output),
            width: sizes.output.1,
            axes: (&rows, &columns),
            strip,
            dx,
        });
    })
}

fn axes<T: Element>(sizes: &Sizes, align_corners: bool) -> (Blend<T>, Blend<T>) {
    (
        Blend::new(sizes.input.0, sizes.output.0, align_corners),
        Blend::new(sizes.input.1, sizes.output.1, align_corners),
    )
}

fn nearest_axes<T: Element>(sizes: &Sizes) -> (Nearest, Nearest) {
    (
        Nearest::new::<T>(sizes.input.0, sizes.output.0),
        Nearest::new::<T>(sizes.input.1, sizes.output.1),
    )
}

fn plane_of<T>(values: &[T], plane: usize, (rows, columns): (usize, usize)) -> &[T] {
    &values[plane * rows * columns..(plane + 1) * rows * columns]
}

/// `count` planes of `rows × columns`, made of strips of whole rows; `body(plane, rows, elements)` writes
/// every element of a strip.
fn for_each_strip<T: Copy + Send>(
    count: usize,
    (rows, columns): (usize, usize),
    body: impl Fn(usize, Range<usize>, &mut [MaybeUninit<T>]) + Sync,
) -> Vec<T> {
    let output = Output::new(count * rows * columns);
    let a_strip = (CHUNK / columns).clamp(1, rows);
    let strips = rows.div_ceil(a_strip);
    let a_task = (CHUNK / (a_strip * columns)).max(1);
    threads::for_each((count * strips).div_ceil(a_task), |task| {
        for index in chunk_range(count * strips, a_task, task) {
            let (plane, strip) = (index / strips, index % strips);
            let strip = chunk_range(rows, a_strip, strip);
            let start = (plane * rows + strip.start) * columns;
            // SAFETY: strips do not overlap.
            let part = unsafe { output.range(start..start + strip.len() * columns) };
            body(plane, strip, part);
        }
    });
    // SAFETY: the strips cover all planes, and `body` writes every element of a strip.
    unsafe { output.finish() }
}

/// Rows `strip` of one plane.
struct BilinearStrip<'a, T> {
    x: &'a [T],
    width: usize,
    axes: (&'a Blend<T>, &'a Blend<T>),
    strip: Range<usize>,
    output: &'a mut [MaybeUninit<T>],
}

impl<T: Element> Pass for BilinearStrip<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (rows, columns) = self.axes;
        let width = self.output.len() / self.strip.len().max(1);
        // Two rows, blended along the columns, and which they are: output rows that follow share them.
        let mut lines = [(); 2].map(|()| vec![T::from_f64(0.0); width]);
        let mut held = [usize::MAX; 2];
        for (row, output) in self.strip.zip(self.output.chunks_exact_mut(width)) {
            let (sources, [low, high]) = rows.of(row);
            if held[1] == sources[0] {
                lines.swap(0, 1);
                held.swap(0, 1);
            }
            for ((line, held), source) in lines.iter_mut().zip(&mut held).zip(sources) {
                if *held != source {
                    columns.row(&self.x[source * self.width..][..self.width], line);
                    *held = source;
                }
            }
            for ((output, &above), &below) in output.iter_mut().zip(&lines[0]).zip(&lines[1]) {
                output.write(above * low + below * high);
            }
        }
    }
}

/// Some input rows of one plane.
struct BilinearBackward<'a, T> {
    gradient: &'a [T],
    width: usize,
    /// For each row, the output rows that read it, with their weights.
    rows: &'a [Vec<(usize, T)>],
    columns: &'a Layers<T>,
    dx: &'a mut [MaybeUninit<T>],
}

impl<T: Element> Pass for BilinearBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let zero = T::from_f64(0.0);
        let width = self.dx.len() / self.rows.len().max(1);
        let dx = fill(self.dx, zero);
        // One element more: what columns without a reader read.
        let mut line = vec![zero; self.width + 1];
        for (readers, dx) in self.rows.iter().zip(dx.chunks_exact_mut(width)) {
            let mut readers = readers.iter();
            let Some(&(row, weight)) = readers.next() else {
                continue;
            };
            let gradients = |row: usize| &self.gradient[row * self.width..][..self.width];
            for (sum, &gradient) in line.iter_mut().zip(gradients(row)) {
                *sum = gradient * weight;
            }
            for &(row, weight) in readers {
                for (sum, &gradient) in line.iter_mut().zip(gradients(row)) {
                    *sum += gradient * weight;
                }
            }
            self.columns.row(&line, dx);
        }
    }
}

/// Rows `strip` of one plane.
struct NearestStrip<'a, T> {
    x: &'a [T],
    width: usize,
    axes: (&'a Nearest, &'a Nearest),
    strip: Range<usize>,
    output: &'a mut [MaybeUninit<T>],
}

impl<T: Element> Pass for NearestStrip<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (rows, columns) = self.axes;
        let width = self.output.len() / self.strip.len().max(1);
        let output = fill(self.output, T::from_f64(0.0));
        let first = self.strip.start;
        for row in self.strip {
            let (done, rest) = output.split_at_mut((row - first) * width);
            let source = rows.of(row);
            if row > first && rows.of(row - 1) == source {
                rest[..width].copy_from_slice(&done[done.len() - width..]);
            } else {
                let from = &self.x[source * self.width..][..self.width];
                columns.row(from, &mut rest[..width]);
            }
        }
    }
}

/// Input rows `strip` of one plane.
struct NearestBackward<'a, T> {
    gradient: &'a [T],
    width: usize,
    axes: (&'a Nearest, &'a Nearest),
    strip: Range<usize>,
    dx: &'a mut [MaybeUninit<T>],
}

impl<T: Element> Pass for NearestBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (rows, columns) = self.axes;
        let zero = T::from_f64(0.0);
        let width = self.dx.len() / self.strip.len().max(1);
        let dx = fill(self.dx, zero);
        let mut line = vec![zero; self.width];
        for (row, dx) in self.strip.zip(dx.chunks_exact_mut(width)) {
            let readers = rows.readers(row);
            let gradients = |row: usize| &self.gradient[row * self.width..][..self.width];
            match readers.len() {
                0 => {}
                1 => columns.sum_row(gradients(readers.start), dx),
                _ => {
                    let pairs = gradients(readers.start)
                        .iter()
                        .zip(gradients(readers.start + 1));
                    for (sum, (&first, &second)) in line.iter_mut().zip(pairs) {
                        *sum = first + second;
                    }
                    for row in readers.skip(2) {
                        for (sum, &gradient) in line.iter_mut().zip(gradients(row)) {
                            *sum += gradient;
                        }
                    }
                    columns.sum_row(&line, dx);
                }
            }
        }
    }
}
