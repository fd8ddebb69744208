//! The catch-up loss and its gradients: g is read once for all heads.

use super::{PIECE, Samples};
use crate::element::Element;
use crate::output::{CHUNK, Output, chunk_range, collect};
use crate::vector::{self, LANES, Pass, total};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Squares of a lane that are added up in the tensor's own type before `f64` takes their sum.
const RUN: usize = 16;

/// The operands, see [`catchup_loss`](crate::catchup_loss).
pub(crate) struct Loss<'a, T> {
    pub(crate) samples: Samples,
    pub(crate) predictions: &'a [&'a [T]],
    pub(crate) targets: &'a [&'a [T]],
    pub(crate) velocity: &'a [T],
    pub(crate) mask: &'a [bool],
    /// (w1, w2) of every head.
    pub(crate) weights: &'a [(f64, f64)],
    /// ω of every sample.
    pub(crate) of_samples: &'a [f64],
}

/// The loss and the gradients that were asked for.
pub(crate) struct Found<T> {
    pub(crate) loss: f64,
    pub(crate) of_predictions: Vec<Option<Vec<T>>>,
    pub(crate) of_velocity: Option<Vec<T>>,
}

impl<T: Element> Loss<'_, T> {
    /// The loss, the gradients of the `wanted` predictions and, if `of_velocity`, that of g.
    pub(crate) fn run(&self, wanted: &[bool], of_velocity: bool) -> Found<T> {
        let length = self.samples.len();
        let dp: Vec<Option<Output<T>>> = wanted
            .iter()
            .map(|&wanted| wanted.then(|| Output::new(length)))
            .collect();
        let dg = of_velocity.then(|| Output::new(length));
        let partial = collect(length.div_ceil(CHUNK), |task| {
            vector::run(Part {
                loss: self,
                dp: &dp,
                dg: dg.as_ref(),
                range: chunk_range(length, CHUNK, task),
            })
        });
        // SAFETY: the parts cover all elements, and each writes its own of every output.
        let finish = |output: Output<T>| unsafe { output.finish() };
        Found {
            loss: partial.iter().sum::<f64>() / length as f64,
            of_predictions: dp.into_iter().map(|output| output.map(finish)).collect(),
            of_velocity: dg.map(finish),
        }
    }
}

/// A run of elements of all operands.
struct Part<'a, T> {
    loss: &'a Loss<'a, T>,
    dp: &'a [Option<Output<T>>],
    dg: Option<&'a Output<T>>,
    range: Range<usize>,
}

impl<T: Element> Pass for Part<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let Self {
            loss,
            dp,
            dg,
            range,
        } = self;
        let mut sum = 0.0;
        for (sample, piece) in loss.samples.pieces(range, PIECE) {
            let omega = loss.of_samples[sample];
            let scale = 2.0 * omega / loss.samples.len() as f64;
            let g = &loss.velocity[piece.clone()];
            for (head, &(w1, w2)) in loss.weights.iter().enumerate() {
                let p = &loss.predictions[head][piece.clone()];
                // The target of a masked sample is g; what stands in its place is never read.
                let u = match loss.mask[sample] {
                    true => &loss.targets[head][piece.clone()],
                    false => g,
                };
                sum += omega * squares(p, u, g, [w1, w2].map(T::from_f64));
                if let Some(dp) = &dp[head] {
                    // SAFETY: tasks have ranges of their own.
                    let dp = unsafe { dp.range(piece.clone()) };
                    gradient(dp, p, u, g, [scale * w1, scale * w2].map(T::from_f64));
                }
            }
            if let Some(dg) = dg {
                // SAFETY: tasks have ranges of their own.
                let dg = unsafe { dg.range(piece.clone()) };
                let dg = crate::output::fill(dg, T::from_f64(0.0));
                for (p, &(_, w2)) in loss.predictions.iter().zip(loss.weights) {
                    let factor = T::from_f64(scale * w2);
                    for ((dg, &p), &g) in dg.iter_mut().zip(&p[piece.clone()]).zip(g) {
                        *dg += (g - p) * factor;
                    }
                }
            }
        }
        sum
    }
}

/// Σ w1 (p − u)² + w2 (p − g)².
#[inline(always)]
fn squares<T: Element>(p: &[T], u: &[T], g: &[T], [w1, w2]: [T; 2]) -> f64 {
    let square = |p: T, u: T, g: T| {
        let (q, r) = (p - u, p - g);
        w1 * (q * q) + w2 * (r * r)
    };
    let runs = p
        .chunks(RUN * LANES)
        .zip(u.chunks(RUN * LANES))
        .zip(g.chunks(RUN * LANES));
    let mut sum = 0.0;
    for ((p, u), g) in runs {
        let mut sums = [T::from_f64(0.0); LANES];
        let ((p, p_rest), (u, u_rest), (g, g_rest)) = (
            p.as_chunks::<LANES>(),
            u.as_chunks::<LANES>(),
            g.as_chunks::<LANES>(),
        );
        for ((p, u), g) in p.iter().zip(u).zip(g) {
            for lane in 0..LANES {
                sums[lane] += square(p[lane], u[lane], g[lane]);
            }
        }
        for (((sum, &p), &u), &g) in sums.iter_mut().zip(p_rest).zip(u_rest).zip(g_rest) {
            *sum += square(p, u, g);
        }
        sum += total(sums).to_f64();
    }
    sum
}

/// Writes c1 (p − u) + c2 (p − g).
#[inline(always)]
fn gradient<T: Element>(dp: &mut [MaybeUninit<T>], p: &[T], u: &[T], g: &[T], [c1, c2]: [T; 2]) {
    for (((dp, &p), &u), &g) in dp.iter_mut().zip(p).zip(u).zip(g) {
        dp.write(c1 * (p - u) + c2 * (p - g));
    }
}
