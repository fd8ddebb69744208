//! The specification: every pass as plain loops, in f32 or f64, for any geometry.
//!
//! The fast kernels are tested against these. An output row takes from an input row one
//! run of pixels a tap, so the inner loops are a scaled addition and a dot product.

use super::geometry::Problem;
use crate::element::Element;
use crate::threads;

/// The output positions from which one tap sees the input, along one axis.
///
/// `position` ranges over `first..end`; the input coordinate is `position · stride + shift`.
#[derive(Clone, Copy)]
struct Reach {
    first: usize,
    end: usize,
    stride: usize,
    shift: isize,
}

impl Reach {
    fn new(problem: &Problem, vertical: bool, tap: usize) -> Self {
        let pick = |pair: (usize, usize)| if vertical { pair.0 } else { pair.1 };
        let geometry = &problem.geometry;
        let (stride, size) = (pick(geometry.stride), pick(problem.input) as isize);
        let shift = (tap * pick(geometry.dilation)) as isize - pick(geometry.padding) as isize;
        let up = |value: isize| value.max(0) as usize;
        let first = up(-shift).div_ceil(stride);
        let end = up(size - shift).div_ceil(stride).min(pick(problem.output));
        Self {
            first,
            end: end.max(first),
            stride,
            shift,
        }
    }

    fn input(&self, position: usize) -> usize {
        ((position * self.stride) as isize + self.shift) as usize
    }
}

/// Calls `row(output row start, input row start, columns)` for every output row that tap (ky, kx) reaches.
fn rows(problem: &Problem, ky: usize, kx: usize, mut row: impl FnMut(usize, usize, Reach)) {
    let (vertical, columns) = (
        Reach::new(problem, true, ky),
        Reach::new(problem, false, kx),
    );
    if columns.first == columns.end {
        return;
    }
    for y in vertical.first..vertical.end {
        let input_row = vertical.input(y) * problem.input.1;
        row(y * problem.output.1, input_row, columns);
    }
}

/// y[n,k] = bias[k] + Σ_c,ky,kx w[k,c,ky,kx] · x[n,c](stride·position + dilation·tap − padding).
pub(crate) fn forward<T: Element>(
    problem: &Problem,
    input: &[T],
    weight: &[T],
    bias: Option<&[T]>,
) -> Vec<T> {
    let mut output = vec![T::from_f64(0.0); problem.output_len()];
    let (group_in, group_out) = (problem.group_in(), problem.group_out());
    threads::for_each_chunk(&mut output, problem.output_pixels(), |index, plane| {
        let (n, k) = (index / problem.out_channels, index % problem.out_channels);
        plane.fill(bias.map_or(T::from_f64(0.0), |bias| bias[k]));
        for c in 0..group_in {
            let channel = k / group_out * group_in + c;
            let source = plane_of(
                input,
                n * problem.in_channels + channel,
                problem.input_pixels(),
            );
            for (tap, &w) in plane_of(weight, k * group_in + c, problem.taps())
                .iter()
                .enumerate()
            {
                rows(
                    problem,
                    tap / problem.kernel.1,
                    tap % problem.kernel.1,
                    |out, inp, reach| {
                        let targets = &mut plane[out + reach.first..out + reach.end];
                        let sources = source[inp + reach.input(reach.first)..]
                            .iter()
                            .step_by(reach.stride);
                        for (target, &x) in targets.iter_mut().zip(sources) {
                            *target += w * x;
                        }
                    },
                );
            }
        }
    });
    output
}

/// dx: the transpose of [`forward`] in its input.
pub(crate) fn input_gradient<T: Element>(
    problem: &Problem,
    gradient: &[T],
    weight: &[T],
) -> Vec<T> {
    let mut result = vec![T::from_f64(0.0); problem.input_len()];
    let (group_in, group_out) = (problem.group_in(), problem.group_out());
    threads::for_each_chunk(&mut result, problem.input_pixels(), |index, plane| {
        let (n, channel) = (index / problem.in_channels, index % problem.in_channels);
        let (group, c) = (channel / group_in, channel % group_in);
        for k in group * group_out..(group + 1) * group_out {
            let source = plane_of(
                gradient,
                n * problem.out_channels + k,
                problem.output_pixels(),
            );
            for (tap, &w) in plane_of(weight, k * group_in + c, problem.taps())
                .iter()
                .enumerate()
            {
                rows(
                    problem,
                    tap / problem.kernel.1,
                    tap % problem.kernel.1,
                    |out, inp, reach| {
                        let targets = plane[inp + reach.input(reach.first)..]
                            .iter_mut()
                            .step_by(reach.stride);
                        for (target, &dy) in
                            targets.zip(&source[out + reach.first..out + reach.end])
                        {
                            *target += w * dy;
                        }
                    },
                );
            }
        }
    });
    result
}

/// dw: the transpose of [`forward`] in its weight.
pub(crate) fn weight_gradient<T: Element>(
    problem: &Problem,
    input: &[T],
    gradient: &[T],
) -> Vec<T> {
    let mut result = vec![T::from_f64(0.0); problem.weight_len()];
    let (group_in, group_out) = (problem.group_in(), problem.group_out());
    threads::for_each_chunk(&mut result, problem.taps(), |index, taps| {
        let (k, c) = (index / group_in, index % group_in);
        let channel = k / group_out * group_in + c;
        for n in 0..problem.batch {
            let source = plane_of(
                input,
                n * problem.in_channels + channel,
                problem.input_pixels(),
            );
            let dy = plane_of(
                gradient,
                n * problem.out_channels + k,
                problem.output_pixels(),
            );
            for (tap, target) in taps.iter_mut().enumerate() {
                let mut sum = T::from_f64(0.0);
                rows(
                    problem,
                    tap / problem.kernel.1,
                    tap % problem.kernel.1,
                    |out, inp, reach| {
                        let sources = source[inp + reach.input(reach.first)..]
                            .iter()
                            .step_by(reach.stride);
                        for (&dy, &x) in dy[out + reach.first..out + reach.end].iter().zip(sources)
                        {
                            sum += dy * x;
                        }
                    },
                );
                *target += sum;
            }
        }
    });
    result
}

/// Sums `values` `[batch, channels, pixels]` over batch and pixels, in f64.
pub(crate) fn channel_sums<T: Element>(values: &[T], channels: usize, pixels: usize) -> Vec<T> {
    let mut sums = vec![T::from_f64(0.0); channels];
    threads::for_each_chunk(&mut sums, 1, |channel, sum| {
        let mut total = 0.0;
        for image in values.chunks_exact((channels * pixels).max(1)) {
            let mut lanes = [0f64; 8];
            for values in plane_of(image, channel, pixels).chunks(8) {
                for (lane, &value) in lanes.iter_mut().zip(values) {
                    *lane += value.to_f64();
                }
            }
            total += lanes.iter().sum::<f64>();
        }
        sum[0] = T::from_f64(total);
    });
    sums
}

/// Plane `index` of `values`, of `len` elements.
fn plane_of<T>(values: &[T], index: usize, len: usize) -> &[T] {
    &values[index * len..(index + 1) * len]
}
