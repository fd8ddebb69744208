//! Group norm: every channel has a weight and a bias; the silu function may follow.

use super::op::{Affine, Backward, Options};
use super::statistics::Statistics;
use crate::element::Element;
use crate::output::{CHUNK, Output, chunk_range};
use crate::vector::{LANES, Pass, total};
use crate::{threads, vector};
use std::mem::MaybeUninit;

/// The channels of a run: of which image and which place in it.
#[derive(Clone, Copy)]
struct Channels {
    /// Of an image.
    all: usize,
    /// Of a group.
    grouped: usize,
    groups: usize,
    plane: usize,
}

impl Channels {
    fn of(options: Options) -> Self {
        match options.rows.affine {
            Affine::Channel {
                channels,
                groups,
                plane,
            } => Self {
                all: channels,
                grouped: channels / groups,
                groups,
                plane,
            },
            Affine::Element => Self {
                all: options.rows.size,
                grouped: options.rows.size,
                groups: 1,
                plane: 1,
            },
        }
    }

    /// The first channel of run `row`.
    fn first(&self, row: usize) -> usize {
        row % self.groups * self.grouped
    }
}

/// The result and the statistics of every run.
pub(super) fn forward<T: Element>(
    x: &[T],
    weight: &[T],
    bias: &[T],
    options: Options,
) -> (Vec<T>, Vec<Statistics<T>>) {
    let (count, size) = (options.rows.count, options.rows.size);
    let (output, statistics) = (Output::new(x.len()), Output::new(count));
    let a_task = (CHUNK / size.max(1)).max(1);
    threads::for_each(count.div_ceil(a_task), |task| {
        let rows = chunk_range(count, a_task, task);
        let elements = rows.start * size..rows.end * size;
        // SAFETY: tasks have rows of their own.
        let (output, kept) = unsafe {
            (
                output.range(elements.clone()),
                statistics.range(rows.clone()),
            )
        };
        vector::run(Forward {
            x: &x[elements],
            weight,
            bias,
            channels: Channels::of(options),
            options,
            first: rows.start,
            output,
            statistics: kept,
        });
    });
    // SAFETY: the tasks cover the rows, and each writes all of its own.
    unsafe { (output.finish(), statistics.finish()) }
}

struct Forward<'a, T> {
    x: &'a [T],
    weight: &'a [T],
    bias: &'a [T],
    channels: Channels,
    options: Options,
    /// The first run.
    first: usize,
    output: &'a mut [MaybeUninit<T>],
    statistics: &'a mut [MaybeUninit<Statistics<T>>],
}

impl<T: Element> Pass for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (size, plane) = (self.options.rows.size, self.channels.plane);
        for (index, kept) in self.statistics.iter_mut().enumerate() {
            let x = &self.x[index * size..(index + 1) * size];
            let output = &mut self.output[index * size..(index + 1) * size];
            let statistics = *kept.write(Statistics::of(x, self.options.eps));
            let first = self.channels.first(self.first + index);
            let planes = x
                .chunks_exact(plane.max(1))
                .zip(output.chunks_exact_mut(plane.max(1)));
            for (channel, (x, output)) in planes.enumerate() {
                let (weight, bias) = (self.weight[first + channel], self.bias[first + channel]);
                if self.options.silu {
                    for (output, &x) in output.iter_mut().zip(x) {
                        let value = statistics.normalise(x) * weight + bias;
                        output.write(value * value.sigmoid());
                    }
                } else {
                    for (output, &x) in output.iter_mut().zip(x) {
                        output.write(statistics.normalise(x) * weight + bias);
                    }
                }
            }
        }
    }
}

/// dx, then the gradients of weight and bias.
pub(super) fn backward<T: Element>(operands: &Backward<'_, T>) -> Vec<T> {
    let (count, size) = (operands.options.rows.count, operands.options.rows.size);
    let channels = Channels::of(operands.options);
    let elements = count * size;
    let found = Output::new(elements + 2 * channels.all);
    // [run][channel of the group], (of weight, of bias)
    let sums = Output::filled((0.0, 0.0), count * channels.grouped);
    let a_task = (CHUNK / size.max(1)).max(1);
    threads::for_each(count.div_ceil(a_task), |task| {
        let rows = chunk_range(count, a_task, task);
        let of_rows = rows.start * channels.grouped..rows.end * channels.grouped;
        // SAFETY: tasks have rows and sums of their own; the sums hold zeros.
        let (dx, sums) = unsafe {
            (
                found.range(rows.start * size..rows.end * size),
                sums.range(of_rows).assume_init_mut(),
            )
        };
        vector::run(Rows {
            operands,
            channels,
            first: rows.start,
            dx,
            sums,
        });
    });
    // SAFETY: filled at the start.
    let sums = unsafe { sums.finish() };
    let mut totals = vec![(0.0, 0.0); channels.all];
    for image in sums.chunks_exact(channels.all.max(1)) {
        for (total, part) in totals.iter_mut().zip(image) {
            *total = (total.0 + part.0, total.1 + part.1);
        }
    }
    // SAFETY: the tasks are over.
    let parameters = unsafe { found.range(elements..elements + 2 * channels.all) };
    let values = totals
        .iter()
        .map(|total| total.0)
        .chain(totals.iter().map(|total| total.1));
    for (parameter, value) in parameters.iter_mut().zip(values) {
        parameter.write(T::from_f64(value));
    }
    // SAFETY: the tasks covered dx, the loop above the rest.
    unsafe { found.finish() }
}

/// With g′ the gradient behind the silu function, ĝ = g′ · weight and x̂ the normalised x:
/// dx = scale (ĝ − mean ĝ − x̂ · mean(ĝ x̂)).
struct Rows<'a, T> {
    operands: &'a Backward<'a, T>,
    channels: Channels,
    /// The first run.
    first: usize,
    dx: &'a mut [MaybeUninit<T>],
    /// Σ g′ x̂ and Σ g′ of every channel.
    sums: &'a mut [(f64, f64)],
}

impl<T: Element> Pass for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        for index in 0..self.sums.len() / self.channels.grouped.max(1) {
            if self.operands.options.silu {
                self.row::<true>(index);
            } else {
                self.row::<false>(index);
            }
        }
    }
}

impl<T: Element> Rows<'_, T> {
    #[inline(always)]
    fn row<const SILU: bool>(&mut self, index: usize) {
        let Backward {
            x,
            weight,
            bias,
            gradient,
            statistics,
            options,
        } = self.operands;
        let (size, Channels { grouped, plane, .. }) = (options.rows.size, self.channels);
        let (row, statistics) = (self.first + index, statistics[self.first + index]);
        let first = self.channels.first(row);
        let sums = &mut self.sums[index * grouped..(index + 1) * grouped];
        let dx = &mut self.dx[index * size..(index + 1) * size];
        let planes =
            |channel: usize| row * size + channel * plane..row * size + (channel + 1) * plane;
        let (mut mean, mut slope) = (0.0, 0.0);
        for (channel, sums) in sums.iter_mut().enumerate() {
            let elements = planes(channel);
            let weight = weight[first + channel];
            let dx = &mut dx[channel * plane..(channel + 1) * plane];
            let x = &x[elements.clone()];
            let gradient = if SILU {
                // Behind the silu function; dx holds it until the sums are known.
                let bias = bias[first + channel];
                behind(
                    x,
                    &gradient[elements],
                    |x| statistics.normalise(x) * weight + bias,
                    dx,
                )
            } else {
                &gradient[elements]
            };
            *sums = sums_of_plane(x, gradient, statistics);
            mean += weight.to_f64() * sums.1;
            slope += weight.to_f64() * sums.0;
        }
        let mean = T::from_f64(mean / size as f64);
        let slope = T::from_f64(slope / size as f64);
        for channel in 0..grouped {
            let elements = planes(channel);
            let weight = weight[first + channel];
            let dx = &mut dx[channel * plane..(channel + 1) * plane];
            let value = |x: T, g: T| {
                statistics.scale * ((g * weight - mean) - statistics.normalise(x) * slope)
            };
            if SILU {
                // SAFETY: `behind` wrote every element.
                let dx = unsafe { dx.assume_init_mut() };
                for (dx, &x) in dx.iter_mut().zip(&x[elements]) {
                    *dx = value(x, *dx);
                }
            } else {
                let operands = x[elements.clone()].iter().zip(&gradient[elements]);
                for (dx, (&x, &g)) in dx.iter_mut().zip(operands) {
                    dx.write(value(x, g));
                }
            }
        }
    }
}

/// Writes the gradient of `value(x)` when that of its silu is `gradient`.
#[inline(always)]
fn behind<'a, T: Element>(
    x: &[T],
    gradient: &[T],
    value: impl Fn(T) -> T,
    output: &'a mut [MaybeUninit<T>],
) -> &'a [T] {
    let one = T::from_f64(1.0);
    for (output, (&x, &g)) in output.iter_mut().zip(x.iter().zip(gradient)) {
        let z = value(x);
        let s = z.sigmoid();
        output.write(g * (s * (one + z * (one - s))));
    }
    // SAFETY: the three slices have one length, so the loop wrote every element.
    unsafe { output.assume_init_ref() }
}

/// Σ g x̂ and Σ g of a channel.
#[inline(always)]
fn sums_of_plane<T: Element>(x: &[T], gradient: &[T], statistics: Statistics<T>) -> (f64, f64) {
    let zero = T::from_f64(0.0);
    let (mut sums, mut products) = ([zero; LANES], [zero; LANES]);
    let ((x, x_rest), (gradient, gradient_rest)) =
        (x.as_chunks::<LANES>(), gradient.as_chunks::<LANES>());
    for (x, gradient) in x.iter().zip(gradient) {
        for lane in 0..LANES {
            sums[lane] += gradient[lane];
            products[lane] += gradient[lane] * statistics.normalise(x[lane]);
        }
    }
    for (lane, (&x, &g)) in x_rest.iter().zip(gradient_rest).enumerate() {
        sums[lane] += g;
        products[lane] += g * statistics.normalise(x);
    }
    (total(products).to_f64(), total(sums).to_f64())
}
