//! Runs of elements copied and scaled: an image of a, then the image of b.

use crate::element::Element;
use crate::output::{CHUNK, Output};
use crate::threads;
use crate::vector::{self, Pass};
use std::mem::MaybeUninit;
use std::ops::Range;

/// How many tasks an image of `size` elements is cut into.
fn tasks(size: usize) -> usize {
    size.div_ceil(CHUNK)
}

/// The elements of task `index` of an image of `size` elements.
fn of_task(size: usize, index: usize) -> Range<usize> {
    index * CHUNK..((index + 1) * CHUNK).min(size)
}

/// Images of `a` and `b` in turn, each times its factor.
pub(super) fn join<T: Element>(
    a: &[T],
    b: &[T],
    (first, second): (usize, usize),
    factors: Option<&[(f64, f64)]>,
) -> Vec<T> {
    let output = Output::new(a.len() + b.len());
    let batch = (a.len() + b.len()) / (first + second).max(1);
    let (of_a, of_b) = (tasks(first), tasks(second));
    threads::for_each(batch * (of_a + of_b), |task| {
        let (image, index) = (task / (of_a + of_b), task % (of_a + of_b));
        let factors = factors.map_or((1.0, 1.0), |factors| factors[image]);
        let start = image * (first + second);
        let (from, to, factor) = match index.checked_sub(of_a) {
            None => {
                let run = of_task(first, index);
                let from = &a[image * first + run.start..image * first + run.end];
                (from, start + run.start..start + run.end, factors.0)
            }
            Some(index) => {
                let run = of_task(second, index);
                let from = &b[image * second + run.start..image * second + run.end];
                let start = start + first;
                (from, start + run.start..start + run.end, factors.1)
            }
        };
        // SAFETY: tasks have runs of their own.
        vector::run(Scaled(from, T::from_f64(factor), unsafe {
            output.range(to)
        }));
    });
    // SAFETY: the runs cover every image of both.
    unsafe { output.finish() }
}

/// The part of `a`, or if `second` of `b`, in the joined images of `gradient`, each times its factor.
pub(super) fn part<T: Element>(
    gradient: &[T],
    (first, second): (usize, usize),
    factors: Option<&[(f64, f64)]>,
    is_second: bool,
) -> Vec<T> {
    let batch = gradient.len() / (first + second).max(1);
    let (offset, size) = if is_second {
        (first, second)
    } else {
        (0, first)
    };
    let output = Output::new(batch * size);
    let of_image = tasks(size);
    threads::for_each(batch * of_image, |task| {
        let (image, run) = (task / of_image, of_task(size, task % of_image));
        let factors = factors.map_or((1.0, 1.0), |factors| factors[image]);
        let factor = if is_second { factors.1 } else { factors.0 };
        let start = image * (first + second) + offset;
        let from = &gradient[start + run.start..start + run.end];
        let to = image * size + run.start..image * size + run.end;
        // SAFETY: tasks have runs of their own.
        vector::run(Scaled(from, T::from_f64(factor), unsafe {
            output.range(to)
        }));
    });
    // SAFETY: the runs cover every image.
    unsafe { output.finish() }
}

struct Scaled<'a, T>(&'a [T], T, &'a mut [MaybeUninit<T>]);

impl<T: Element> Pass for Scaled<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (output, &x) in self.2.iter_mut().zip(self.0) {
            output.write(x * self.1);
        }
    }
}
