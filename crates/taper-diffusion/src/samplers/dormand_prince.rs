//! The adaptive rule of Dormand and Prince (1980): order 5, an error of order 4, a step length a sample.

use super::{SamplerConfig, Samples, Velocity};
use crate::error::{DiffusionError, Result};
use crate::noise::scalars_like;
use candle_core::{DType, Tensor};
use taper_kernels::{index_select, rk_stage};

/// Where the velocities k_2 … k_7 are taken, in steps from t.
const NODES: [f64; 6] = [0.2, 0.3, 0.8, 8.0 / 9.0, 1.0, 1.0];
/// Their points; the last row is the step itself (the seventh velocity is the next step's first).
const STAGES: [&[f64]; 6] = [
    &[1.0 / 5.0],
    &[3.0 / 40.0, 9.0 / 40.0],
    &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
    &[
        19372.0 / 6561.0,
        -25360.0 / 2187.0,
        64448.0 / 6561.0,
        -212.0 / 729.0,
    ],
    &[
        9017.0 / 3168.0,
        -355.0 / 33.0,
        46732.0 / 5247.0,
        49.0 / 176.0,
        -5103.0 / 18656.0,
    ],
    &[
        35.0 / 384.0,
        0.0,
        500.0 / 1113.0,
        125.0 / 192.0,
        -2187.0 / 6784.0,
        11.0 / 84.0,
    ],
];
/// Difference of both solutions.
const ERROR: [f64; 7] = [
    71.0 / 57600.0,
    0.0,
    -71.0 / 16695.0,
    71.0 / 1920.0,
    -17253.0 / 339_200.0,
    22.0 / 525.0,
    -1.0 / 40.0,
];
/// The first step tried, of the time axis 0 … 1.
const FIRST_STEP: f64 = 0.05;
/// Step control: a safety factor, and the most that a step shrinks or grows by.
const SAFETY: f64 = 0.9;
const SHRINK: f64 = 0.2;
const GROW: f64 = 5.0;
/// Velocities that one call of the kernel takes.
const MOST: usize = 4;

pub(super) fn sample(
    velocity: &mut Velocity<'_>,
    z: &Tensor,
    config: &SamplerConfig,
) -> Result<Samples> {
    let batch = z.dim(0)?;
    let mut done: Vec<Option<Tensor>> = vec![None; batch];
    if batch == 0 {
        return Ok(Samples {
            x: z.clone(),
            evaluations: 0,
        });
    }
    let mut front = Front {
        x: z.detach().contiguous()?,
        first: velocity(z, &scalars_like(z, &vec![1.0; batch])?)?.detach(),
        index: (0..batch).collect(),
        t: vec![1.0; batch],
        h: vec![FIRST_STEP; batch],
    };
    let mut evaluations = 1;
    while !front.index.is_empty() {
        if evaluations + NODES.len() > config.evaluations {
            return Err(DiffusionError::Tolerance {
                sample: front.index[0],
                tolerance: config.tolerance,
                evaluations,
                time: front.t[0],
            });
        }
        front.advance(velocity, config.tolerance)?;
        evaluations += NODES.len();
        front.retire(&mut done)?;
    }
    let rows: Vec<Tensor> = done.into_iter().flatten().collect();
    Ok(Samples {
        x: Tensor::cat(&rows, 0)?,
        evaluations,
    })
}

/// The samples that are still on their way; every list has one entry for each.
struct Front {
    x: Tensor,
    /// v(x, t).
    first: Tensor,
    index: Vec<usize>,
    t: Vec<f64>,
    h: Vec<f64>,
}

impl Front {
    /// One step tried for every sample; those whose error is small enough move.
    fn advance(&mut self, velocity: &mut Velocity<'_>, tolerance: f64) -> Result<()> {
        let h: Vec<f64> = self.h.iter().zip(&self.t).map(|(h, t)| h.min(*t)).collect();
        let lengths = scalars_like(&self.x, &h)?;
        let mut slopes = vec![self.first.clone()];
        let mut end = self.x.clone();
        for (node, coefficients) in NODES.iter().zip(STAGES) {
            end = combine(&self.x, &slopes, coefficients, &lengths)?;
            let times: Vec<f64> = self.t.iter().zip(&h).map(|(t, h)| t - node * h).collect();
            slopes.push(velocity(&end, &scalars_like(&self.x, &times)?)?.detach());
        }
        let error = combine(&self.x.zeros_like()?, &slopes, &ERROR, &lengths)?;
        let errors = relative(&error, &self.x, &end, tolerance)?;
        let accepted: Vec<bool> = errors.iter().map(|&error| error <= 1.0).collect();
        self.x = choose(&accepted, &end, &self.x)?;
        self.first = choose(&accepted, &slopes[NODES.len()], &self.first)?;
        for (sample, &accepted) in accepted.iter().enumerate() {
            let factor = (SAFETY * errors[sample].powf(-0.2)).clamp(SHRINK, GROW);
            self.h[sample] = h[sample] * if accepted { factor } else { factor.min(1.0) };
            if accepted {
                self.t[sample] = if h[sample] >= self.t[sample] {
                    0.0
                } else {
                    self.t[sample] - h[sample]
                };
            }
        }
        Ok(())
    }

    /// Takes out the samples that have arrived.
    fn retire(&mut self, done: &mut [Option<Tensor>]) -> Result<()> {
        let arrived = |sample: usize| self.t[sample] <= 0.0;
        let count = self.index.len();
        for sample in (0..count).filter(|&sample| arrived(sample)) {
            done[self.index[sample]] = Some(self.x.narrow(0, sample, 1)?);
        }
        let left: Vec<usize> = (0..count).filter(|&sample| !arrived(sample)).collect();
        if left.len() == count {
            return Ok(());
        }
        if !left.is_empty() {
            let rows: Vec<u32> = left.iter().map(|&sample| sample as u32).collect();
            let rows = Tensor::new(rows, self.x.device())?;
            self.x = index_select(&self.x, 0, &rows)?;
            self.first = index_select(&self.first, 0, &rows)?;
        }
        self.index = left.iter().map(|&sample| self.index[sample]).collect();
        self.t = left.iter().map(|&sample| self.t[sample]).collect();
        self.h = left.iter().map(|&sample| self.h[sample]).collect();
        Ok(())
    }
}

/// x − h Σ c k; the kernel takes a few velocities at a time.
fn combine(x: &Tensor, slopes: &[Tensor], coefficients: &[f64], h: &Tensor) -> Result<Tensor> {
    let mut point = x.clone();
    for (slopes, coefficients) in slopes.chunks(MOST).zip(coefficients.chunks(MOST)) {
        let slopes: Vec<&Tensor> = slopes.iter().collect();
        point = rk_stage(&point, &slopes, coefficients, h)?;
    }
    Ok(point)
}

/// Root mean square, a sample, of the error over what is allowed, tolerance (1 + max |x|); NaN counts as infinite.
fn relative(error: &Tensor, from: &Tensor, to: &Tensor, tolerance: f64) -> Result<Vec<f64>> {
    let allowed = ((from.abs()?.maximum(&to.abs()?)? + 1.0)? * tolerance)?;
    let squares = (error / allowed)?.sqr()?.to_dtype(DType::F64)?;
    let means = squares.flatten_from(1)?.mean(1)?.to_vec1::<f64>()?;
    let root = |mean: f64| {
        if mean.is_nan() {
            f64::INFINITY
        } else {
            mean.sqrt()
        }
    };
    // An error of 0 must not divide the step control by it.
    Ok(means
        .into_iter()
        .map(|mean| root(mean).max(1e-12))
        .collect())
}

/// Rows of `yes` where `mask`, else of `no`.
fn choose(mask: &[bool], yes: &Tensor, no: &Tensor) -> Result<Tensor> {
    if mask.iter().all(|&mask| mask) {
        return Ok(yes.clone());
    }
    let mask: Vec<u8> = mask.iter().map(|&mask| u8::from(mask)).collect();
    let mut dims = vec![1; yes.rank()];
    dims[0] = mask.len();
    let mask = Tensor::from_vec(mask, dims, yes.device())?.broadcast_as(yes.shape())?;
    Ok(mask.where_cond(yes, no)?)
}
