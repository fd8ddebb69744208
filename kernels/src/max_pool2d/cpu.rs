//! Row by row: each offset in the window is one vectorised pass over a row of outputs.

use super::Planes;
use crate::element::Element;
use crate::output::{CHUNK, Output, chunk_range, fill};
use crate::vector::Pass;
use crate::{threads, vector};
use std::mem::MaybeUninit;

/// Rows of fewer outputs are not worth vectors.
const NARROW: usize = 16;

/// The maxima.
pub(super) fn forward<T: Element>(x: &[T], planes: &Planes) -> Vec<T> {
    let outputs = planes.rows.len() * planes.columns.len();
    let output = Output::new(planes.count * outputs);
    for_each_plane(planes, |plane| {
        // SAFETY: planes do not overlap.
        let part = unsafe { output.range(plane * outputs..(plane + 1) * outputs) };
        vector::run(PlaneMaxima::<T, false> {
            x: plane_of(x, plane, planes),
            planes,
            output: part,
            positions: &mut [],
        });
    });
    // SAFETY: `PlaneMaxima` writes every output of every plane.
    unsafe { output.finish() }
}

/// The maxima and where in their planes they were found.
pub(super) fn forward_with_positions<T: Element>(x: &[T], planes: &Planes) -> (Vec<T>, Vec<u32>) {
    let outputs = planes.rows.len() * planes.columns.len();
    let output = Output::new(planes.count * outputs);
    let positions = Output::new(planes.count * outputs);
    for_each_plane(planes, |plane| {
        let range = plane * outputs..(plane + 1) * outputs;
        // SAFETY: planes do not overlap.
        let (part, positions) = unsafe { (output.range(range.clone()), positions.range(range)) };
        vector::run(PlaneMaxima::<T, true> {
            x: plane_of(x, plane, planes),
            planes,
            output: part,
            positions,
        });
    });
    // SAFETY: `PlaneMaxima` writes every output and position of every plane.
    unsafe { (output.finish(), positions.finish()) }
}

/// Each output's gradient, added where its maximum was found.
pub(super) fn backward<T: Element>(gradient: &[T], positions: &[u32], planes: &Planes) -> Vec<T> {
    let outputs = planes.rows.len() * planes.columns.len();
    let size = planes.height * planes.width;
    let dx = Output::new(planes.count * size);
    for_each_plane(planes, |plane| {
        // SAFETY: planes do not overlap.
        let part = unsafe { dx.range(plane * size..(plane + 1) * size) };
        let range = plane * outputs..(plane + 1) * outputs;
        let part = fill(part, T::from_f64(0.0));
        for (&gradient, &position) in gradient[range.clone()].iter().zip(&positions[range]) {
            part[position as usize] += gradient;
        }
    });
    // SAFETY: each plane was filled with zeros as a whole.
    unsafe { dx.finish() }
}

fn for_each_plane(planes: &Planes, body: impl Fn(usize) + Sync) {
    let a_task = (CHUNK / (planes.height * planes.width)).max(1);
    threads::for_each(planes.count.div_ceil(a_task), |task| {
        chunk_range(planes.count, a_task, task).for_each(&body)
    });
}

fn plane_of<'a, T>(x: &'a [T], plane: usize, planes: &Planes) -> &'a [T] {
    let size = planes.height * planes.width;
    &x[plane * size..(plane + 1) * size]
}

struct PlaneMaxima<'a, T, const POSITIONS: bool> {
    x: &'a [T],
    planes: &'a Planes,
    output: &'a mut [MaybeUninit<T>],
    /// Empty unless they are wanted.
    positions: &'a mut [MaybeUninit<u32>],
}

impl<T: Element, const POSITIONS: bool> Pass for PlaneMaxima<'_, T, POSITIONS> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            x,
            planes,
            output,
            positions,
        } = self;
        match planes.columns.stride {
            _ if planes.columns.len() < NARROW => {
                plane_maxima_narrow::<T, POSITIONS>(x, planes, output, positions)
            }
            1 => plane_maxima_strided::<T, POSITIONS, 1>(x, planes, output, positions),
            2 => plane_maxima_strided::<T, POSITIONS, 2>(x, planes, output, positions),
            _ => plane_maxima_strided::<T, POSITIONS, 0>(x, planes, output, positions),
        }
    }
}

/// Window by window, where rows are too short for vectors.
#[inline(always)]
fn plane_maxima_narrow<T: Element, const POSITIONS: bool>(
    x: &[T],
    planes: &Planes,
    output: &mut [MaybeUninit<T>],
    positions: &mut [MaybeUninit<u32>],
) {
    let (width, columns) = (planes.width, planes.columns.len());
    for (row, rows) in planes.rows.windows.iter().enumerate() {
        for (column, inside) in planes
            .columns
            .windows
            .iter()
            .map(|window| &window.inside)
            .enumerate()
        {
            let first = rows.inside.start * width + inside.start;
            let (mut best, mut found) = (x[first], first);
            for y in rows.inside.clone() {
                for (at, &value) in x[y * width..][inside.clone()].iter().enumerate() {
                    #[allow(clippy::eq_op)]
                    let larger = value > best || value != value;
                    best = if larger { value } else { best };
                    found = if larger {
                        y * width + inside.start + at
                    } else {
                        found
                    };
                }
            }
            output[row * columns + column].write(best);
            if POSITIONS {
                positions[row * columns + column].write(found as u32);
            }
        }
    }
}

/// `STRIDE` is the stride of the columns, 0 if only known at run time.
#[inline(always)]
fn plane_maxima_strided<T: Element, const POSITIONS: bool, const STRIDE: usize>(
    x: &[T],
    planes: &Planes,
    output: &mut [MaybeUninit<T>],
    positions: &mut [MaybeUninit<u32>],
) {
    let width = planes.width;
    let columns = planes.columns.len();
    for (row, window) in planes.rows.windows.iter().enumerate() {
        let best = fill(
            &mut output[row * columns..(row + 1) * columns],
            T::from_f64(f64::NEG_INFINITY),
        );
        let found: &mut [u32] = if POSITIONS {
            let found = &mut positions[row * columns..(row + 1) * columns];
            // A window of −∞ alone gives its gradient to its first element.
            for (found, column) in found.iter_mut().zip(&planes.columns.windows) {
                found.write((window.inside.start * width + column.inside.start) as u32);
            }
            // SAFETY: columns has as many windows as `found` has elements: all were just written.
            unsafe { found.assume_init_mut() }
        } else {
            &mut []
        };
        for y in window.inside.clone() {
            let line = &x[y * width..(y + 1) * width];
            for (outputs, first) in &planes.offsets {
                let (outputs, first) = (outputs.clone(), *first);
                let stride = if STRIDE == 0 {
                    planes.columns.stride
                } else {
                    STRIDE
                };
                let line = &line[first.min(width)..];
                let at = (y * width + first) as u32;
                let found = if POSITIONS {
                    &mut found[outputs.clone()]
                } else {
                    &mut *found
                };
                take_larger::<T, POSITIONS, STRIDE>(line, &mut best[outputs], found, stride, at);
            }
        }
    }
}

/// `best[i] = line[i · stride]` where that is larger or NaN.
#[inline(always)]
fn take_larger<T: Element, const POSITIONS: bool, const STRIDE: usize>(
    line: &[T],
    best: &mut [T],
    found: &mut [u32],
    stride: usize,
    at: u32,
) {
    let stride = if STRIDE == 0 { stride } else { STRIDE };
    let Some(last) = best.len().checked_sub(1) else {
        return;
    };
    // One bounds check for the whole loop.
    assert!(last * stride < line.len() && (!POSITIONS || found.len() == best.len()));
    for index in 0..best.len() {
        // SAFETY: index ≤ last, so the assertion above covers all three accesses.
        unsafe {
            let value = *line.get_unchecked(index * stride);
            let best = best.get_unchecked_mut(index);
            #[allow(clippy::eq_op)]
            let larger = value > *best || value != value;
            *best = if larger { value } else { *best };
            if POSITIONS {
                let found = found.get_unchecked_mut(index);
                *found = if larger {
                    at + (index * stride) as u32
                } else {
                    *found
                };
            }
        }
    }
}
