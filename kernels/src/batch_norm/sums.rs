//! Vectorised sums over a segment or a block.

use super::grid::{Block, Grid};
use crate::element::{Element, masked};
use crate::vector::{LANES, Pass, total};

/// Count, mean and sum of squared deviations from it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Moments {
    count: f64,
    pub(crate) mean: f64,
    squares: f64,
}

impl Moments {
    /// From sums of `x − centre` and its square: exact however far the centre lies
    /// from 0, accurate when it lies near the mean.
    fn centred(count: usize, centre: f64, deviations: f64, squares: f64) -> Self {
        let count = count as f64;
        Self {
            count,
            mean: centre + deviations / count,
            squares: not_negative(squares - deviations * deviations / count),
        }
    }

    /// The moments of both sets together.
    pub(super) fn and(self, other: Self) -> Self {
        if self.count == 0.0 {
            return other;
        }
        let count = self.count + other.count;
        let distance = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + distance * other.count / count,
            squares: self.squares
                + other.squares
                + distance * distance * self.count * other.count / count,
        }
    }

    pub(crate) fn variance(self) -> f64 {
        self.squares / self.count
    }
}

/// 0 if negative (rounding can do that); unlike `max`, keeps NaN.
fn not_negative(value: f64) -> f64 {
    if value < 0.0 { 0.0 } else { value }
}

/// The moments of a segment: its mean first, then deviations from that.
pub(crate) struct SegmentMoments<'a, T>(pub(crate) &'a [T]);

impl<T: Element> Pass for SegmentMoments<'_, T> {
    type Output = Moments;

    #[inline(always)]
    fn run(self) -> Moments {
        let Self(x) = self;
        let zero = T::from_f64(0.0);
        let (blocks, rest) = x.as_chunks::<LANES>();
        let mut sums = [zero; LANES];
        for block in blocks {
            for lane in 0..LANES {
                sums[lane] += block[lane];
            }
        }
        for (lane, &value) in rest.iter().enumerate() {
            sums[lane] += value;
        }
        let centre = T::from_f64(total(sums).to_f64() / x.len() as f64);
        let (mut deviations, mut squares) = ([zero; LANES], [zero; LANES]);
        for block in blocks {
            for lane in 0..LANES {
                let deviation = block[lane] - centre;
                deviations[lane] += deviation;
                squares[lane] += deviation * deviation;
            }
        }
        for (lane, &value) in rest.iter().enumerate() {
            let deviation = value - centre;
            deviations[lane] += deviation;
            squares[lane] += deviation * deviation;
        }
        Moments::centred(
            x.len(),
            centre.to_f64(),
            total(deviations).to_f64(),
            total(squares).to_f64(),
        )
    }
}

/// The moments of each channel of a block.
pub(super) struct BlockMoments<'a, T>(
    pub(super) &'a [T],
    pub(super) &'a Grid,
    pub(super) &'a Block,
);

impl<T: Element> Pass for BlockMoments<'_, T> {
    type Output = Vec<Moments>;

    #[inline(always)]
    fn run(self) -> Vec<Moments> {
        let Self(x, grid, block) = self;
        let zero = T::from_f64(0.0);
        let width = block.channels.len() * grid.plane;
        let mut sums = vec![zero; width];
        for image in block.images.clone() {
            for (sum, &value) in sums
                .iter_mut()
                .zip(&x[grid.row_part(image, &block.channels)])
            {
                *sum += value;
            }
        }
        let count = block.images.len() * grid.plane;
        let mut centres = sums;
        for centres in centres.chunks_exact_mut(grid.plane.max(1)) {
            let sum: f64 = centres.iter().map(|sum| sum.to_f64()).sum();
            centres.fill(T::from_f64(sum / count as f64));
        }
        let (mut deviations, mut squares) = (vec![zero; width], vec![zero; width]);
        for image in block.images.clone() {
            let values = &x[grid.row_part(image, &block.channels)];
            for (((deviations, squares), &centre), &value) in deviations
                .iter_mut()
                .zip(&mut squares)
                .zip(&centres)
                .zip(values)
            {
                let deviation = value - centre;
                *deviations += deviation;
                *squares += deviation * deviation;
            }
        }
        (0..block.channels.len())
            .map(|channel| {
                let part = channel * grid.plane..(channel + 1) * grid.plane;
                let sum = |values: &[T]| {
                    values[part.clone()]
                        .iter()
                        .map(|value| value.to_f64())
                        .sum::<f64>()
                };
                Moments::centred(
                    count,
                    centres[part.start].to_f64(),
                    sum(&deviations),
                    sum(&squares),
                )
            })
            .collect()
    }
}

/// Sums of g′ and of g′ · (x − shift), where g′ is the gradient behind the activation.
#[derive(Clone, Copy, Default)]
pub(super) struct GradientSums {
    pub(super) gradient: f64,
    pub(super) product: f64,
}

/// The sums of a segment.
pub(super) struct SegmentSums<'a, T> {
    pub(super) x: &'a [T],
    pub(super) gradient: &'a [T],
    pub(super) output: Option<&'a [T]>,
    pub(super) shift: T,
}

impl<T: Element> Pass for SegmentSums<'_, T> {
    type Output = GradientSums;

    #[inline(always)]
    fn run(self) -> GradientSums {
        let Self {
            x,
            gradient,
            output,
            shift,
        } = self;
        match output {
            Some(output) => segment_sums::<T, true>(x, gradient, output, shift),
            None => segment_sums::<T, false>(x, gradient, gradient, shift),
        }
    }
}

#[inline(always)]
fn segment_sums<T: Element, const MASKED: bool>(
    x: &[T],
    gradient: &[T],
    output: &[T],
    shift: T,
) -> GradientSums {
    let zero = T::from_f64(0.0);
    let (mut sums, mut products) = ([zero; LANES], [zero; LANES]);
    let ((x, x_rest), (gradient, gradient_rest), (output, output_rest)) = (
        x.as_chunks::<LANES>(),
        gradient.as_chunks::<LANES>(),
        output.as_chunks::<LANES>(),
    );
    for ((x, gradient), output) in x.iter().zip(gradient).zip(output) {
        for lane in 0..LANES {
            let gradient = if MASKED {
                masked(output[lane], gradient[lane])
            } else {
                gradient[lane]
            };
            sums[lane] += gradient;
            products[lane] += gradient * (x[lane] - shift);
        }
    }
    for (lane, ((&x, &gradient), &output)) in x_rest
        .iter()
        .zip(gradient_rest)
        .zip(output_rest)
        .enumerate()
    {
        let gradient = if MASKED {
            masked(output, gradient)
        } else {
            gradient
        };
        sums[lane] += gradient;
        products[lane] += gradient * (x - shift);
    }
    GradientSums {
        gradient: total(sums).to_f64(),
        product: total(products).to_f64(),
    }
}

/// The sums of each channel of a block; `shift` has one value a row element.
pub(super) struct BlockSums<'a, T> {
    pub(super) x: &'a [T],
    pub(super) gradient: &'a [T],
    pub(super) output: Option<&'a [T]>,
    pub(super) shift: &'a [T],
    pub(super) grid: &'a Grid,
    pub(super) block: &'a Block,
}

impl<T: Element> Pass for BlockSums<'_, T> {
    type Output = Vec<GradientSums>;

    #[inline(always)]
    fn run(self) -> Vec<GradientSums> {
        let Self {
            x,
            gradient,
            output,
            shift,
            grid,
            block,
        } = self;
        let zero = T::from_f64(0.0);
        let shift = &shift[grid.row_part(0, &block.channels)];
        let (mut sums, mut products) = (vec![zero; shift.len()], vec![zero; shift.len()]);
        for image in block.images.clone() {
            let part = grid.row_part(image, &block.channels);
            let (x, gradient) = (&x[part.clone()], &gradient[part.clone()]);
            match output {
                Some(output) => {
                    add_row::<T, true>(x, gradient, &output[part], shift, &mut sums, &mut products)
                }
                None => add_row::<T, false>(x, gradient, gradient, shift, &mut sums, &mut products),
            }
        }
        (0..block.channels.len())
            .map(|channel| {
                let part = channel * grid.plane..(channel + 1) * grid.plane;
                let sum = |values: &[T]| {
                    values[part.clone()]
                        .iter()
                        .map(|value| value.to_f64())
                        .sum::<f64>()
                };
                GradientSums {
                    gradient: sum(&sums),
                    product: sum(&products),
                }
            })
            .collect()
    }
}

#[inline(always)]
fn add_row<T: Element, const MASKED: bool>(
    x: &[T],
    gradient: &[T],
    output: &[T],
    shift: &[T],
    sums: &mut [T],
    products: &mut [T],
) {
    for (((((sum, product), &x), &gradient), &output), &shift) in sums
        .iter_mut()
        .zip(products)
        .zip(x)
        .zip(gradient)
        .zip(output)
        .zip(shift)
    {
        let gradient = if MASKED {
            masked(output, gradient)
        } else {
            gradient
        };
        *sum += gradient;
        *product += gradient * (x - shift);
    }
}
