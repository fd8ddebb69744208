//! The register tiles: M output channels times N vectors, over all pixels of some images.

use super::plan::Plan;
use crate::simd::{BLOCK, Kernel, Simd};

/// N vectors, all output channels of a task.
pub(super) struct Panel<'a, const N: usize> {
    pub(super) plan: &'a Plan,
    pub(super) images: usize,
    pub(super) pixels: usize,
    pub(super) blocks: usize,
    pub(super) outputs: usize,
    pub(super) x: *const f32,
    pub(super) dy: *const f32,
    pub(super) offsets: [usize; N],
    /// Sums of the first output channel, `filter` floats a channel.
    pub(super) sums: *mut f32,
    pub(super) filter: usize,
    pub(super) add: bool,
}

impl<'a, const N: usize> Panel<'a, N> {
    #[inline(always)]
    pub(super) fn at<const M: usize>(&self, offsets: [usize; M], sums: *mut f32) -> Panel<'a, M> {
        Panel {
            plan: self.plan,
            images: self.images,
            pixels: self.pixels,
            blocks: self.blocks,
            outputs: self.outputs,
            x: self.x,
            dy: self.dy,
            offsets,
            sums,
            filter: self.filter,
            add: self.add,
        }
    }

    /// M output channels from `first` on.
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize>(&self, first: usize) {
        let plan = self.plan;
        // SAFETY: required of the caller of `run`.
        unsafe {
            let mut sums = [[S::zero(); N]; M];
            for image in 0..self.images {
                let block = (image * self.blocks + first / BLOCK) * self.pixels * BLOCK;
                let mut dy = self.dy.add(block + first % BLOCK);
                for row in 0..plan.rows {
                    let mut x = self.x.add(image * plan.image_len + row * plan.row_step);
                    for _ in 0..plan.columns {
                        let mut values = [S::zero(); N];
                        for (value, &offset) in values.iter_mut().zip(&self.offsets) {
                            *value = S::load(x.add(offset));
                        }
                        for (i, sums) in sums.iter_mut().enumerate() {
                            let factor = S::splat(*dy.add(i));
                            for (sum, &value) in sums.iter_mut().zip(&values) {
                                *sum = S::mul_add(factor, value, *sum);
                            }
                        }
                        dy = dy.add(BLOCK);
                        x = x.wrapping_add(plan.pixel_step);
                    }
                }
            }
            for (i, sums) in sums.iter().enumerate() {
                for (j, &sum) in sums.iter().enumerate() {
                    let to = self.sums.add((first + i) * self.filter + j * S::LANES);
                    S::store(
                        to,
                        if self.add {
                            S::add(S::load(to), sum)
                        } else {
                            sum
                        },
                    );
                }
            }
        }
    }
}

impl<const N: usize> Kernel for Panel<'_, N> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let most = match S::REGISTERS {
            32 => 8,
            16 => 6,
            _ => 4,
        };
        for block in 0..self.blocks {
            let (start, count) = (block * BLOCK, (self.outputs - block * BLOCK).min(BLOCK));
            let tiles = count.div_ceil(most);
            for tile in 0..tiles {
                let (first, end) = (
                    start + count * tile / tiles,
                    start + count * (tile + 1) / tiles,
                );
                // SAFETY: required of the caller: x, dy and sums hold what the plan addresses.
                unsafe {
                    match end - first {
                        1 => self.tile::<S, 1>(first),
                        2 => self.tile::<S, 2>(first),
                        3 => self.tile::<S, 3>(first),
                        4 => self.tile::<S, 4>(first),
                        5 if S::REGISTERS > 8 => self.tile::<S, 5>(first),
                        6 if S::REGISTERS > 8 => self.tile::<S, 6>(first),
                        7 if S::REGISTERS == 32 => self.tile::<S, 7>(first),
                        8 if S::REGISTERS == 32 => self.tile::<S, 8>(first),
                        _ => {}
                    }
                }
            }
        }
    }
}
