//! 256-bit vectors (x86-64 with AVX2 and FMA).

use super::{Kernel, Simd};
use std::arch::x86_64::*;

/// Eight lanes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2;

#[target_feature(enable = "avx2,fma")]
#[inline(never)]
unsafe fn call<K: Kernel>(kernel: K) {
    // SAFETY: required of the caller.
    unsafe { kernel.run::<Avx2>() }
}

/// A mask of the first `count` lanes.
#[inline(always)]
unsafe fn first(count: usize) -> __m256i {
    // SAFETY: register operations; the caller has the instruction set.
    unsafe {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(count.min(8) as i32), lanes)
    }
}

/// Transposes 8 × 8.
#[inline(always)]
unsafe fn transpose(rows: [__m256; 8]) -> [__m256; 8] {
    // SAFETY: register operations; the caller has the instruction set.
    unsafe {
        let mut pairs = rows;
        for i in (0..8).step_by(2) {
            pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
            pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
        }
        let mut quads = pairs;
        for i in (0..8).step_by(4) {
            let double = |v: __m256| _mm256_castps_pd(v);
            let single = |v: __m256d| _mm256_castpd_ps(v);
            let (a, b) = (double(pairs[i]), double(pairs[i + 2]));
            let (c, d) = (double(pairs[i + 1]), double(pairs[i + 3]));
            quads[i] = single(_mm256_unpacklo_pd(a, b));
            quads[i + 1] = single(_mm256_unpackhi_pd(a, b));
            quads[i + 2] = single(_mm256_unpacklo_pd(c, d));
            quads[i + 3] = single(_mm256_unpackhi_pd(c, d));
        }
        let mut result = quads;
        for i in 0..4 {
            result[i] = _mm256_permute2f128_ps::<0x20>(quads[i], quads[i + 4]);
            result[i + 4] = _mm256_permute2f128_ps::<0x31>(quads[i], quads[i + 4]);
        }
        result
    }
}

// SAFETY of every body below: the trait requires the instruction set and valid addresses.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Avx2 {
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    const TILE_VECTORS: usize = 2;
    type Vector = __m256;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) {
        unsafe { call(kernel) }
    }
    #[inline(always)]
    unsafe fn zero() -> __m256 {
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m256) {
        unsafe { _mm256_storeu_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> __m256 {
        unsafe { _mm256_maskload_ps(from, first(count)) }
    }
    #[inline(always)]
    unsafe fn load_even(from: *const f32, count: usize) -> __m256 {
        unsafe {
            let floats = (2 * count).saturating_sub(1);
            let low = _mm256_maskload_ps(from, first(floats));
            let high = _mm256_maskload_ps(from.wrapping_add(8), first(floats.saturating_sub(8)));
            let pairs = _mm256_castps_pd(_mm256_shuffle_ps::<0x88>(low, high));
            _mm256_castpd_ps(_mm256_permute4x64_pd::<0xd8>(pairs))
        }
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, count: usize, value: __m256) {
        unsafe { _mm256_maskstore_ps(to, first(count), value) }
    }
    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn neg_mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn keep_positive(sign: __m256, value: __m256) -> __m256 {
        unsafe {
            let kept = _mm256_cmp_ps::<_CMP_NLE_UQ>(sign, _mm256_setzero_ps());
            _mm256_and_ps(kept, value)
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
            for row in [0, 8] {
                let rows = rows.get(row..).unwrap_or(&[]);
                for column in [0, 8] {
                    let (offsets, to) = (offsets.wrapping_add(column), to.add(row));
                    let from = from.wrapping_add(column);
                    if rows.len() >= 8 && columns >= column + 8 {
                        let mut block = [_mm256_setzero_ps(); 8];
                        for (value, &offset) in block.iter_mut().zip(&rows[..8]) {
                            *value = _mm256_loadu_ps(from.add(offset));
                        }
                        for (i, value) in transpose(block).into_iter().enumerate() {
                            _mm256_storeu_ps(to.add(*offsets.add(i) as usize), value);
                        }
                    } else if columns > column {
                        let mask = first(columns - column);
                        let mut block = [_mm256_setzero_ps(); 8];
                        for (value, &offset) in block.iter_mut().zip(rows) {
                            *value = _mm256_maskload_ps(from.add(offset), mask);
                        }
                        for (i, value) in transpose(block).into_iter().enumerate() {
                            if i < columns - column {
                                _mm256_storeu_ps(to.add(*offsets.add(i) as usize), value);
                            }
                        }
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
            for row in [0, 8] {
                for column in [0, 8] {
                    let (from, offsets) = (from.add(row), offsets.wrapping_add(column));
                    let to = to.wrapping_add(row * stride + column);
                    if columns >= column + 8 && rows >= row + 8 {
                        let mut block = [_mm256_setzero_ps(); 8];
                        for (i, value) in block.iter_mut().enumerate() {
                            *value = _mm256_loadu_ps(from.add(*offsets.add(i) as usize));
                        }
                        for (i, value) in transpose(block).into_iter().enumerate() {
                            _mm256_storeu_ps(to.add(i * stride), value);
                        }
                    } else if columns > column {
                        let mut block = [_mm256_setzero_ps(); 8];
                        for (i, value) in block.iter_mut().enumerate().take(columns - column) {
                            *value = _mm256_loadu_ps(from.add(*offsets.add(i) as usize));
                        }
                        let mask = first(columns - column);
                        for (i, value) in transpose(block).into_iter().enumerate() {
                            if row + i < rows {
                                _mm256_maskstore_ps(to.add(i * stride), mask, value);
                            }
                        }
                    }
                }
            }
        }
    }
}
