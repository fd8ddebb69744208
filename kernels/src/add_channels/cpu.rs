//! The passes over planes of one image and channel each.

use crate::element::Element;
use crate::output::{CHUNK, Output, chunk_range};
use crate::vector::{LANES, Pass, total};
use crate::{threads, vector};
use std::mem::MaybeUninit;

/// Planes that a task works on.
fn planes_a_task(plane: usize) -> usize {
    (CHUNK / plane.max(1)).max(1)
}

/// Each plane plus its number of `shift`.
pub(super) fn add<T: Element>(x: &[T], shift: &[T], plane: usize) -> Vec<T> {
    let output = Output::new(x.len());
    let a_task = planes_a_task(plane);
    threads::for_each(shift.len().div_ceil(a_task), |task| {
        let planes = chunk_range(shift.len(), a_task, task);
        let elements = planes.start * plane..planes.end * plane;
        // SAFETY: tasks have planes of their own.
        let part = unsafe { output.range(elements.clone()) };
        vector::run(Add {
            x: &x[elements],
            shift: &shift[planes],
            plane,
            output: part,
        });
    });
    // SAFETY: the tasks cover the planes, and each writes all of its own.
    unsafe { output.finish() }
}

struct Add<'a, T> {
    x: &'a [T],
    shift: &'a [T],
    plane: usize,
    output: &'a mut [MaybeUninit<T>],
}

impl<T: Element> Pass for Add<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let planes = self.x.chunks_exact(self.plane.max(1));
        let outputs = self.output.chunks_exact_mut(self.plane.max(1));
        for ((x, output), &shift) in planes.zip(outputs).zip(self.shift) {
            for (output, &x) in output.iter_mut().zip(x) {
                output.write(x + shift);
            }
        }
    }
}

/// The sum of each plane.
pub(super) fn sums<T: Element>(x: &[T], plane: usize) -> Vec<T> {
    let count = x.len() / plane.max(1);
    let output = Output::new(count);
    let a_task = planes_a_task(plane);
    threads::for_each(count.div_ceil(a_task), |task| {
        let planes = chunk_range(count, a_task, task);
        // SAFETY: tasks have planes of their own.
        let part = unsafe { output.range(planes.clone()) };
        for (index, sum) in planes.zip(part) {
            sum.write(vector::run(Sum(&x[index * plane..(index + 1) * plane])));
        }
    });
    // SAFETY: the tasks cover the planes.
    unsafe { output.finish() }
}

struct Sum<'a, T>(&'a [T]);

impl<T: Element> Pass for Sum<'_, T> {
    type Output = T;

    #[inline(always)]
    fn run(self) -> T {
        let mut sums = [T::from_f64(0.0); LANES];
        let (whole, rest) = self.0.as_chunks::<LANES>();
        for lanes in whole {
            for (sum, &value) in sums.iter_mut().zip(lanes) {
                *sum += value;
            }
        }
        for (sum, &value) in sums.iter_mut().zip(rest) {
            *sum += value;
        }
        total(sums)
    }
}
