//! The six-point transforms of F(4×4, 3×3), lanes = channels.
//!
//! Bᵀ (6×6), G (6×3) and Aᵀ (4×6) are those of Lavin & Gray, arXiv:1509.09308, section 4.3
//! (interpolation points 0, ±1, ±2, ∞). Each is factored into even and odd parts, so that
//! the rows for a point and its negative share their work.

// Rows and columns of small matrices read best by index.
#![allow(clippy::needless_range_loop)]

use crate::simd::{BLOCK, Simd, opaque};

/// Bᵀ d: six pixels to six points.
#[inline(always)]
unsafe fn to_points<S: Simd>(d: [S::Vector; 6]) -> [S::Vector; 6] {
    // SAFETY: register operations; the caller has the instruction set.
    unsafe {
        let (two, four, five) = (S::splat(2.0), S::splat(4.0), S::splat(5.0));
        let even1 = S::neg_mul_add(four, d[2], d[4]);
        let odd1 = S::neg_mul_add(four, d[1], d[3]);
        let even2 = S::sub(d[4], d[2]);
        let odd2 = S::sub(d[3], d[1]);
        [
            S::mul_add(four, d[0], S::neg_mul_add(five, d[2], d[4])),
            S::add(even1, odd1),
            S::sub(even1, odd1),
            S::mul_add(two, odd2, even2),
            S::neg_mul_add(two, odd2, even2),
            S::mul_add(four, d[1], S::neg_mul_add(five, d[3], d[5])),
        ]
    }
}

/// Aᵀ m: six points to four outputs.
#[inline(always)]
unsafe fn to_outputs<S: Simd>(m: [S::Vector; 6]) -> [S::Vector; 4] {
    // SAFETY: register operations; the caller has the instruction set.
    unsafe {
        let (two, four, eight) = (S::splat(2.0), S::splat(4.0), S::splat(8.0));
        let (even1, odd1) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (even2, odd2) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(m[0], S::add(even1, even2)),
            S::mul_add(two, odd2, odd1),
            S::mul_add(four, even2, even1),
            S::add(m[5], S::mul_add(eight, odd2, odd1)),
        ]
    }
}

/// A y: four output gradients to six points (the transpose of [`to_outputs`]).
#[inline(always)]
unsafe fn spread<S: Simd>(y: [S::Vector; 4]) -> [S::Vector; 6] {
    // SAFETY: register operations; the caller has the instruction set.
    unsafe {
        let (two, four) = (S::splat(2.0), S::splat(4.0));
        let (even1, odd1) = (S::add(y[0], y[2]), S::add(y[1], y[3]));
        let even2 = S::mul_add(four, y[2], y[0]);
        let odd2 = S::mul(two, S::mul_add(four, y[3], y[1]));
        [
            y[0],
            S::add(even1, odd1),
            S::sub(even1, odd1),
            S::add(even2, odd2),
            S::sub(even2, odd2),
            y[3],
        ]
    }
}

/// G g: three taps to six points.
#[inline(always)]
unsafe fn filter_points<S: Simd>(g: [S::Vector; 3]) -> [S::Vector; 6] {
    // SAFETY: register operations; the caller has the instruction set.
    unsafe {
        let (quarter, sixth) = (S::splat(1.0 / 4.0), S::splat(1.0 / 6.0));
        let (twelfth, twenty_fourth) = (S::splat(1.0 / 12.0), S::splat(1.0 / 24.0));
        let even1 = S::neg_mul_add(sixth, S::add(g[0], g[2]), S::zero());
        let even2 = S::mul_add(twenty_fourth, g[0], S::mul(sixth, g[2]));
        [
            S::mul(quarter, g[0]),
            S::neg_mul_add(sixth, g[1], even1),
            S::mul_add(sixth, g[1], even1),
            S::mul_add(twelfth, g[1], even2),
            S::neg_mul_add(twelfth, g[1], even2),
            g[2],
        ]
    }
}

/// Gᵀ u: six points to three taps (the transpose of [`filter_points`]).
#[inline(always)]
unsafe fn to_taps<S: Simd>(u: [S::Vector; 6]) -> [S::Vector; 3] {
    // SAFETY: register operations; the caller has the instruction set.
    unsafe {
        let (quarter, sixth) = (S::splat(1.0 / 4.0), S::splat(1.0 / 6.0));
        let (twelfth, twenty_fourth) = (S::splat(1.0 / 12.0), S::splat(1.0 / 24.0));
        let (even1, odd1) = (S::add(u[1], u[2]), S::sub(u[2], u[1]));
        let (even2, odd2) = (S::add(u[3], u[4]), S::sub(u[3], u[4]));
        let first = S::neg_mul_add(sixth, even1, S::mul(twenty_fourth, even2));
        [
            S::mul_add(quarter, u[0], first),
            S::mul_add(twelfth, odd2, S::mul(sixth, odd1)),
            S::add(u[5], S::mul(sixth, S::sub(even2, even1))),
        ]
    }
}

/// Bᵀ d B of one 6×6 tile of a channel block: pixels `row_stride` floats a row at `from`, points `plane` apart at `to`.
///
/// # Safety
/// All pixels and points must be there.
#[inline(always)]
pub(super) unsafe fn input_tile<S: Simd>(
    from: *const f32,
    row_stride: usize,
    to: *mut f32,
    plane: usize,
) {
    let plane = opaque(plane);
    // SAFETY: required of the caller.
    unsafe {
        for lane in (0..BLOCK).step_by(S::LANES) {
            let mut half = [[S::zero(); 6]; 6];
            for j in 0..6 {
                let mut column = [S::zero(); 6];
                for (i, value) in column.iter_mut().enumerate() {
                    *value = S::load(from.add(i * row_stride + j * BLOCK + lane));
                }
                half[j] = to_points::<S>(column);
            }
            for i in 0..6 {
                let row = [
                    half[0][i], half[1][i], half[2][i], half[3][i], half[4][i], half[5][i],
                ];
                let row_to = to.add(opaque(i * 6 * plane) + lane);
                for (j, value) in to_points::<S>(row).into_iter().enumerate() {
                    S::store(row_to.add(j * plane), value);
                }
            }
        }
    }
}

/// A dY Aᵀ of one 4×4 tile of a channel block.
///
/// # Safety
/// All pixels and points must be there.
#[inline(always)]
pub(super) unsafe fn gradient_tile<S: Simd>(
    from: *const f32,
    row_stride: usize,
    to: *mut f32,
    plane: usize,
) {
    let plane = opaque(plane);
    // SAFETY: required of the caller.
    unsafe {
        for lane in (0..BLOCK).step_by(S::LANES) {
            let mut half = [[S::zero(); 6]; 4];
            for j in 0..4 {
                let mut column = [S::zero(); 4];
                for (i, value) in column.iter_mut().enumerate() {
                    *value = S::load(from.add(i * row_stride + j * BLOCK + lane));
                }
                half[j] = spread::<S>(column);
            }
            for i in 0..6 {
                let row = [half[0][i], half[1][i], half[2][i], half[3][i]];
                let row_to = to.add(opaque(i * 6 * plane) + lane);
                for (j, value) in spread::<S>(row).into_iter().enumerate() {
                    S::store(row_to.add(j * plane), value);
                }
            }
        }
    }
}

/// Aᵀ m A + bias of one tile of a channel block: points `plane` apart at `from`, 4×4 pixels at `to`.
///
/// # Safety
/// All points and pixels, and 16 floats of bias, must be there.
#[inline(always)]
pub(super) unsafe fn output_tile<S: Simd>(
    from: *const f32,
    plane: usize,
    to: *mut f32,
    row_stride: usize,
    bias: *const f32,
) {
    let plane = opaque(plane);
    // SAFETY: required of the caller.
    unsafe {
        for lane in (0..BLOCK).step_by(S::LANES) {
            let bias = S::load(bias.add(lane));
            let mut half = [[S::zero(); 4]; 6];
            for j in 0..6 {
                let mut column = [S::zero(); 6];
                for (i, value) in column.iter_mut().enumerate() {
                    *value = S::load(from.add((i * 6 + j) * plane + lane));
                }
                half[j] = to_outputs::<S>(column);
            }
            for i in 0..4 {
                let row = [
                    half[0][i], half[1][i], half[2][i], half[3][i], half[4][i], half[5][i],
                ];
                for (j, value) in to_outputs::<S>(row).into_iter().enumerate() {
                    S::store(
                        to.add(i * row_stride + j * BLOCK + lane),
                        S::add(value, bias),
                    );
                }
            }
        }
    }
}

/// G g Gᵀ of the 3×3 taps `[tap][lanes]` at `from`: 36 points `plane` apart at `to`, one vector.
///
/// # Safety
/// All taps and points must be there.
#[inline(always)]
pub(super) unsafe fn filter<S: Simd>(
    from: *const f32,
    tap_stride: usize,
    to: *mut f32,
    plane: usize,
) {
    // SAFETY: required of the caller.
    unsafe {
        let mut half = [[S::zero(); 6]; 3];
        for j in 0..3 {
            let tap = |i: usize| S::load(from.add((i * 3 + j) * tap_stride));
            half[j] = filter_points::<S>([tap(0), tap(1), tap(2)]);
        }
        for i in 0..6 {
            let row = filter_points::<S>([half[0][i], half[1][i], half[2][i]]);
            for (j, value) in row.into_iter().enumerate() {
                S::store(to.add((i * 6 + j) * plane), value);
            }
        }
    }
}

/// Gᵀ u G: the 3×3 taps of one vector of 36 points.
#[inline(always)]
pub(super) unsafe fn filter_gradient<S: Simd>(points: &[[S::Vector; 6]; 6]) -> [[S::Vector; 3]; 3] {
    // SAFETY: register operations; the caller has the instruction set.
    unsafe {
        let mut half = [[S::zero(); 3]; 6];
        for j in 0..6 {
            half[j] = to_taps::<S>([
                points[0][j],
                points[1][j],
                points[2][j],
                points[3][j],
                points[4][j],
                points[5][j],
            ]);
        }
        let mut taps = [[S::zero(); 3]; 3];
        for i in 0..3 {
            taps[i] = to_taps::<S>([
                half[0][i], half[1][i], half[2][i], half[3][i], half[4][i], half[5][i],
            ]);
        }
        taps
    }
}
