//! Orders, exactness and independence of the samplers (method card, section 13.7).

use super::*;
use crate::noise::sample_noise;
use candle_core::Device;

/// v = −x + cos 3t.
fn forced(x: &Tensor, t: &Tensor) -> candle_core::Result<Tensor> {
    let drive: Vec<f64> = t
        .to_vec1::<f64>()?
        .iter()
        .map(|t| (3.0 * t).cos())
        .collect();
    let drive = Tensor::new(drive, &Device::Cpu)?.reshape(((), 1))?;
    x.neg()?.broadcast_add(&drive)
}

/// x(0) of x(1) = 0.7 along it, from x = C e^−t + (cos 3t + 3 sin 3t) / 10.
fn exact() -> f64 {
    let particular = |t: f64| ((3.0 * t).cos() + 3.0 * (3.0 * t).sin()) / 10.0;
    (0.7 - particular(1.0)) * 1f64.exp() + particular(0.0)
}

fn quiet() -> impl FnMut(Instant<'_>) -> Result<()> {
    |_| Ok(())
}

fn error(rule: Rule, steps: usize) -> (f64, usize) {
    let z = Tensor::new(&[[0.7f64]], &Device::Cpu).unwrap();
    let config = SamplerConfig::of(rule, steps);
    let samples = sample(&mut forced, &z, &config, &mut quiet()).unwrap();
    let x = samples.x.flatten_all().unwrap().to_vec1::<f64>().unwrap()[0];
    ((x - exact()).abs(), samples.evaluations)
}

#[test]
fn errors_are_those_of_the_card() {
    let card = [
        (Rule::Euler, [4.33e-2, 2.33e-2, 1.21e-2], [8, 16, 32]),
        (Rule::Ab2, [1.74e-3, 1.05e-3, 3.42e-4], [8, 16, 32]),
        (Rule::Heun, [5.14e-3, 1.85e-3, 5.38e-4], [15, 31, 63]),
    ];
    for (rule, errors, evaluations) in card {
        for (index, steps) in [8, 16, 32].into_iter().enumerate() {
            let (found, cost) = error(rule, steps);
            assert!(
                (found / errors[index] - 1.0).abs() < 5e-3,
                "{rule:?} {steps}: {found:e}"
            );
            assert_eq!(cost, evaluations[index]);
        }
    }
}

#[test]
fn orders_show_when_steps_are_halved() {
    for (rule, order) in [
        (Rule::Euler, 1.0),
        (Rule::Heun, 2.0),
        (Rule::Ab2, 2.0),
        (Rule::Ab3, 3.0),
        (Rule::Rk4, 4.0),
    ] {
        let ratio = error(rule, 64).0 / error(rule, 128).0;
        assert!((ratio.log2() - order).abs() < 0.2, "{rule:?}: {ratio}");
    }
    assert_eq!(error(Rule::Ab3, 64).1, 65);
    assert_eq!(error(Rule::Rk4, 64).1, 256);
}

#[test]
fn the_adaptive_rule_keeps_its_tolerance() {
    let z = Tensor::new(&[[0.7f64]], &Device::Cpu).unwrap();
    let mut costs = Vec::new();
    for tolerance in [1e-3, 1e-6, 1e-9] {
        let config = SamplerConfig {
            rule: Rule::Dopri5,
            tolerance,
            ..SamplerConfig::default()
        };
        let samples = sample(&mut forced, &z, &config, &mut quiet()).unwrap();
        let x = samples.x.flatten_all().unwrap().to_vec1::<f64>().unwrap()[0];
        assert!((x - exact()).abs() < 20.0 * tolerance, "{tolerance}: {x}");
        costs.push(samples.evaluations);
    }
    assert!(costs[0] < costs[1] && costs[1] < costs[2], "{costs:?}");
    let config = SamplerConfig {
        rule: Rule::Dopri5,
        tolerance: 1e-9,
        evaluations: costs[2] - 1,
        ..SamplerConfig::default()
    };
    let failure = sample(&mut forced, &z, &config, &mut quiet()).unwrap_err();
    assert!(failure.to_string().contains("tolerance 1e-9"), "{failure}");
}

#[test]
fn constant_velocity_moves_by_one() {
    let z = sample_noise(0, 0..3, &[2]).unwrap();
    for rule in Rule::ALL {
        for steps in [1, 2, 3, 7, 16] {
            let config = SamplerConfig::of(rule, steps);
            let mut one = |x: &Tensor, _: &Tensor| x.ones_like();
            let samples = sample(&mut one, &z, &config, &mut quiet()).unwrap();
            let moved = (samples.x - &z).unwrap().flatten_all().unwrap();
            for moved in moved.to_vec1::<f32>().unwrap() {
                assert!((moved + 1.0).abs() < 1e-5, "{rule:?} {steps}: {moved}");
            }
        }
    }
}

/// A field that depends on the sample, and not on its neighbours.
fn nonlinear(x: &Tensor, t: &Tensor) -> candle_core::Result<Tensor> {
    let t = t.reshape(((), 1))?;
    x.sin()?.broadcast_mul(&(t + 0.5)?)
}

#[test]
fn a_sample_does_not_depend_on_its_batch() {
    let z = sample_noise(5, 0..6, &[3]).unwrap();
    for rule in Rule::ALL {
        let config = SamplerConfig::of(rule, 5);
        let whole = sample(&mut nonlinear, &z, &config, &mut quiet()).unwrap().x;
        for index in 0..6 {
            let alone = sample_noise(5, index..index + 1, &[3]).unwrap();
            let alone = sample(&mut nonlinear, &alone, &config, &mut quiet())
                .unwrap()
                .x;
            assert_eq!(
                whole
                    .narrow(0, index as usize, 1)
                    .unwrap()
                    .to_vec2::<f32>()
                    .unwrap(),
                alone.to_vec2::<f32>().unwrap(),
                "{rule:?}"
            );
        }
    }
}

#[test]
fn a_clamp_keeps_the_last_estimate_in_its_range() {
    let z = sample_noise(1, 0..16, &[4]).unwrap();
    let mut wild = |x: &Tensor, _: &Tensor| x * 7.0;
    for rule in [Rule::Euler, Rule::Heun, Rule::Ab2] {
        let config = SamplerConfig {
            clamp: Some([-1.0, 1.0]),
            ..SamplerConfig::of(rule, 4)
        };
        let x = sample(&mut wild, &z, &config, &mut quiet()).unwrap().x;
        let largest = x
            .abs()
            .unwrap()
            .max_all()
            .unwrap()
            .to_scalar::<f32>()
            .unwrap();
        // Euler's last step ends at the estimate itself.
        if rule != Rule::Ab2 {
            assert!(largest <= 1.0 + 1e-5, "{rule:?}: {largest}");
        }
        assert!(largest.is_finite());
    }
}

#[test]
fn momentum_is_a_mean_over_the_steps_before() {
    let z = Tensor::new(&[[0f64]], &Device::Cpu).unwrap();
    // v = t at t = 1, ½: without momentum −(1 + ½) / 2, with μ = ½ the second is ½·½ + ½·1.
    let mut time = |_: &Tensor, t: &Tensor| t.reshape(((), 1));
    for (momentum, expected) in [(0.0, -0.75), (0.5, -0.875)] {
        let config = SamplerConfig {
            momentum,
            ..SamplerConfig::of(Rule::Euler, 2)
        };
        let x = sample(&mut time, &z, &config, &mut quiet()).unwrap().x;
        assert_eq!(x.to_vec2::<f64>().unwrap(), [[expected]]);
    }
}

#[test]
fn bad_settings_are_named() {
    let good = SamplerConfig::default();
    let cases = [
        (
            "steps",
            SamplerConfig {
                steps: 0,
                ..good.clone()
            },
        ),
        (
            "momentum",
            SamplerConfig {
                momentum: 1.0,
                ..good.clone()
            },
        ),
        (
            "momentum",
            SamplerConfig {
                momentum: 0.5,
                ..SamplerConfig::of(Rule::Heun, 4)
            },
        ),
        (
            "clamp",
            SamplerConfig {
                clamp: Some([1.0, -1.0]),
                ..good.clone()
            },
        ),
        (
            "clamp",
            SamplerConfig {
                clamp: Some([-1.0, 1.0]),
                ..SamplerConfig::of(Rule::Dopri5, 4)
            },
        ),
        (
            "tolerance",
            SamplerConfig {
                tolerance: 0.0,
                ..good.clone()
            },
        ),
        (
            "evaluations",
            SamplerConfig {
                evaluations: 0,
                ..good.clone()
            },
        ),
    ];
    for (field, config) in cases {
        let message = config.validate().unwrap_err().to_string();
        assert!(message.starts_with(field), "{message}");
    }
    let z = sample_noise(0, 0..1, &[2]).unwrap();
    let mut infinite = |x: &Tensor, _: &Tensor| x * f64::INFINITY;
    let failure = sample(&mut infinite, &z, &good, &mut quiet()).unwrap_err();
    assert!(failure.to_string().contains("NaN or infinite"), "{failure}");
}
