//! 128-bit vectors of ARM machines (aarch64: every one has them).

use super::{BLOCK, Kernel, Simd};
use std::arch::aarch64::*;

/// Four lanes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Neon;

#[target_feature(enable = "neon")]
#[inline(never)]
unsafe fn call<K: Kernel>(kernel: K) {
    // SAFETY: required of the caller.
    unsafe { kernel.run::<Neon>() }
}

/// Transposes 4 × 4.
#[inline(always)]
unsafe fn transpose(rows: [float32x4_t; 4]) -> [float32x4_t; 4] {
    // SAFETY: register operations; the caller has the instruction set.
    unsafe {
        let double = |v: float32x4_t| vreinterpretq_f64_f32(v);
        let single = |v: float64x2_t| vreinterpretq_f32_f64(v);
        let (a, b) = (
            double(vtrn1q_f32(rows[0], rows[1])),
            double(vtrn2q_f32(rows[0], rows[1])),
        );
        let (c, d) = (
            double(vtrn1q_f32(rows[2], rows[3])),
            double(vtrn2q_f32(rows[2], rows[3])),
        );
        [
            single(vzip1q_f64(a, c)),
            single(vzip1q_f64(b, d)),
            single(vzip2q_f64(a, c)),
            single(vzip2q_f64(b, d)),
        ]
    }
}

// SAFETY of every body below: the trait requires the instruction set and valid addresses.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Neon {
    const LANES: usize = 4;
    const REGISTERS: usize = 32;
    const TILE_VECTORS: usize = 4;
    type Vector = float32x4_t;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) {
        unsafe { call(kernel) }
    }
    #[inline(always)]
    unsafe fn zero() -> float32x4_t {
        unsafe { vdupq_n_f32(0.0) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: float32x4_t) {
        unsafe { vst1q_f32(to, value) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> float32x4_t {
        unsafe {
            if count >= 4 {
                return vld1q_f32(from);
            }
            let mut value = [0.0; 4];
            for (i, lane) in value.iter_mut().enumerate().take(count) {
                *lane = *from.add(i);
            }
            vld1q_f32(value.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn load_even(from: *const f32, count: usize) -> float32x4_t {
        unsafe {
            if count >= 4 {
                // 0 1 2 3 and 3 4 5 6: the eighth float may not be there.
                let (low, high) = (vld1q_f32(from), vld1q_f32(from.add(3)));
                return vcombine_f32(
                    vget_low_f32(vuzp1q_f32(low, low)),
                    vget_low_f32(vuzp2q_f32(high, high)),
                );
            }
            let mut value = [0.0; 4];
            for (i, lane) in value.iter_mut().enumerate().take(count) {
                *lane = *from.add(2 * i);
            }
            vld1q_f32(value.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, count: usize, value: float32x4_t) {
        unsafe {
            if count >= 4 {
                vst1q_f32(to, value);
                return;
            }
            let mut lanes = [0.0; 4];
            vst1q_f32(lanes.as_mut_ptr(), value);
            for (i, lane) in lanes.into_iter().enumerate().take(count) {
                *to.add(i) = lane;
            }
        }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn neg_mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmsq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn keep_positive(sign: float32x4_t, value: float32x4_t) -> float32x4_t {
        unsafe {
            // The opposite of "at most 0" keeps a NaN.
            let dropped = vcleq_f32(sign, vdupq_n_f32(0.0));
            vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(value), dropped))
        }
    }
    #[inline(always)]
    unsafe fn gather_pixels(
        from: *const f32,
        rows: &[usize],
        columns: usize,
        to: *mut f32,
        offsets: *const u32,
    ) {
        unsafe {
            for first in (0..BLOCK).step_by(4) {
                for column in (0..columns).step_by(4) {
                    let count = (columns - column).min(4);
                    let mut block = [vdupq_n_f32(0.0); 4];
                    for (row, &offset) in block.iter_mut().zip(rows.get(first..).unwrap_or(&[])) {
                        *row = Self::load_first(from.add(offset + column), count);
                    }
                    for (i, &pixel) in transpose(block).iter().enumerate().take(count) {
                        vst1q_f32(to.add(*offsets.add(column + i) as usize + first), pixel);
                    }
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn scatter_pixels(
        from: *const f32,
        offsets: *const u32,
        to: *mut f32,
        stride: usize,
        rows: usize,
        columns: usize,
    ) {
        unsafe {
            for first in (0..rows).step_by(4) {
                for column in (0..columns).step_by(4) {
                    let count = (columns - column).min(4);
                    let mut block = [vdupq_n_f32(0.0); 4];
                    for (i, pixel) in block.iter_mut().enumerate().take(count) {
                        *pixel = vld1q_f32(from.add(*offsets.add(column + i) as usize + first));
                    }
                    for (i, &row) in transpose(block).iter().enumerate().take(rows - first) {
                        Self::store_first(to.add((first + i) * stride + column), count, row);
                    }
                }
            }
        }
    }
}
