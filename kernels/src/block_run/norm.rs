//! Batch norm as constants per channel: from partial moments, and back from partial sums.

use super::blocks::Shape;
use crate::scratch::Scratch;
use crate::simd::BLOCK;
use crate::threads::Shared;

/// `(z − mean) · scale + offset`; whole blocks of channels, zeros beyond the last.
pub(super) struct Affine {
    pub mean: Vec<f32>,
    pub scale: Vec<f32>,
    pub offset: Vec<f32>,
}

/// `p · g′ + q · (z − mean) + r`; whole blocks of channels, zeros beyond the last.
pub(super) struct GradientAffine {
    pub mean: Vec<f32>,
    pub p: Vec<f32>,
    pub q: Vec<f32>,
    pub r: Vec<f32>,
}

impl GradientAffine {
    pub(super) fn zeros(padded: usize) -> Self {
        let zeros = || vec![0.0; padded];
        Self {
            mean: zeros(),
            p: zeros(),
            q: zeros(),
            r: zeros(),
        }
    }
}

/// What a norm measured of its batch.
pub(super) struct Statistics {
    pub mean: Vec<f64>,
    pub variance: Vec<f64>,
    pub inverse_deviation: Vec<f64>,
}

/// Sums of parts of images, `[part][channel block][N][16]`; their number and order depend on the shape alone.
pub(super) struct Partial<const N: usize> {
    values: Scratch,
    to: Shared<f32>,
    strips: usize,
    padded: usize,
}

impl<const N: usize> Partial<N> {
    /// Zeros for all `strips` of all images.
    pub(super) fn new(shape: &Shape, strips: usize) -> Self {
        let mut values = Scratch::zeros(shape.batch * strips * shape.padded() * N);
        Self {
            to: Shared(values.as_mut_ptr()),
            values,
            strips,
            padded: shape.padded(),
        }
    }

    /// The N vectors of 16 channels from `channel` on.
    pub(super) fn slot(&self, image: usize, strip: usize, channel: usize) -> *mut f32 {
        let start = ((image * self.strips + strip) * self.padded + channel) * N;
        assert!(strip < self.strips && start + N * BLOCK <= self.values.len());
        // SAFETY: the slot lies inside the allocation, as asserted.
        unsafe { self.to.at(start) }
    }

    /// The partial results of one channel, in order.
    fn of_channel(&self, channel: usize) -> impl Iterator<Item = [f64; N]> + '_ {
        let start = channel / BLOCK * BLOCK * N + channel % BLOCK;
        self.values
            .chunks_exact((self.padded * N).max(1))
            .map(move |part| std::array::from_fn(|which| f64::from(part[start + which * BLOCK])))
    }
}

/// Partial moments: a centre, the sum of deviations from it, the sum of their squares, and how many.
pub(super) type PartialMoments = Partial<4>;

/// Partial sums of a gradient: itself, and times the distance of z from its mean.
pub(super) type PartialSums = Partial<2>;

impl Statistics {
    /// Combines the moments of all parts of each channel.
    pub(super) fn combine(partial: &PartialMoments, channels: usize, eps: f64) -> Self {
        let (mut mean, mut variance) = (Vec::with_capacity(channels), Vec::with_capacity(channels));
        for channel in 0..channels {
            let (mut count, mut centre, mut squares) = (0.0, 0.0, 0.0);
            for [about, deviations, squared, more] in partial.of_channel(channel) {
                if more == 0.0 {
                    continue;
                }
                let distance = about + deviations / more - centre;
                let own = squared - deviations * deviations / more;
                let total = count + more;
                // Rounding can make a sum of squares negative; unlike `max`, this keeps NaN.
                squares += if own < 0.0 { 0.0 } else { own };
                squares += distance * distance * count * more / total;
                centre += distance * more / total;
                count = total;
            }
            mean.push(centre);
            variance.push(squares / count);
        }
        Self {
            inverse_deviation: crate::batch_norm::inverse_deviation(variance.clone(), eps),
            mean,
            variance,
        }
    }

    /// The norm as constants per channel.
    pub(super) fn affine(&self, gamma: &[f32], beta: &[f32]) -> Affine {
        let constant = |of: &dyn Fn(usize) -> f64| padded(gamma.len(), of);
        let scale = |channel: usize| f64::from(gamma[channel]) * self.inverse_deviation[channel];
        Affine {
            mean: constant(&|channel| self.mean[channel]),
            scale: constant(&scale),
            // What rounding took from the mean comes back here.
            offset: constant(&|channel| {
                f64::from(beta[channel]) - self.lost(channel) * scale(channel)
            }),
        }
    }

    fn lost(&self, channel: usize) -> f64 {
        self.mean[channel] - f64::from(self.mean[channel] as f32)
    }

    /// From the sums of g′: the constants of dz, and the gradients of gamma and beta.
    pub(super) fn gradient(
        &self,
        partial: &PartialSums,
        gamma: &[f32],
        count: usize,
    ) -> (GradientAffine, Vec<f32>, Vec<f32>) {
        let channels = gamma.len();
        let sums: Vec<(f64, f64)> = (0..channels)
            .map(|channel| {
                let (gradient, product) =
                    partial.of_channel(channel).fold((0.0, 0.0), |sums, part| {
                        (sums.0 + part[0], sums.1 + part[1])
                    });
                (gradient, product - self.lost(channel) * gradient)
            })
            .collect();
        let p = |channel: usize| f64::from(gamma[channel]) * self.inverse_deviation[channel];
        let q = |channel: usize| {
            let inverse = self.inverse_deviation[channel];
            -p(channel) * inverse * inverse * sums[channel].1 / count as f64
        };
        let r = |channel: usize| {
            -p(channel) * sums[channel].0 / count as f64 - q(channel) * self.lost(channel)
        };
        let of_gamma = |channel: usize| (sums[channel].1 * self.inverse_deviation[channel]) as f32;
        (
            GradientAffine {
                mean: padded(channels, &|channel| self.mean[channel]),
                p: padded(channels, &p),
                q: padded(channels, &q),
                r: padded(channels, &r),
            },
            (0..channels).map(of_gamma).collect(),
            sums.iter().map(|sums| sums.0 as f32).collect(),
        )
    }
}

/// One constant a channel, zeros in the rest of the last block.
fn padded(channels: usize, of: &dyn Fn(usize) -> f64) -> Vec<f32> {
    let mut values: Vec<f32> = (0..channels).map(|channel| of(channel) as f32).collect();
    values.resize(channels.next_multiple_of(BLOCK), 0.0);
    values
}
