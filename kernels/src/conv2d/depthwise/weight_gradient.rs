//! dw[tap] = Σ_images,positions dY · shifted X, one channel a task.

use super::super::geometry::Problem;
use super::super::pass::Pass;
use super::planes::{Planes, copy_vectors};
use crate::scratch::Scratch;
use crate::simd::{Kernel, Level, Simd};
use crate::threads::{Shared, for_each};

/// Taps summed at once.
const TAPS: usize = 9;

pub(in super::super) fn compute(
    level: Level,
    problem: &Problem,
    input: &[f32],
    gradient: &[f32],
) -> Vec<f32> {
    let pass = Pass::forward(problem);
    let planes = Planes::new(&pass);
    let mut offsets = vec![0; problem.taps()];
    for tap in pass.taps() {
        offsets[tap.index] = planes.offset(tap);
    }
    let mut result = vec![0.0; problem.weight_len()];
    let target = Shared(result.as_mut_ptr());
    for_each(problem.in_channels, |channel| {
        let task = Channel {
            problem,
            planes: &planes,
            offsets: &offsets,
            input,
            gradient,
            channel,
            // SAFETY: each task writes the taps of its own channel.
            target: unsafe { target.at(channel * problem.taps()) },
        };
        // SAFETY: as above; the level is available.
        unsafe { level.call(task) };
    });
    result
}

struct Channel<'a> {
    problem: &'a Problem,
    planes: &'a Planes,
    offsets: &'a [usize],
    input: &'a [f32],
    gradient: &'a [f32],
    channel: usize,
    target: *mut f32,
}

impl Kernel for Channel<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let p = self.problem;
        let (rows, width) = p.output;
        // Both planes have the padded row length; the gradient's extra columns stay zero.
        let stride = self.planes.width;
        let vectors = (rows * stride).div_ceil(S::LANES);
        let mut x = Scratch::zeros(self.planes.len() + S::LANES);
        let mut dy = Scratch::zeros(vectors * S::LANES);
        let mut sums = Scratch::zeros(self.offsets.len() * S::LANES);
        for image in 0..p.batch {
            let plane = image * p.in_channels + self.channel;
            let source = &self.input[plane * p.input_pixels()..(plane + 1) * p.input_pixels()];
            let gradient =
                &self.gradient[plane * p.output_pixels()..(plane + 1) * p.output_pixels()];
            // SAFETY: the copies hold all rows; loads end within the slack of a vector.
            unsafe {
                self.planes.copy::<S>(source, &mut x);
                for row in 0..rows {
                    let from = gradient.as_ptr().add(row * width);
                    copy_vectors::<S>(from, dy.as_mut_ptr().add(row * stride), width);
                }
                let mut done = 0;
                while done < self.offsets.len() {
                    let sums = sums.as_mut_ptr().add(done * S::LANES);
                    done += match self.offsets.len() - done {
                        TAPS.. => taps::<S, TAPS>(&x, &dy, &self.offsets[done..], sums),
                        4..TAPS => taps::<S, 4>(&x, &dy, &self.offsets[done..], sums),
                        _ => taps::<S, 1>(&x, &dy, &self.offsets[done..], sums),
                    };
                }
            }
        }
        for tap in 0..self.offsets.len() {
            // SAFETY: the sums hold a vector a tap, the target a float a tap.
            unsafe { *self.target.add(tap) = S::sum(S::load(sums.as_ptr().add(tap * S::LANES))) };
        }
    }
}

/// Adds one image to the sums of N taps; returns N.
#[inline(always)]
unsafe fn taps<S: Simd, const N: usize>(
    x: &[f32],
    dy: &[f32],
    offsets: &[usize],
    to: *mut f32,
) -> usize {
    // SAFETY: required of the caller.
    unsafe {
        let mut sums = [S::zero(); N];
        for (j, sum) in sums.iter_mut().enumerate() {
            *sum = S::load(to.add(j * S::LANES));
        }
        let from: [*const f32; N] = std::array::from_fn(|j| x.as_ptr().add(offsets[j]));
        for position in (0..dy.len()).step_by(S::LANES) {
            let gradient = S::load(dy.as_ptr().add(position));
            for (sum, from) in sums.iter_mut().zip(&from) {
                *sum = S::mul_add(gradient, S::load(from.add(position)), *sum);
            }
        }
        for (j, &sum) in sums.iter().enumerate() {
            S::store(to.add(j * S::LANES), sum);
        }
        N
    }
}
