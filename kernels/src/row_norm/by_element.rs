//! Layer norm: every place of a run has a weight and a bias of its own.

use super::op::{Backward, Options};
use super::statistics::Statistics;
use crate::element::Element;
use crate::output::{CHUNK, Output, chunk_range};
use crate::vector::{LANES, Pass, total};
use crate::{threads, vector};
use std::mem::MaybeUninit;

/// Tasks of the backward pass, at most: each sums the parameters' gradients by itself.
const TASKS: usize = 64;

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
        let (output, statistics) =
            unsafe { (output.range(elements.clone()), statistics.range(rows)) };
        vector::run(Forward {
            x: &x[elements],
            weight,
            bias,
            size,
            eps: options.eps,
            output,
            statistics,
        });
    });
    // SAFETY: the tasks cover the rows, and each writes all of its own.
    unsafe { (output.finish(), statistics.finish()) }
}

struct Forward<'a, T> {
    x: &'a [T],
    weight: &'a [T],
    bias: &'a [T],
    size: usize,
    eps: f64,
    output: &'a mut [MaybeUninit<T>],
    statistics: &'a mut [MaybeUninit<Statistics<T>>],
}

impl<T: Element> Pass for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (row, kept) in self.statistics.iter_mut().enumerate() {
            let range = row * self.size..(row + 1) * self.size;
            let x = &self.x[range.clone()];
            let statistics = *kept.write(Statistics::of(x, self.eps));
            let operands = x.iter().zip(self.weight).zip(self.bias);
            for (output, ((&x, &weight), &bias)) in self.output[range].iter_mut().zip(operands) {
                output.write(statistics.normalise(x) * weight + bias);
            }
        }
    }
}

/// dx, then the gradients of weight and bias.
pub(super) fn backward<T: Element>(operands: &Backward<'_, T>) -> Vec<T> {
    let (count, size) = (operands.options.rows.count, operands.options.rows.size);
    let elements = count * size;
    let found = Output::new(elements + 2 * size);
    let a_task = (CHUNK / size.max(1)).max(count.div_ceil(TASKS)).max(1);
    let tasks = count.div_ceil(a_task);
    // [task][of weight, of bias][size]
    let sums = Output::filled(T::from_f64(0.0), tasks * 2 * size);
    threads::for_each(tasks, |task| {
        let rows = chunk_range(count, a_task, task);
        // SAFETY: tasks have rows and sums of their own; the sums hold zeros.
        let (dx, sums) = unsafe {
            (
                found.range(rows.start * size..rows.end * size),
                sums.range(task * 2 * size..(task + 1) * 2 * size)
                    .assume_init_mut(),
            )
        };
        let (of_weight, of_bias) = sums.split_at_mut(size);
        vector::run(Rows {
            operands,
            first: rows.start,
            dx,
            of_weight,
            of_bias,
        });
    });
    // SAFETY: filled at the start.
    let sums = unsafe { sums.finish() };
    // SAFETY: the tasks are over.
    let parameters = unsafe { found.range(elements..elements + 2 * size) };
    vector::run(Total(&sums, parameters));
    // SAFETY: the tasks covered dx, the total the rest.
    unsafe { found.finish() }
}

/// With ĝ = g · weight and x̂ the normalised x: dx = scale (ĝ − mean ĝ − x̂ · mean(ĝ x̂)).
struct Rows<'a, T> {
    operands: &'a Backward<'a, T>,
    first: usize,
    dx: &'a mut [MaybeUninit<T>],
    of_weight: &'a mut [T],
    of_bias: &'a mut [T],
}

impl<T: Element> Pass for Rows<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let size = self.operands.options.rows.size;
        let weight = self.operands.weight;
        for (index, dx) in self.dx.chunks_exact_mut(size.max(1)).enumerate() {
            let row = self.first + index;
            let statistics = self.operands.statistics[row];
            let range = row * size..(row + 1) * size;
            let (x, gradient) = (
                &self.operands.x[range.clone()],
                &self.operands.gradient[range],
            );
            let (sum, product) = sums_of_row(
                x,
                gradient,
                weight,
                statistics,
                self.of_weight,
                self.of_bias,
            );
            let mean = T::from_f64(sum.to_f64() / size as f64);
            let slope = T::from_f64(product.to_f64() / size as f64);
            for (dx, ((&x, &g), &weight)) in dx.iter_mut().zip(x.iter().zip(gradient).zip(weight)) {
                let normal = statistics.normalise(x);
                dx.write(statistics.scale * ((g * weight - mean) - normal * slope));
            }
        }
    }
}

/// Σ ĝ and Σ ĝ x̂ of a row; g x̂ and g are added to the parameters' sums.
#[inline(always)]
fn sums_of_row<T: Element>(
    x: &[T],
    gradient: &[T],
    weight: &[T],
    statistics: Statistics<T>,
    of_weight: &mut [T],
    of_bias: &mut [T],
) -> (T, T) {
    let zero = T::from_f64(0.0);
    let (mut sums, mut products) = ([zero; LANES], [zero; LANES]);
    let blocks = x
        .chunks(LANES)
        .zip(gradient.chunks(LANES))
        .zip(weight.chunks(LANES))
        .zip(of_weight.chunks_mut(LANES))
        .zip(of_bias.chunks_mut(LANES));
    for ((((x, gradient), weight), of_weight), of_bias) in blocks {
        let lanes = sums.iter_mut().zip(&mut products);
        let operands = x.iter().zip(gradient).zip(weight);
        let parameters = of_weight.iter_mut().zip(of_bias);
        for (((sum, product), ((&x, &g), &weight)), (of_weight, of_bias)) in
            lanes.zip(operands).zip(parameters)
        {
            let normal = statistics.normalise(x);
            *of_weight += g * normal;
            *of_bias += g;
            *sum += g * weight;
            *product += g * weight * normal;
        }
    }
    (total(sums), total(products))
}

/// The sum of the tasks' sums, in their order.
struct Total<'a, T>(&'a [T], &'a mut [MaybeUninit<T>]);

impl<T: Element> Pass for Total<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self(sums, output) = self;
        let mut totals = vec![0.0; output.len()];
        for part in sums.chunks_exact(output.len().max(1)) {
            for (total, part) in totals.iter_mut().zip(part) {
                *total += part.to_f64();
            }
        }
        for (output, total) in output.iter_mut().zip(totals) {
            output.write(T::from_f64(total));
        }
    }
}
