//! The passes over memory: moments, the normalised output, and the gradients.

use super::grid::Grid;
use super::sums::{BlockMoments, BlockSums, GradientSums, Moments, SegmentMoments, SegmentSums};
use crate::activation::Activation;
use crate::element::{Element, masked, positive};
use crate::output::{Output, chunk_range};
use crate::vector::Pass;
use crate::{threads, vector};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Statistics and parameters of every channel.
pub(crate) struct Channels<'a, T> {
    pub(crate) mean: &'a [f64],
    pub(crate) inverse_deviation: &'a [f64],
    pub(crate) weight: &'a [T],
    pub(crate) bias: &'a [T],
}

/// Mean and biased variance of every channel.
pub(crate) fn moments<T: Element>(x: &[T], grid: &Grid) -> (Vec<f64>, Vec<f64>) {
    let partial = partial_sums(
        grid,
        |segment, _| vector::run(SegmentMoments(&x[segment])),
        |block| vector::run(BlockMoments(x, grid, &grid.block(block))),
    );
    let moments = over_groups(grid, &partial, Moments::default(), Moments::and);
    (
        moments.iter().map(|moments| moments.mean).collect(),
        moments.iter().map(|moments| moments.variance()).collect(),
    )
}

/// `[group][channel]` partial results, from segments (element range, channel) or blocks.
fn partial_sums<R: Copy + Default + Send>(
    grid: &Grid,
    of_segment: impl Fn(Range<usize>, usize) -> R + Sync,
    of_block: impl Fn(usize) -> Vec<R> + Sync,
) -> Vec<R> {
    let partial = Output::filled(R::default(), grid.groups() * grid.channels);
    if grid.by_row {
        let blocks = grid.blocks();
        threads::for_each(blocks, |index| {
            let block = grid.block(index);
            let group = index * grid.groups() / blocks.max(1);
            let start = group * grid.channels;
            // SAFETY: each block has its own group and channels.
            let slots =
                unsafe { partial.range(start + block.channels.start..start + block.channels.end) };
            for (slot, result) in slots.iter_mut().zip(of_block(index)) {
                slot.write(result);
            }
        });
    } else {
        // Segments lie as [image][channel][part]; partial sums as [image][part][channel].
        let parts = grid.segments_a_run();
        threads::for_each(grid.segments().div_ceil(grid.segments_a_task()), |task| {
            for index in chunk_range(grid.segments(), grid.segments_a_task(), task) {
                let segment = grid.segment(index);
                let (image, channel, part) = (
                    index / parts / grid.channels,
                    segment.parameters.start,
                    index % parts,
                );
                let slot = (image * parts + part) * grid.channels + channel;
                // SAFETY: each segment has a slot of its own.
                let slot = unsafe { partial.range(slot..slot + 1) };
                slot[0].write(of_segment(segment.elements, channel));
            }
        });
    }
    // SAFETY: the slots were filled with a default, and written over above.
    unsafe { partial.finish() }
}

/// Each channel's partial results, combined in order of the groups.
fn over_groups<R: Copy>(
    grid: &Grid,
    partial: &[R],
    empty: R,
    combine: impl Fn(R, R) -> R,
) -> Vec<R> {
    let mut combined = vec![empty; grid.channels];
    for group in partial.chunks_exact(grid.channels.max(1)) {
        for (combined, &part) in combined.iter_mut().zip(group) {
            *combined = combine(*combined, part);
        }
    }
    combined
}

/// `act((x − shift) · scale + offset + residual)`.
pub(crate) fn forward<T: Element>(
    x: &[T],
    residual: Option<&[T]>,
    channels: &Channels<'_, T>,
    grid: &Grid,
    activation: Activation,
) -> Vec<T> {
    // Subtracting first keeps the digits that scale · x + offset would lose where the
    // mean is large; what rounding took from the shift comes back in the offset.
    let shift = channels.mean.iter().map(|&mean| T::from_f64(mean));
    let scale =
        |channel: usize| channels.weight[channel].to_f64() * channels.inverse_deviation[channel];
    let offset = (0..grid.channels).map(|channel| {
        let lost = channels.mean[channel] - T::from_f64(channels.mean[channel]).to_f64();
        T::from_f64(channels.bias[channel].to_f64() - lost * scale(channel))
    });
    let shift = grid.spread(shift);
    let offset = grid.spread(offset);
    let scale = grid.spread((0..grid.channels).map(|channel| T::from_f64(scale(channel))));
    let output = Output::new(grid.elements());
    let each_segment = |elements: Range<usize>, parameters: Range<usize>| {
        // SAFETY: segments do not overlap.
        let part = unsafe { output.range(elements.clone()) };
        let residual = residual.map(|residual| &residual[elements.clone()]);
        let parameters = [
            &shift[parameters.clone()],
            &scale[parameters.clone()],
            &offset[parameters],
        ];
        let segment = ForwardSegment {
            x: &x[elements],
            residual,
            parameters,
            output: part,
            activation,
        };
        vector::run(segment);
    };
    for_each_segment(grid, each_segment);
    // SAFETY: the segments cover the tensor, and each is written as a whole.
    unsafe { output.finish() }
}

fn for_each_segment(grid: &Grid, body: impl Fn(Range<usize>, Range<usize>) + Sync) {
    threads::for_each(grid.segments().div_ceil(grid.segments_a_task()), |task| {
        for index in chunk_range(grid.segments(), grid.segments_a_task(), task) {
            let segment = grid.segment(index);
            body(segment.elements, segment.parameters);
        }
    });
}

struct ForwardSegment<'a, T> {
    x: &'a [T],
    residual: Option<&'a [T]>,
    /// Shift, scale and offset: one for the segment, or one an element.
    parameters: [&'a [T]; 3],
    output: &'a mut [MaybeUninit<T>],
    activation: Activation,
}

impl<T: Element> Pass for ForwardSegment<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        match self.activation {
            Activation::None => self.write(|value| value),
            Activation::Relu => self.write(positive),
        }
    }
}

impl<T: Element> ForwardSegment<'_, T> {
    #[inline(always)]
    fn write(self, act: impl Fn(T) -> T) {
        let Self {
            x,
            residual,
            parameters: [shift, scale, offset],
            output,
            ..
        } = self;
        match (residual, shift.len() == 1) {
            (None, true) => {
                let (shift, scale, offset) = (shift[0], scale[0], offset[0]);
                for (output, &x) in output.iter_mut().zip(x) {
                    output.write(act((x - shift) * scale + offset));
                }
            }
            (Some(residual), true) => {
                let (shift, scale, offset) = (shift[0], scale[0], offset[0]);
                for ((output, &x), &residual) in output.iter_mut().zip(x).zip(residual) {
                    output.write(act((x - shift) * scale + offset + residual));
                }
            }
            (None, false) => {
                for ((((output, &x), &shift), &scale), &offset) in
                    output.iter_mut().zip(x).zip(shift).zip(scale).zip(offset)
                {
                    output.write(act((x - shift) * scale + offset));
                }
            }
            (Some(residual), false) => {
                for (((((output, &x), &residual), &shift), &scale), &offset) in output
                    .iter_mut()
                    .zip(x)
                    .zip(residual)
                    .zip(shift)
                    .zip(scale)
                    .zip(offset)
                {
                    output.write(act((x - shift) * scale + offset + residual));
                }
            }
        }
    }
}

/// What the backward pass reads.
pub(crate) struct Backward<'a, T> {
    pub(crate) x: &'a [T],
    pub(crate) gradient: &'a [T],
    /// The result, if an activation lies behind it.
    pub(crate) output: Option<&'a [T]>,
    pub(crate) channels: Channels<'a, T>,
    pub(crate) grid: &'a Grid,
    /// Whether the statistics are the batch's and so depend on x.
    pub(crate) of_batch: bool,
}

/// The gradients that were asked for.
pub(crate) struct Found<T> {
    pub(crate) x: Option<Vec<T>>,
    /// Of the weights, then of the biases.
    pub(crate) packed: Option<Vec<T>>,
    /// The gradient behind the activation, which is the residual's.
    pub(crate) masked: Option<Vec<T>>,
}

impl<T: Element> Backward<'_, T> {
    /// With g′ the gradient behind the activation, x̂ = (x − mean) / deviation and n values a channel:
    /// d bias = Σ g′, d weight = Σ g′ x̂, dx = weight / deviation · (g′ − Σ g′ / n − x̂ · Σ g′ x̂ / n).
    pub(crate) fn run(&self, of_x: bool, of_parameters: bool, of_residual: bool) -> Found<T> {
        let channels = self.grid.channels;
        let sums = if of_parameters || (of_x && self.of_batch) {
            self.sums()
        } else {
            vec![GradientSums::default(); channels]
        };
        let packed = of_parameters.then(|| {
            let weight = sums
                .iter()
                .zip(self.channels.inverse_deviation)
                .map(|(sums, inverse)| sums.product * inverse);
            weight
                .chain(sums.iter().map(|sums| sums.gradient))
                .map(T::from_f64)
                .collect()
        });
        let (x, masked) = self.write(&sums, of_x, of_residual);
        Found { x, packed, masked }
    }

    /// Σ g′ and Σ g′ (x − mean) of every channel.
    fn sums(&self) -> Vec<GradientSums> {
        let grid = self.grid;
        let shift = grid.spread(self.channels.mean.iter().map(|&mean| T::from_f64(mean)));
        let partial = partial_sums(
            grid,
            |elements, channel| {
                let output = self.output.map(|output| &output[elements.clone()]);
                let (x, gradient) = (&self.x[elements.clone()], &self.gradient[elements]);
                vector::run(SegmentSums {
                    x,
                    gradient,
                    output,
                    shift: shift[channel],
                })
            },
            |block| {
                let block = grid.block(block);
                vector::run(BlockSums {
                    x: self.x,
                    gradient: self.gradient,
                    output: self.output,
                    shift: &shift,
                    grid,
                    block: &block,
                })
            },
        );
        let add = |a: GradientSums, b: GradientSums| GradientSums {
            gradient: a.gradient + b.gradient,
            product: a.product + b.product,
        };
        let mut sums = over_groups(grid, &partial, GradientSums::default(), add);
        for (sums, &mean) in sums.iter_mut().zip(self.channels.mean) {
            sums.product -= (mean - T::from_f64(mean).to_f64()) * sums.gradient;
        }
        sums
    }

    /// dx = p · g′ + q · (x − shift) + r with p, q, r of the channel, and g′ itself.
    fn write(
        &self,
        sums: &[GradientSums],
        of_x: bool,
        of_residual: bool,
    ) -> (Option<Vec<T>>, Option<Vec<T>>) {
        let grid = self.grid;
        let count = grid.count() as f64;
        let coefficients = |channel: usize| {
            let inverse = self.channels.inverse_deviation[channel];
            let p = self.channels.weight[channel].to_f64() * inverse;
            if !self.of_batch {
                return [p, 0.0, 0.0];
            }
            let mean = self.channels.mean[channel];
            let q = -p * inverse * inverse * sums[channel].product / count;
            [
                p,
                q,
                -p * sums[channel].gradient / count - q * (mean - T::from_f64(mean).to_f64()),
            ]
        };
        let spread = |which: usize| {
            grid.spread((0..grid.channels).map(|channel| T::from_f64(coefficients(channel)[which])))
        };
        let shift = grid.spread(self.channels.mean.iter().map(|&mean| T::from_f64(mean)));
        let (p, q, r) = (spread(0), spread(1), spread(2));
        let dx = of_x.then(|| Output::new(grid.elements()));
        let masked = of_residual.then(|| Output::new(grid.elements()));
        if of_x || of_residual {
            for_each_segment(grid, |elements, parameters| {
                // SAFETY: segments do not overlap.
                let (dx, masked) = unsafe {
                    (
                        dx.as_ref().map(|dx| dx.range(elements.clone())),
                        masked.as_ref().map(|masked| masked.range(elements.clone())),
                    )
                };
                let segment = BackwardSegment {
                    dx,
                    masked,
                    x: &self.x[elements.clone()],
                    gradient: &self.gradient[elements.clone()],
                    output: self.output.map(|output| &output[elements]),
                    coefficients: [&shift, &p, &q, &r].map(|values| &values[parameters.clone()]),
                    of_batch: self.of_batch,
                };
                vector::run(segment);
            });
        }
        // SAFETY: the segments cover the tensor, and each is written as a whole.
        unsafe {
            (
                dx.map(|dx| dx.finish()),
                masked.map(|masked| masked.finish()),
            )
        }
    }
}

struct BackwardSegment<'a, T> {
    x: &'a [T],
    gradient: &'a [T],
    output: Option<&'a [T]>,
    /// Shift, p, q and r: one for the segment, or one an element.
    coefficients: [&'a [T]; 4],
    of_batch: bool,
    /// Where dx and g′ are to be written, if they are wanted.
    dx: Option<&'a mut [MaybeUninit<T>]>,
    masked: Option<&'a mut [MaybeUninit<T>]>,
}

impl<T: Element> Pass for BackwardSegment<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        if let Some(dx) = self.dx.take() {
            match self.output {
                Some(output) => write_dx::<T, true>(&self, output, dx),
                None => write_dx::<T, false>(&self, self.gradient, dx),
            }
        }
        // A second loop over what the first left in the nearest cache.
        if let (Some(written), Some(output)) = (self.masked, self.output) {
            for ((written, &output), &gradient) in written.iter_mut().zip(output).zip(self.gradient)
            {
                written.write(masked(output, gradient));
            }
        }
    }
}

#[inline(always)]
fn write_dx<T: Element, const MASKED: bool>(
    segment: &BackwardSegment<'_, T>,
    output: &[T],
    dx: &mut [MaybeUninit<T>],
) {
    let behind = |output: T, gradient: T| {
        if MASKED {
            masked(output, gradient)
        } else {
            gradient
        }
    };
    let [shift, p, q, r] = segment.coefficients;
    let operands = dx
        .iter_mut()
        .zip(segment.x)
        .zip(segment.gradient)
        .zip(output);
    match (segment.of_batch, p.len() == 1) {
        (true, true) => {
            let (shift, p, q, r) = (shift[0], p[0], q[0], r[0]);
            for (((dx, &x), &gradient), &output) in operands {
                dx.write(p * behind(output, gradient) + (q * (x - shift) + r));
            }
        }
        (true, false) => {
            for (((((((dx, &x), &gradient), &output), &shift), &p), &q), &r) in
                operands.zip(shift).zip(p).zip(q).zip(r)
            {
                dx.write(p * behind(output, gradient) + (q * (x - shift) + r));
            }
        }
        (false, true) => {
            let p = p[0];
            for (((dx, _), &gradient), &output) in operands {
                dx.write(p * behind(output, gradient));
            }
        }
        (false, false) => {
            for ((((dx, _), &gradient), &output), &p) in operands.zip(p) {
                dx.write(p * behind(output, gradient));
            }
        }
    }
}
