//! Accuracy against `f64` over the whole range, special values, equal bits on every instruction set.

use super::{exp, ln, ln_1p, normal, sigmoid, tanh};
use crate::element::Element;
use crate::vector::{Pass, run};

/// Every `step`-th `f32` of both signs, normal numbers and zero only.
fn numbers(step: usize) -> impl Iterator<Item = f32> {
    (f32::MIN_POSITIVE.to_bits()..f32::INFINITY.to_bits())
        .step_by(step)
        .flat_map(|bits| [f32::from_bits(bits), -f32::from_bits(bits)])
        .chain([0.0, -0.0])
}

/// The largest error in units of the last place of `expected`, where that is a normal number.
fn error(function: impl Fn(f32) -> f32, expected: impl Fn(f64) -> f64, from: f32, to: f32) -> f64 {
    let mut largest: f64 = 0.0;
    for x in numbers(1013).filter(|&x| x >= from && x <= to) {
        let (found, expected) = (function(x), expected(f64::from(x)));
        let rounded = expected as f32;
        if rounded.is_infinite() || rounded.abs() < f32::MIN_POSITIVE {
            let near = |limit: f32| (found - limit).abs() <= f32::MIN_POSITIVE || found == limit;
            // At the edge of the range the last bit decides.
            assert!(
                near(rounded) || found == f32::MAX,
                "{x}: {found}, {expected}"
            );
            continue;
        }
        let place = 2f64.powi(expected.abs().log2().floor() as i32 - 23);
        let wrong = (f64::from(found) - expected).abs() / place;
        assert!(wrong < 1e3, "{x}: {found}, {expected}");
        largest = largest.max(wrong);
    }
    largest
}

const ALL: f32 = f32::MAX;

#[test]
fn errors_are_as_stated() {
    for (name, found, stated) in [
        ("exp", error(exp, f64::exp, -ALL, ALL), 1.0),
        ("ln", error(ln, f64::ln, 0.0, ALL), 0.9),
        ("ln_1p", error(ln_1p, f64::ln_1p, 0.0, ALL), 1.3),
        ("tanh", error(tanh, f64::tanh, -ALL, ALL), 1.4),
        (
            "sigmoid",
            error(sigmoid, <f64 as Element>::sigmoid, -ALL, ALL),
            2.1,
        ),
    ] {
        println!("{name}: {found:.3}");
        assert!(
            found <= stated,
            "{name}: {found} units in the last place, stated {stated}"
        );
        assert!(
            found > stated - 0.5,
            "{name}: {found}, much better than the stated {stated}"
        );
    }
}

#[test]
fn the_normal_distribution_is_right_in_its_tail_too() {
    for x in numbers(1013).filter(|x| x.abs() < 13.0) {
        let (exact, density) = <f64 as Element>::normal(f64::from(x));
        let (found, found_density) = normal(x);
        let allowed = (2.2 + 0.5 * f64::from(x * x)) * f64::from(f32::EPSILON);
        for (found, exact) in [(found, exact), (found_density, density)] {
            let wrong = (f64::from(found) - exact).abs() / exact;
            assert!(
                wrong <= allowed,
                "{x}: {found}, {exact}: {wrong} of {allowed}"
            );
        }
    }
}

#[test]
fn special_values() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    for function in [
        exp,
        ln,
        ln_1p,
        tanh,
        sigmoid,
        |x| normal(x).0,
        |x| normal(x).1,
    ] {
        assert!(function(nan).is_nan());
        assert!(function(-nan).is_nan());
    }
    assert_eq!(
        [exp(inf), exp(-inf), exp(0.0), exp(-0.0)],
        [inf, 0.0, 1.0, 1.0]
    );
    assert_eq!([exp(100.0), exp(-200.0), exp(f32::MAX)], [inf, 0.0, inf]);
    assert_eq!(
        [ln(inf), ln(1.0), ln(0.0), ln(-0.0)],
        [inf, 0.0, -inf, -inf]
    );
    assert!(ln(-1.0).is_nan() && ln(-inf).is_nan());
    assert_eq!([ln_1p(0.0), ln_1p(inf)], [0.0, inf]);
    assert_eq!([tanh(inf), tanh(-inf)], [1.0, -1.0]);
    assert_eq!(tanh(-0.0).to_bits(), (-0f32).to_bits());
    assert_eq!([sigmoid(inf), sigmoid(-inf), sigmoid(0.0)], [1.0, 0.0, 0.5]);
    assert_eq!([normal(inf), normal(-inf)], [(1.0, 0.0), (0.0, 0.0)]);
}

struct All<'a>(&'a [f32]);

impl Pass for All<'_> {
    type Output = Vec<[u32; 7]>;

    #[inline(always)]
    fn run(self) -> Self::Output {
        let each = |&x: &f32| {
            let (distribution, density) = normal(x);
            [
                exp(x),
                ln(x),
                ln_1p(x.abs()),
                tanh(x),
                sigmoid(x),
                distribution,
                density,
            ]
            .map(f32::to_bits)
        };
        self.0.iter().map(each).collect()
    }
}

#[test]
fn every_instruction_set_returns_the_same_bits() {
    let values: Vec<f32> = numbers(70_001).collect();
    let plain = All(&values).run();
    assert_eq!(run(All(&values)), plain);
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the features were just found.
        assert_eq!(unsafe { crate::vector::run_avx2(All(&values)) }, plain);
    }
}
