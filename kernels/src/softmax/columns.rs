//! Loops across columns: a strip of neighbouring columns at a time, one vector of them an instruction.

use crate::axis::Axis;
use crate::element::Element;
use crate::output::Output;
use crate::vector::Pass;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Columns of a strip, at most.
const WIDTH: usize = 512;
/// Elements of a strip where columns are long: twice 32 KiB of `f32`.
const STRIP: usize = 8192;

/// Some columns of one of the `outer` parts of a tensor.
pub(super) struct Columns {
    axis: Axis,
    outer: usize,
    columns: Range<usize>,
}

impl Columns {
    /// Columns of a strip: a multiple of the vector's lanes.
    fn width(axis: Axis) -> usize {
        (STRIP / axis.size.max(1)).clamp(32, WIDTH) / 32 * 32
    }

    /// How many strips a part has.
    pub(super) fn strips(axis: Axis) -> usize {
        axis.inner.div_ceil(Self::width(axis))
    }

    pub(super) fn strip(axis: Axis, outer: usize, index: usize) -> Self {
        let start = index * Self::width(axis);
        let columns = start..(start + Self::width(axis)).min(axis.inner);
        Self {
            axis,
            outer,
            columns,
        }
    }

    /// Where the elements at place `index` of the dimension lie.
    #[inline(always)]
    fn row(&self, index: usize) -> Range<usize> {
        let start = (self.outer * self.axis.size + index) * self.axis.inner;
        start + self.columns.start..start + self.columns.end
    }
}

pub(super) struct ForwardColumns<'a, T> {
    x: &'a [T],
    output: &'a Output<T>,
    columns: Columns,
    log: bool,
}

impl<'a, T: Element> ForwardColumns<'a, T> {
    /// # Safety
    /// Nobody else uses these columns of the output while this runs.
    pub(super) unsafe fn new(
        x: &'a [T],
        output: &'a Output<T>,
        columns: Columns,
        log: bool,
    ) -> Self {
        Self {
            x,
            output,
            columns,
            log,
        }
    }

    #[inline(always)]
    fn output(&mut self, index: usize) -> &mut [MaybeUninit<T>] {
        // SAFETY: the caller of `new` promised that the columns are this task's alone, and
        // the mutable borrow keeps the task from holding two rows at once.
        unsafe { self.output.range(self.columns.row(index)) }
    }
}

impl<T: Element> Pass for ForwardColumns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let width = self.columns.columns.len();
        let (mut largest, mut sums) = (
            [T::from_f64(f64::NEG_INFINITY); WIDTH],
            [T::from_f64(0.0); WIDTH],
        );
        let (largest, sums) = (&mut largest[..width], &mut sums[..width]);
        let (x, size) = (self.x, self.columns.axis.size);
        for index in 0..size {
            for (largest, &x) in largest.iter_mut().zip(&x[self.columns.row(index)]) {
                *largest = if x > *largest { x } else { *largest };
            }
        }
        for index in 0..size {
            let x = &x[self.columns.row(index)];
            let output = self.output(index);
            // The logarithm's first step needs the power only for the sum; what it keeps here is overwritten.
            for (((sum, &largest), &x), output) in sums.iter_mut().zip(&*largest).zip(x).zip(output)
            {
                let power = (x - largest).exp();
                *sum += power;
                output.write(power);
            }
        }
        if self.log {
            for (largest, sum) in largest.iter_mut().zip(&*sums) {
                *largest += T::from_f64(sum.to_f64().ln());
            }
            for index in 0..size {
                let x = &x[self.columns.row(index)];
                for ((&shift, &x), output) in largest.iter().zip(x).zip(self.output(index)) {
                    output.write(x - shift);
                }
            }
            return;
        }
        for sum in sums.iter_mut() {
            *sum = T::from_f64(1.0) / *sum;
        }
        for index in 0..size {
            // SAFETY: the loop above wrote every row.
            let output = unsafe { self.output(index).assume_init_mut() };
            for (&factor, output) in sums.iter().zip(output) {
                *output *= factor;
            }
        }
    }
}

pub(super) struct BackwardColumns<'a, T> {
    y: &'a [T],
    gradient: &'a [T],
    dx: &'a Output<T>,
    columns: Columns,
    log: bool,
}

impl<'a, T: Element> BackwardColumns<'a, T> {
    /// # Safety
    /// Nobody else uses these columns of dx while this runs.
    pub(super) unsafe fn new(
        y: &'a [T],
        gradient: &'a [T],
        dx: &'a Output<T>,
        columns: Columns,
        log: bool,
    ) -> Self {
        Self {
            y,
            gradient,
            dx,
            columns,
            log,
        }
    }

    /// `body(y, g, sum, dx)` for every row of the strip.
    #[inline(always)]
    fn each_row(&mut self, mut body: impl FnMut(&[T], &[T], &mut [MaybeUninit<T>])) {
        for index in 0..self.columns.axis.size {
            let row = self.columns.row(index);
            // SAFETY: the caller of `new` promised that the columns are this task's alone.
            let dx = unsafe { self.dx.range(row.clone()) };
            body(&self.y[row.clone()], &self.gradient[row], dx);
        }
    }
}

impl<T: Element> Pass for BackwardColumns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let mut sums = [T::from_f64(0.0); WIDTH];
        let sums = &mut sums[..self.columns.columns.len()];
        if self.log {
            self.each_row(|_, gradient, _| {
                for (sum, &g) in sums.iter_mut().zip(gradient) {
                    *sum += g;
                }
            });
            self.each_row(|y, gradient, dx| {
                for (((&sum, &y), &g), dx) in sums.iter().zip(y).zip(gradient).zip(dx) {
                    dx.write(g - y.exp() * sum);
                }
            });
        } else {
            self.each_row(|y, gradient, _| {
                for ((sum, &y), &g) in sums.iter_mut().zip(y).zip(gradient) {
                    *sum += y * g;
                }
            });
            self.each_row(|y, gradient, dx| {
                for (((&sum, &y), &g), dx) in sums.iter().zip(y).zip(gradient).zip(dx) {
                    dx.write(y * (g - sum));
                }
            });
        }
    }
}
