//! The register tiles: M target channels times N vectors of pixels.

use crate::simd::{Kernel, Simd};

/// N vectors of pixels, all target channels.
pub(super) struct Panel<'a, const N: usize> {
    pub(super) weights: &'a [f32],
    pub(super) offsets: &'a [u32],
    pub(super) blocks: &'a [usize],
    pub(super) values: *const f32,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) to: (*mut f32, usize),
    /// Pixels of the last vector.
    pub(super) last: usize,
}

impl<'a, const N: usize> Panel<'a, N> {
    #[inline(always)]
    pub(super) fn at<const M: usize>(
        &self,
        values: *const f32,
        to: (*mut f32, usize),
        last: usize,
    ) -> Panel<'a, M> {
        Panel {
            weights: self.weights,
            offsets: self.offsets,
            blocks: self.blocks,
            bias: self.bias,
            values,
            to,
            last,
        }
    }

    /// M target channels from `first` on.
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize>(&self, first: usize) {
        // SAFETY: required of the caller of `run`.
        unsafe {
            let mut sums = [[S::zero(); N]; M];
            if let Some(bias) = self.bias {
                for (i, sums) in sums.iter_mut().enumerate() {
                    *sums = [S::splat(*bias.as_ptr().add(first + i)); N];
                }
            }
            let mut weights = self.weights.as_ptr().add(first * self.offsets.len());
            for &offset in self.offsets {
                let from = self.values.add(offset as usize);
                let mut values = [S::zero(); N];
                for (j, value) in values.iter_mut().enumerate() {
                    *value = S::load(from.add(j * S::LANES));
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let weight = S::splat(*weights.add(i));
                    for (sum, &value) in sums.iter_mut().zip(&values) {
                        *sum = S::mul_add(weight, value, *sum);
                    }
                }
                weights = weights.add(M);
            }
            for (i, sums) in sums.iter().enumerate() {
                let to = self.to.0.add((first + i) * self.to.1);
                for (j, &sum) in sums.iter().enumerate() {
                    if j + 1 < N || self.last == S::LANES {
                        S::store(to.add(j * S::LANES), sum);
                    } else {
                        S::store_first(to.add(j * S::LANES), self.last, sum);
                    }
                }
            }
        }
    }
}

impl<const N: usize> Kernel for Panel<'_, N> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for block in self.blocks.windows(2) {
            // SAFETY: required of the caller: offsets lie inside the values, channels inside the target.
            unsafe {
                match block[1] - block[0] {
                    1 => self.tile::<S, 1>(block[0]),
                    2 => self.tile::<S, 2>(block[0]),
                    3 => self.tile::<S, 3>(block[0]),
                    4 => self.tile::<S, 4>(block[0]),
                    5 if S::REGISTERS > 8 => self.tile::<S, 5>(block[0]),
                    6 if S::REGISTERS > 8 => self.tile::<S, 6>(block[0]),
                    7 if S::REGISTERS == 32 => self.tile::<S, 7>(block[0]),
                    8 if S::REGISTERS == 32 => self.tile::<S, 8>(block[0]),
                    _ => {}
                }
            }
        }
    }
}
