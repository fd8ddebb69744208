//! Transcendental functions of `f32` in plain arithmetic, for loops that are a [`Pass`](crate::vector::Pass).
//!
//! No branch and no table, so loops vectorise; what is fused is written so, and every
//! instruction set returns the same bits (without fused instructions, by slow calls). Largest errors against `f64`, measured over the
//! whole range (tests below), in units of the last place: `exp` 1.0, `ln` 0.9, `ln_1p` 1.3,
//! `tanh` 1.4, `sigmoid` 2.1; `normal` has a relative error of 2.6e-7, growing in its tail. Results below the smallest normal number may be 0.
//! NaN stays NaN; infinities have the limits as their results.
//!
//! `fit.py` computed the coefficients.

#[cfg(test)]
mod tests;

use std::f32::consts::{LOG2_E, SQRT_2};

/// Added and subtracted, it rounds to a whole number, which then stands in the lowest bits: 1.5 · 2²³.
const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts; multiples of the first up to 2¹⁴ are exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// `c₀ + x (c₁ + x (c₂ + …))`.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[N - 1];
    for index in (0..N - 1).rev() {
        sum = sum.mul_add(x, coefficients[index]);
    }
    sum
}

/// 2ⁿ for n from −126 to 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// eˣ: with n = x / ln 2, rounded, and r the rest, 2ⁿ (1 + r + r² P(r)).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Beyond these the result is infinite or 0 anyway. NaN passes both comparisons.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let shifted = x.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    let p = polynomial(
        r,
        [
            0.499_999_94,
            0.166_665_21,
            0.041_668_39,
            0.008_368_735,
            0.001_381_456,
        ],
    );
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    // In two steps, since 2ⁿ alone may lie outside the normal numbers.
    (1.0 + (r * r).mul_add(p, r)) * power_of_two(n >> 1) * power_of_two(n.wrapping_sub(n >> 1))
}

/// ln x: with x = 2ⁿ (1 + f) and 1 + f between √½ and √2, n ln 2 + f − f²/2 + f³ P(f).
///
/// Numbers below the smallest normal one count as 0.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    let offset = x.to_bits().wrapping_sub((0.5 * SQRT_2).to_bits());
    let n = (offset as i32) >> 23;
    let f = f32::from_bits(x.to_bits().wrapping_sub((n as u32) << 23)) - 1.0;
    let p = polynomial(
        f,
        [
            0.333_333_3,
            -0.250_008_2,
            0.200_012_27,
            -0.166_233_57,
            0.142_017_57,
            -0.131_601_83,
            0.127_615_78,
            -0.076_344_974,
        ],
    );
    let n = n as f32;
    let low = n.mul_add(LN_2_LOW, f * f * f.mul_add(p, -0.5));
    let value = n.mul_add(LN_2_HIGH, f + low);
    let value = if x < f32::INFINITY { value } else { x };
    let value = if x < f32::MIN_POSITIVE {
        f32::NEG_INFINITY
    } else {
        value
    };
    if x < 0.0 { f32::NAN } else { value }
}

/// ln(1 + x) for x of 0 or more.
#[inline(always)]
pub(crate) fn ln_1p(x: f32) -> f32 {
    let sum = 1.0 + x;
    let rounding = x - (sum - 1.0);
    let correction = if sum < f32::INFINITY {
        rounding / sum
    } else {
        0.0
    };
    ln(sum) + correction
}

/// 1 / (1 + e⁻ˣ)
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// x + x³ P(x²) near 0, else ±(1 − 2 / (e^(2|x|) + 1)).
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let size = x.abs();
    let square = x * x;
    let p = polynomial(
        square,
        [
            -0.333_332_8,
            0.133_314_42,
            -0.053_739_715,
            0.020_639_088,
            -0.005_704_987_3,
        ],
    );
    let near = size.mul_add(square * p, size);
    let far = 1.0 - 2.0 / (exp(2.0 * size) + 1.0);
    (if size < 0.625 { near } else { far }).copysign(x)
}

/// The standard normal distribution at x: its function Φ and its density φ.
///
/// Φ(−|x|) = e^(−x²/2) u (½ + v P(v)) with u = 1 / (1 + 0.34 |x|) and v = 1 − u: right in
/// every digit also where (1 + erf) / 2 has cancelled to nothing, but for the rounding
/// of x²/2, which weighs x²/2 units in the last place.
#[inline(always)]
pub(crate) fn normal(x: f32) -> (f32, f32) {
    const DENSITY_AT_0: f32 = 0.398_942_3;
    let bell = exp(-0.5 * (x * x));
    // Beyond 14 the bell is 0; an infinite x would make v NaN.
    let scaled = 0.34 * if x.abs() > 14.0 { 14.0 } else { x.abs() };
    let u = 1.0 / (1.0 + scaled);
    let v = scaled * u;
    let p = polynomial(
        v,
        [
            -0.673_360_17,
            0.315_909_03,
            0.084_649_59,
            -0.076_890_23,
            -0.029_846_154,
            -0.028_336_179,
            0.069_668_2,
            -0.026_173_659,
        ],
    );
    let tail = bell * (u * v.mul_add(p, 0.5));
    let distribution = if x < 0.0 { tail } else { 1.0 - tail };
    (distribution, bell * DENSITY_AT_0)
}
