//! Vectors of four lanes in plain Rust: SSE2 and NEON machines.

use super::{BLOCK, Kernel, Simd};

/// Four lanes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portable;

/// a·b + c, in one instruction only where every machine has it.
#[inline(always)]
fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(target_arch = "aarch64") {
        a.mul_add(b, c)
    } else {
        a * b + c
    }
}

// SAFETY of every body below: the trait requires valid addresses.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Portable {
    const LANES: usize = 4;
    const REGISTERS: usize = 8;
    const TILE_VECTORS: usize = 2;
    type Vector = [f32; 4];

    #[inline(always)]
    unsafe fn call<K: Kernel>(kernel: K) {
        unsafe { kernel.run::<Self>() }
    }
    #[inline(always)]
    unsafe fn zero() -> [f32; 4] {
        [0.0; 4]
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> [f32; 4] {
        [value; 4]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 4] {
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: [f32; 4]) {
        unsafe { to.cast::<[f32; 4]>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> [f32; 4] {
        let mut value = [0.0; 4];
        for (i, lane) in value.iter_mut().enumerate().take(count) {
            *lane = unsafe { *from.add(i) };
        }
        value
    }
    #[inline(always)]
    unsafe fn load_even(from: *const f32, count: usize) -> [f32; 4] {
        let mut value = [0.0; 4];
        for (i, lane) in value.iter_mut().enumerate().take(count) {
            *lane = unsafe { *from.add(2 * i) };
        }
        value
    }
    #[inline(always)]
    unsafe fn store_first(to: *mut f32, count: usize, value: [f32; 4]) {
        for (i, lane) in value.into_iter().enumerate().take(count) {
            unsafe { *to.add(i) = lane };
        }
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        [a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]]
    }
    #[inline(always)]
    unsafe fn sub(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        [a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3]]
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        [a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3]]
    }
    #[inline(always)]
    unsafe fn mul_add(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| mul_add(a[i], b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn neg_mul_add(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| mul_add(-a[i], b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn keep_positive(sign: [f32; 4], value: [f32; 4]) -> [f32; 4] {
        std::array::from_fn(|i| crate::element::masked(sign[i], value[i]))
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
            for column in 0..columns {
                let pixel = to.add(*offsets.add(column) as usize);
                for (row, &offset) in rows.iter().enumerate() {
                    *pixel.add(row) = *from.add(offset + column);
                }
                for row in rows.len()..BLOCK {
                    *pixel.add(row) = 0.0;
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
            for row in 0..rows {
                for column in 0..columns {
                    *to.add(row * stride + column) = *from.add(*offsets.add(column) as usize + row);
                }
            }
        }
    }
}
