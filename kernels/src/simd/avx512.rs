//! 512-bit vectors (x86-64 with AVX-512F and VL).

use super::{Kernel, Simd};
use std::arch::x86_64::*;

/// Sixteen lanes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512;

/// How far ahead of a block of pixels the planes are fetched, in floats: they are too many
/// streams for the machine to follow by itself.
const AHEAD: usize = 64;

#[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
#[inline(never)]
unsafe fn call<K: Kernel>(kernel: K) {
    // SAFETY: required of the caller.
    unsafe { kernel.run::<Avx512>() }
}

/// A mask of the first `count` lanes.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    if count >= 16 {
        0xffff
    } else {
        (1u16 << count) - 1
    }
}

/// Transposes 16 × 16: four rounds of exchanges, 16 shuffles each.
#[inline(always)]
unsafe fn transpose(rows: [__m512; 16]) -> [__m512; 16] {
    // SAFETY: register operations; the caller has the instruction set.
    unsafe {
        let mut pairs = rows;
        for i in (0..16).step_by(2) {
            pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
            pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
        }
        let mut quads = pairs;
        for i in (0..16).step_by(4) {
            let double = |v: __m512| _mm512_castps_pd(v);
            let single = |v: __m512d| _mm512_castpd_ps(v);
            let (a, b) = (double(pairs[i]), double(pairs[i + 2]));
            let (c, d) = (double(pairs[i + 1]), double(pairs[i + 3]));
            quads[i] = single(_mm512_unpacklo_pd(a, b));
            quads[i + 1] = single(_mm512_unpackhi_pd(a, b));
            quads[i + 2] = single(_mm512_unpacklo_pd(c, d));
            quads[i + 3] = single(_mm512_unpackhi_pd(c, d));
        }
        let mut result = quads;
        for i in 0..4 {
            let (a, b, c, d) = (quads[i], quads[i + 4], quads[i + 8], quads[i + 12]);
            let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
            let high = _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
            let low2 = _mm512_shuffle_f32x4::<0b10_00_10_00>(c, d);
            let high2 = _mm512_shuffle_f32x4::<0b11_01_11_01>(c, d);
            result[i] = _mm512_shuffle_f32x4::<0b10_00_10_00>(low, low2);
            result[i + 4] = _mm512_shuffle_f32x4::<0b10_00_10_00>(high, high2);
            result[i + 8] = _mm512_shuffle_f32x4::<0b11_01_11_01>(low, low2);
            result[i + 12] = _mm512_shuffle_f32x4::<0b11_01_11_01>(high, high2);
        }
        result
    }
}

// SAFETY of every body below: the trait requires the instruction set and valid addresses.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Avx512 {
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    const TILE_VECTORS: usize = 4;
    type Vector = __m512;

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) {
        unsafe { call(kernel) }
    }
    #[inline(always)]
    unsafe fn zero() -> __m512 {
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m512) {
        unsafe { _mm512_storeu_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(first(count), from) }
    }
    #[inline(always)]
    unsafe fn load_even(from: *const f32, count: usize) -> __m512 {
        unsafe {
            let floats = (2 * count).saturating_sub(1);
            let low = _mm512_maskz_loadu_ps(first(floats), from);
            let high =
                _mm512_maskz_loadu_ps(first(floats.saturating_sub(16)), from.wrapping_add(16));
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            _mm512_permutex2var_ps(low, even, high)
        }
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, count: usize, value: __m512) {
        unsafe { _mm512_mask_storeu_ps(to, first(count), value) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn neg_mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fnmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn keep_positive(sign: __m512, value: __m512) -> __m512 {
        unsafe {
            let kept = _mm512_cmp_ps_mask::<_CMP_NLE_UQ>(sign, _mm512_setzero_ps());
            _mm512_maskz_mov_ps(kept, value)
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
            if rows.len() == 16 && columns == 16 {
                let mut block = [_mm512_setzero_ps(); 16];
                for (row, &offset) in block.iter_mut().zip(rows) {
                    let row_from = from.add(offset);
                    _mm_prefetch::<_MM_HINT_T0>(row_from.wrapping_add(AHEAD).cast());
                    *row = _mm512_loadu_ps(row_from);
                }
                let block = transpose(block);
                for (i, &row) in block.iter().enumerate() {
                    _mm512_storeu_ps(to.add(*offsets.add(i) as usize), row);
                }
                return;
            }
            let mask = first(columns);
            let mut block = [_mm512_setzero_ps(); 16];
            for (row, &offset) in block.iter_mut().zip(rows) {
                *row = _mm512_maskz_loadu_ps(mask, from.add(offset));
            }
            let block = transpose(block);
            for (i, &row) in block.iter().enumerate().take(columns) {
                _mm512_storeu_ps(to.add(*offsets.add(i) as usize), row);
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
            if columns == 16 && rows == 16 {
                let mut block = [_mm512_setzero_ps(); 16];
                for (i, row) in block.iter_mut().enumerate() {
                    *row = _mm512_loadu_ps(from.add(*offsets.add(i) as usize));
                }
                let block = transpose(block);
                for (i, &row) in block.iter().enumerate() {
                    _mm512_storeu_ps(to.add(i * stride), row);
                }
                return;
            }
            let mut block = [_mm512_setzero_ps(); 16];
            for (i, row) in block.iter_mut().enumerate().take(columns) {
                *row = _mm512_loadu_ps(from.add(*offsets.add(i) as usize));
            }
            let block = transpose(block);
            for (i, &row) in block.iter().enumerate() {
                if i < rows {
                    _mm512_mask_storeu_ps(to.add(i * stride), first(columns), row);
                }
            }
        }
    }
}
