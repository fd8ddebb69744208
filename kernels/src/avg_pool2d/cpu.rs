//! Windows are summed down the columns first (whole rows at a time), then along the row.

use super::{Part, Planes};
use crate::element::Element;
use crate::output::{CHUNK, Output, chunk_range, fill};
use crate::vector::{LANES, Pass, total};
use crate::{threads, vector};
use std::mem::MaybeUninit;

/// The mean of every window.
pub(super) fn window_means<T: Element>(x: &[T], planes: &Planes) -> Vec<T> {
    let (outputs, size) = (
        planes.rows.len() * planes.columns.len(),
        planes.height * planes.width,
    );
    let output = Output::new(planes.count * outputs);
    let divisors = divisors(planes);
    for_each_task(planes, |tasks| {
        let mut sums = vec![T::from_f64(0.0); planes.width];
        for plane in tasks {
            // SAFETY: planes do not overlap.
            let part = unsafe { output.range(plane * outputs..(plane + 1) * outputs) };
            vector::run(PlaneMeans {
                x: &x[plane * size..(plane + 1) * size],
                planes,
                divisors: &divisors,
                sums: &mut sums,
                output: part,
            });
        }
    });
    // SAFETY: `PlaneMeans` writes every output of every plane.
    unsafe { output.finish() }
}

/// Each output's gradient, spread over its window.
pub(super) fn window_means_backward<T: Element>(gradient: &[T], planes: &Planes) -> Vec<T> {
    let (outputs, size) = (
        planes.rows.len() * planes.columns.len(),
        planes.height * planes.width,
    );
    let dx = Output::new(planes.count * size);
    let divisors = divisors(planes);
    for_each_task(planes, |tasks| {
        let mut line = vec![T::from_f64(0.0); planes.width];
        for plane in tasks {
            // SAFETY: planes do not overlap.
            let part = unsafe { dx.range(plane * size..(plane + 1) * size) };
            vector::run(PlaneBackward {
                gradient: &gradient[plane * outputs..(plane + 1) * outputs],
                planes,
                divisors: &divisors,
                line: &mut line,
                dx: part,
            });
        }
    });
    // SAFETY: `PlaneBackward` writes every element of every plane.
    unsafe { dx.finish() }
}

/// What the sum of each window of a plane is divided by.
fn divisors<T: Element>(planes: &Planes) -> Vec<T> {
    let divisor = |row: &Part, column: &Part| T::from_f64(row.divisor * column.divisor);
    planes
        .rows
        .iter()
        .flat_map(|row| {
            planes
                .columns
                .iter()
                .map(move |column| divisor(row, column))
        })
        .collect()
}

fn for_each_task(planes: &Planes, body: impl Fn(std::ops::Range<usize>) + Sync) {
    let a_task = (CHUNK / (planes.height * planes.width)).max(1);
    threads::for_each(planes.count.div_ceil(a_task), |task| {
        body(chunk_range(planes.count, a_task, task))
    });
}

struct PlaneMeans<'a, T> {
    x: &'a [T],
    planes: &'a Planes,
    divisors: &'a [T],
    /// Room for the sums down each column.
    sums: &'a mut [T],
    output: &'a mut [MaybeUninit<T>],
}

impl<T: Element> Pass for PlaneMeans<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            x,
            planes,
            divisors,
            sums,
            output,
        } = self;
        let columns = planes.columns.len();
        for (row, part) in planes.rows.iter().enumerate() {
            let mut lines = x[part.inside.start * planes.width..part.inside.end * planes.width]
                .chunks_exact(planes.width);
            if let Some(first) = lines.next() {
                sums.copy_from_slice(first);
            }
            for line in lines {
                for (sum, &value) in sums.iter_mut().zip(line) {
                    *sum += value;
                }
            }
            let range = row * columns..(row + 1) * columns;
            for ((output, column), &divisor) in output[range.clone()]
                .iter_mut()
                .zip(&planes.columns)
                .zip(&divisors[range])
            {
                let mut sum = T::from_f64(0.0);
                for &value in &sums[column.inside.clone()] {
                    sum += value;
                }
                output.write(sum / divisor);
            }
        }
    }
}

struct PlaneBackward<'a, T> {
    gradient: &'a [T],
    planes: &'a Planes,
    divisors: &'a [T],
    /// Room for one row of the gradient.
    line: &'a mut [T],
    dx: &'a mut [MaybeUninit<T>],
}

impl<T: Element> Pass for PlaneBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            gradient,
            planes,
            divisors,
            line,
            dx,
        } = self;
        let zero = T::from_f64(0.0);
        let columns = planes.columns.len();
        let dx = fill(dx, zero);
        for (row, part) in planes.rows.iter().enumerate() {
            line.fill(zero);
            let range = row * columns..(row + 1) * columns;
            for ((&gradient, column), &divisor) in gradient[range.clone()]
                .iter()
                .zip(&planes.columns)
                .zip(&divisors[range])
            {
                let share = gradient / divisor;
                for value in &mut line[column.inside.clone()] {
                    *value += share;
                }
            }
            for target in dx[part.inside.start * planes.width..part.inside.end * planes.width]
                .chunks_exact_mut(planes.width)
            {
                for (target, &value) in target.iter_mut().zip(&*line) {
                    *target += value;
                }
            }
        }
    }
}

/// The mean of every `plane` consecutive elements.
pub(super) fn global_means<T: Element>(x: &[T], plane: usize) -> Vec<T> {
    let count = x.len() / plane;
    let a_task = (CHUNK / plane).max(1);
    let output = Output::new(count);
    threads::for_each(count.div_ceil(a_task), |task| {
        let range = chunk_range(count, a_task, task);
        // SAFETY: tasks have ranges of their own.
        let part = unsafe { output.range(range.clone()) };
        vector::run(Means {
            x: &x[range.start * plane..range.end * plane],
            plane,
            output: part,
        });
    });
    // SAFETY: `Means` writes every element.
    unsafe { output.finish() }
}

struct Means<'a, T> {
    x: &'a [T],
    plane: usize,
    output: &'a mut [MaybeUninit<T>],
}

impl<T: Element> Pass for Means<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { x, plane, output } = self;
        let zero = T::from_f64(0.0);
        for (output, values) in output.iter_mut().zip(x.chunks_exact(plane)) {
            let (blocks, rest) = values.as_chunks::<LANES>();
            let mut sums = [zero; LANES];
            for block in blocks {
                for lane in 0..LANES {
                    sums[lane] += block[lane];
                }
            }
            for (sum, &value) in sums.iter_mut().zip(rest) {
                *sum += value;
            }
            output.write(T::from_f64(total(sums).to_f64() / plane as f64));
        }
    }
}

/// Each gradient divided by `plane`, repeated `plane` times.
pub(super) fn global_means_backward<T: Element>(gradient: &[T], plane: usize) -> Vec<T> {
    let a_task = (CHUNK / plane).max(1);
    let dx = Output::new(gradient.len() * plane);
    threads::for_each(gradient.len().div_ceil(a_task), |task| {
        let range = chunk_range(gradient.len(), a_task, task);
        // SAFETY: tasks have ranges of their own.
        let part = unsafe { dx.range(range.start * plane..range.end * plane) };
        for (values, &gradient) in part.chunks_exact_mut(plane).zip(&gradient[range]) {
            let share = MaybeUninit::new(T::from_f64(gradient.to_f64() / plane as f64));
            values.fill(share);
        }
    });
    // SAFETY: the chunks cover every element.
    unsafe { dx.finish() }
}
