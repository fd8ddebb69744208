//! States and their orders (method card, section 13.2).

use super::{RULES, config};
use crate::objectives::Times;
use crate::objectives::catch_up::{CatchUpConfig, Stages};
use crate::samplers::Velocity;
use candle_core::{Device, Tensor};

fn scalar(value: f64) -> Tensor {
    Tensor::new(&[[value]], &Device::Cpu).unwrap()
}

fn states_of(
    config: &CatchUpConfig,
    x: f64,
    t: f64,
    h: f64,
    velocity: &mut Velocity<'_>,
) -> Vec<f64> {
    let times = Times::given(vec![t], vec![h]).unwrap();
    let states = config.states(&scalar(x), &times, None, velocity).unwrap();
    let value = |s: &Tensor| s.flatten_all().unwrap().to_vec1::<f64>().unwrap()[0];
    states.iter().map(value).collect()
}

fn time_only(
    f: impl Fn(f64) -> f64,
) -> impl FnMut(&Tensor, &Tensor) -> candle_core::Result<Tensor> {
    move |x, t| {
        let values: Vec<f64> = t.to_vec1::<f64>()?.into_iter().map(&f).collect();
        Tensor::new(values, &Device::Cpu)?.reshape(x.shape())
    }
}

/// Section 13.2.
#[test]
fn polynomial_velocities() {
    let (x, t, h) = (0.3, 0.8, 0.05);
    for rule in RULES {
        for order in 1..=3 {
            let config = config(order, rule);
            for (j, s) in states_of(&config, x, t, h, &mut time_only(|_| 1.7))
                .iter()
                .enumerate()
            {
                let exact = x - 1.7 * (j + 1) as f64 * h;
                assert!((s - exact).abs() < 1e-14, "{rule:?} {order}");
            }
        }
    }
    let (a, b) = (0.4, -1.3);
    let exact = |j: f64| x - (a * j * h + b * (t * j * h - (j * h).powi(2) / 2.0));
    let linear = |order| {
        let states = states_of(
            &config(order, Stages::Paper),
            x,
            t,
            h,
            &mut time_only(|t| a + b * t),
        );
        let error = |(j, s): (usize, f64)| s - exact((j + 1) as f64);
        states
            .into_iter()
            .enumerate()
            .map(error)
            .collect::<Vec<_>>()
    };
    let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-14, "{found}");
    close(linear(1)[0], -b * h * h / 2.0);
    for order in [2, 3] {
        close(linear(order)[0], 0.0);
        close(linear(order)[1], -b * h * h);
    }
    close(linear(3)[2], -3.0 * b * h * h);
    let square = |order| {
        states_of(
            &config(order, Stages::Paper),
            x,
            t,
            h,
            &mut time_only(|t| t * t),
        )[0]
    };
    let exact = x - (t.powi(3) - (t - h).powi(3)) / 3.0;
    close(square(3), exact);
    close(square(2), exact - h.powi(3) / 6.0);
}

/// v of a nonlinear field.
fn nonlinear(x: &Tensor, t: &Tensor) -> candle_core::Result<Tensor> {
    let t = t.reshape(((), 1))?;
    ((x.sin()? * 1.3)? + (x * (t * 2.0)?.cos()?)?)? + 0.2
}

/// The exact state at t − s: the classical rule in very small steps.
fn exact(x: f64, t: f64, s: f64) -> f64 {
    let v = |x: f64, t: f64| 1.3 * x.sin() + x * (2.0 * t).cos() + 0.2;
    let count = 200;
    let h = s / f64::from(count);
    let (mut x, mut t) = (x, t);
    for _ in 0..count {
        let k1 = v(x, t);
        let k2 = v(x - h / 2.0 * k1, t - h / 2.0);
        let k3 = v(x - h / 2.0 * k2, t - h / 2.0);
        let k4 = v(x - h * k3, t - h);
        x -= h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4);
        t -= h;
    }
    x
}

/// Section 13.2: the exponent of the local error, one more than the order.
#[test]
fn local_errors_have_the_exponents_of_the_card() {
    let card: [(Stages, usize, &[f64]); 6] = [
        (Stages::Paper, 1, &[2.0]),
        (Stages::Paper, 2, &[3.0, 2.0]),
        (Stages::Paper, 3, &[3.0, 2.0, 2.0]),
        (Stages::Corrected, 1, &[2.0]),
        (Stages::Corrected, 2, &[3.0, 3.0]),
        (Stages::Corrected, 3, &[4.0, 3.0, 3.0]),
    ];
    let (x, t) = (0.5, 0.5);
    for (rule, order, exponents) in card {
        let errors = |h: f64| -> Vec<f64> {
            let states = states_of(&config(order, rule), x, t, h, &mut nonlinear);
            let error = |(j, s): (usize, f64)| (s - exact(x, t, (j + 1) as f64 * h)).abs();
            states.into_iter().enumerate().map(error).collect()
        };
        let (large, small) = (errors(0.01), errors(0.005));
        for (index, exponent) in exponents.iter().enumerate() {
            let found = (large[index] / small[index]).log2();
            assert!(
                (found - exponent).abs() < 0.25,
                "{rule:?} {order} s_{}: {found}",
                index + 1
            );
        }
    }
}
