//! Positive numbers `mantissa · 2^exponent` whose exponents never run out.
//!
//! The probability of an alignment is a product over all frames, far below the smallest
//! `f64`. Logarithms would do, at three exponentials and a logarithm for each sum; these
//! numbers add and multiply exactly as `f64` does, with a few vector instructions.

/// Numbers that pass through a loop together.
pub(super) const BLOCK: usize = 8;

/// The exponent of 0; so far down that no product of probabilities comes near it.
pub(super) const ZERO: f64 = -1e300;

/// Above this exponent, a number counts as more than 0.
const LEAST: f64 = -1e299;

/// `mantissa · 2^exponent`; the exponent is a whole number (beyond 2^53 nearly so).
#[derive(Clone, Copy)]
pub(super) struct Wide {
    pub(super) mantissa: f64,
    pub(super) exponent: f64,
}

impl Wide {
    pub(super) const ZERO: Self = Self {
        mantissa: 1.0,
        exponent: ZERO,
    };
    pub(super) const ONE: Self = Self {
        mantissa: 1.0,
        exponent: 0.0,
    };

    /// e^x, and 0 for −∞; NaN for NaN and +∞.
    #[inline(always)]
    pub(super) fn exp(x: f64) -> Self {
        const LOG2_E: f64 = std::f64::consts::LOG2_E;
        // ln 2 in two parts: a whole number below 2^21 times the first is exact.
        const LN_2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
        const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
        // Adding and subtracting 1.5 · 2^52 rounds to a whole number.
        const ROUND: f64 = 6_755_399_441_055_744.0;
        let exponent = (x * LOG2_E + ROUND) - ROUND;
        let rest = (x - exponent * LN_2_HIGH) - exponent * LN_2_LOW;
        // Below 0.35 in size: 14 terms of the series leave 4e-18.
        let mut mantissa = 1.0 / 6_227_020_800.0;
        for factorial in FACTORIALS {
            mantissa = mantissa * rest + 1.0 / factorial;
        }
        // Far out the rest has no digits left, and the exponent alone says enough.
        let far = x.abs() > 1e12;
        let mantissa = if far { 1.0 } else { mantissa };
        let exponent = if far { x * LOG2_E } else { exponent };
        Self {
            mantissa: if x == f64::INFINITY {
                f64::NAN
            } else {
                mantissa
            },
            exponent: if exponent < ZERO { ZERO } else { exponent },
        }
    }

    #[inline(always)]
    pub(super) fn times(self, other: Self) -> Self {
        Self {
            mantissa: self.mantissa * other.mantissa,
            exponent: self.exponent + other.exponent,
        }
    }

    #[inline(always)]
    pub(super) fn plus(self, other: Self) -> Self {
        let exponent = larger(self.exponent, other.exponent);
        Self {
            mantissa: self.scaled_to(exponent) + other.scaled_to(exponent),
            exponent,
        }
    }

    /// `self + second + third`.
    #[inline(always)]
    pub(super) fn plus_two(self, second: Self, third: Self) -> Self {
        let exponent = larger(larger(self.exponent, second.exponent), third.exponent);
        Self {
            mantissa: self.scaled_to(exponent)
                + second.scaled_to(exponent)
                + third.scaled_to(exponent),
            exponent,
        }
    }

    /// The mantissa it has with an exponent at least as large.
    #[inline(always)]
    fn scaled_to(self, exponent: f64) -> f64 {
        self.mantissa * power_of_two(self.exponent - exponent)
    }

    /// As an `f64`, which must not be beyond its range; 0 where it is below.
    #[inline(always)]
    pub(super) fn to_f64(self) -> f64 {
        self.mantissa * power_of_two(self.exponent)
    }

    /// The same number with a mantissa between 1 and 2, unless that is not finite.
    #[inline(always)]
    pub(super) fn normalised(self) -> Self {
        if !self.mantissa.is_finite() {
            return self;
        }
        if self.exponent < LEAST {
            return Self::ZERO;
        }
        let power = ((self.mantissa.to_bits() >> 52) & 0x7ff) as f64 - 1023.0;
        Self {
            mantissa: self.mantissa * power_of_two(-power),
            exponent: self.exponent + power,
        }
    }

    /// The natural logarithm; −∞ of 0.
    pub(super) fn ln(self) -> f64 {
        if self.exponent < LEAST && !self.mantissa.is_nan() {
            return f64::NEG_INFINITY;
        }
        self.mantissa.ln() + self.exponent * std::f64::consts::LN_2
    }
}

/// 12!, 11!, …, 1!, 0!.
const FACTORIALS: [f64; 13] = [
    479_001_600.0,
    39_916_800.0,
    3_628_800.0,
    362_880.0,
    40_320.0,
    5_040.0,
    720.0,
    120.0,
    24.0,
    6.0,
    2.0,
    1.0,
    1.0,
];

#[inline(always)]
fn larger(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

/// 2^power for powers below 1,024; 0 below −1,022.
#[inline(always)]
fn power_of_two(power: f64) -> f64 {
    // The low bits of 2^52 + n are those of n.
    const SHIFT: f64 = 4_503_599_627_370_496.0;
    let biased = larger(power, -1023.0) + 1023.0;
    f64::from_bits((biased + SHIFT).to_bits() << 52)
}

#[cfg(test)]
mod tests {
    use super::{Wide, power_of_two};

    #[test]
    fn powers_of_two_are_exact() {
        for power in -1022..1024 {
            assert_eq!(power_of_two(f64::from(power)), 2f64.powi(power));
        }
        assert_eq!(power_of_two(-1023.0), 0.0);
        assert_eq!(power_of_two(-1e300), 0.0);
    }

    #[test]
    fn exponentials_and_logarithms_are_inverse() {
        for step in -4000..=400 {
            let x = f64::from(step) * 0.171_3;
            let wide = Wide::exp(x);
            assert!(
                (0.7..1.42).contains(&wide.mantissa),
                "{x}: {}",
                wide.mantissa
            );
            assert!((wide.to_f64() / x.exp() - 1.0).abs() < 2e-15, "{x}");
        }
        for x in [-1e5, -12_345.678, -1e7, -1e30, -1e200, 3e8] {
            let found = Wide::exp(x).ln();
            assert!((found / x - 1.0).abs() < 1e-15, "{x}: {found}");
        }
        assert_eq!(Wide::exp(f64::NEG_INFINITY).ln(), f64::NEG_INFINITY);
        assert!(Wide::exp(f64::NAN).ln().is_nan());
        assert!(Wide::exp(f64::INFINITY).ln().is_nan());
    }

    #[test]
    fn sums_and_products_are_those_of_numbers() {
        let wide = |x: f64| Wide::exp(x.ln());
        for (a, b, c) in [
            (1.0, 2.0, 3.0),
            (1e-120, 1e-110, 1e-125),
            (0.3, 1e-250, 4.0),
        ] {
            let close = |found: Wide, expected: f64| {
                assert!(
                    (found.to_f64() / expected - 1.0).abs() < 1e-12,
                    "{expected}"
                );
            };
            close(wide(a).plus(wide(b)), a + b);
            close(wide(a).plus_two(wide(b), wide(c)), a + b + c);
            close(wide(a).times(wide(b)).normalised(), a * b);
            close(wide(a).plus(Wide::ZERO), a);
        }
        // Far below the range of f64.
        let tiny = (0..1000).fold(Wide::ONE, |product, _| product.times(wide(1e-10)));
        assert!((tiny.ln() + 1e4 * std::f64::consts::LN_10).abs() < 1e-8);
        let sum = tiny.plus_two(tiny, Wide::ZERO).normalised();
        assert!((1.0..2.0).contains(&sum.mantissa));
        assert!((sum.ln() - tiny.ln() - std::f64::consts::LN_2).abs() < 1e-8);
        assert_eq!(
            Wide::ZERO.plus(Wide::ZERO).times(tiny).ln(),
            f64::NEG_INFINITY
        );
        assert_eq!(Wide::ZERO.times(tiny).normalised().ln(), f64::NEG_INFINITY);
    }
}
