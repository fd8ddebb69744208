//! Filters to points: U = G g Gᵀ, laid out `[point][input][output]`.

use super::grid::POINTS;
use super::transform;
use crate::scratch::Scratch;
use crate::simd::{BLOCK, Kernel, Level, Simd};
use crate::threads::{Shared, for_each};

/// Which channels the filters lead from and to.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub outputs: usize,
    pub inputs: usize,
    /// The weight is stored `[inputs, outputs, 3, 3]` and read turned by 180°: the input gradient.
    pub turned: bool,
}

impl Shape {
    /// Floats of a point, and so from one point to the next.
    pub(super) fn plane(&self) -> usize {
        self.inputs * self.outputs + BLOCK
    }
}

/// Transforms all filters of `weight`.
pub(super) fn transform(level: Level, weight: &[f32], shape: Shape) -> Scratch {
    let mut points = Scratch::take(POINTS * shape.plane());
    let to = Shared(points.as_mut_ptr());
    for_each(shape.outputs / BLOCK, |block| {
        // SAFETY: each task writes the columns of its own outputs; the level is available.
        unsafe {
            level.call(FilterBlock {
                weight,
                shape,
                block,
                to: to.at(0),
            })
        };
    });
    points
}

struct FilterBlock<'a> {
    weight: &'a [f32],
    shape: Shape,
    block: usize,
    to: *mut f32,
}

impl Kernel for FilterBlock<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Shape {
            outputs,
            inputs,
            turned,
        } = self.shape;
        let first = self.block * BLOCK;
        for input in 0..inputs {
            let mut taps = [0f32; 9 * BLOCK];
            for lane in 0..BLOCK {
                let output = first + lane;
                let filter = if turned {
                    input * outputs + output
                } else {
                    output * inputs + input
                };
                let filter = &self.weight[filter * 9..filter * 9 + 9];
                for (tap, &value) in filter.iter().enumerate() {
                    taps[if turned { 8 - tap } else { tap } * BLOCK + lane] = value;
                }
            }
            for lane in (0..BLOCK).step_by(S::LANES) {
                // SAFETY: the taps are 9 × 16 floats; the points of this block lie inside the scratch.
                unsafe {
                    let to = self.to.add(input * outputs + first + lane);
                    transform::filter::<S>(taps.as_ptr().add(lane), BLOCK, to, self.shape.plane());
                }
            }
        }
    }
}
