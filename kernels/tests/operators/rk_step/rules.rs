//! Exact cases and orders of convergence of the Runge-Kutta rules.

use super::{largest_distance, scalars, values};
use candle_core::{Device, Result, Tensor};
use taper_kernels::testing::uniform;
use taper_kernels::{StageRule, interpolate, rk_stage, rk_step};

/// The states of a step of `velocity` from (x, t), by the stages the rule prescribes.
fn step(
    velocity: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
    (x, t): (&Tensor, &Tensor),
    dt: &Tensor,
    order: usize,
    rule: StageRule,
) -> Result<Vec<Tensor>> {
    let mut slopes: Vec<Tensor> = Vec::new();
    for stage in rule.stages(order) {
        let time = (t - dt.affine(stage.node, 0.0)?)?;
        let point = match slopes.is_empty() {
            true => x.clone(),
            false => {
                let slopes: Vec<&Tensor> = slopes.iter().collect();
                rk_stage(x, &slopes, stage.coefficients, dt)?
            }
        };
        slopes.push(velocity(&point, &time)?);
    }
    rk_step(x, &slopes.iter().collect::<Vec<_>>(), dt, rule)
}

/// The error of every state of a step of length h from time `t`, for one number x.
fn errors(
    field: impl Fn(f64, f64) -> f64,
    exact: impl Fn(f64) -> f64,
    (t, h): (f64, f64),
    order: usize,
    rule: StageRule,
) -> Result<Vec<f64>> {
    let velocity = |x: &Tensor, t: &Tensor| {
        let all = values(x)?.into_iter().zip(values(t)?);
        let found: Vec<f64> = all.map(|(x, t)| field(x, t)).collect();
        Tensor::from_vec(found, x.shape(), &Device::Cpu)
    };
    let x = Tensor::new(&[[exact(t)]], &Device::Cpu)?;
    let states = step(
        velocity,
        (&x, &scalars(&[t])?),
        &scalars(&[h])?,
        order,
        rule,
    )?;
    states
        .iter()
        .enumerate()
        .map(|(index, state)| Ok(values(state)?[0] - exact(t - (index + 1) as f64 * h)))
        .collect()
}

fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-14, "{found} for {expected}");
    }
}

#[test]
fn the_line_ends_at_data_and_noise() -> Result<()> {
    let dims = [2, 3, 5];
    let (x, z) = (
        uniform("line", 0, &dims, -1.0, 1.0)?,
        uniform("line", 1, &dims, -1.0, 1.0)?,
    );
    let ends = |t: f64| interpolate(&x, &z, &scalars(&[t, t])?);
    assert_eq!(values(&ends(0.0)?.0)?, values(&x)?);
    assert_eq!(values(&ends(1.0)?.0)?, values(&z)?);
    assert_eq!(values(&ends(0.0)?.1)?, values(&ends(0.7)?.1)?);
    assert_eq!(values(&ends(0.2)?.1)?, values(&(z - x)?)?);
    Ok(())
}

#[test]
fn a_step_of_no_length_stays() -> Result<()> {
    let x = uniform("still", 0, &[2, 7], -1.0, 1.0)?;
    let slope = uniform("still", 1, &[2, 7], -1.0, 1.0)?;
    let dt = scalars(&[0.0, 0.0])?;
    for rule in [StageRule::Paper, StageRule::Corrected] {
        for order in 1..=4 {
            for state in rk_step(&x, &vec![&slope; order], &dt, rule)? {
                assert_eq!(values(&state)?, values(&x)?);
            }
        }
    }
    Ok(())
}

#[test]
fn polynomials_in_time_have_the_errors_of_the_card() -> Result<()> {
    let (t, h, b) = (0.8, 0.125, 0.7);
    let constant = |order, rule| errors(|_, _| 0.4, |t| 0.4 * t, (t, h), order, rule);
    let linear = |order, rule| {
        errors(
            |_, t| 0.4 + b * t,
            |t| 0.4 * t + 0.5 * b * t * t,
            (t, h),
            order,
            rule,
        )
    };
    let square = |order, rule| errors(|_, t| t * t, |t| t * t * t / 3.0, (t, h), order, rule);
    for rule in [StageRule::Paper, StageRule::Corrected] {
        for order in 1..=4 {
            let found = constant(order, rule)?;
            close(&found, &vec![0.0; found.len()]);
        }
        close(&linear(1, rule)?, &[-b * h * h / 2.0]);
        close(&linear(4, rule)?, &[0.0]);
        assert!((square(2, rule)?[0] + h * h * h / 6.0).abs() < 1e-14);
        assert!(square(3, rule)?[0].abs() < 1e-14);
    }
    let paper = StageRule::Paper;
    close(&linear(2, paper)?, &[0.0, -b * h * h]);
    close(&linear(3, paper)?, &[0.0, -b * h * h, -3.0 * b * h * h]);
    close(&linear(2, StageRule::Corrected)?, &[0.0, 0.0]);
    close(&linear(3, StageRule::Corrected)?, &[0.0, 0.0, 0.0]);
    Ok(())
}

#[test]
fn local_errors_fall_as_fast_as_the_order_says() -> Result<()> {
    // dx/dt = (1 + x²) cos t, solved by x = tan(sin t).
    let exponents = |order, rule| -> Result<Vec<f64>> {
        let at = |h| {
            errors(
                |x, t| (1.0 + x * x) * t.cos(),
                |t| t.sin().tan(),
                (0.6, h),
                order,
                rule,
            )
        };
        let (long, short) = (at(1e-2)?, at(5e-3)?);
        Ok(long
            .iter()
            .zip(&short)
            .map(|(long, short)| (long / short).abs().log2())
            .collect())
    };
    for (rule, order, expected) in [
        (StageRule::Paper, 1, &[2.0][..]),
        (StageRule::Paper, 2, &[3.0, 2.0]),
        (StageRule::Paper, 3, &[3.0, 2.0, 2.0]),
        (StageRule::Corrected, 1, &[2.0]),
        (StageRule::Corrected, 2, &[3.0, 3.0]),
        (StageRule::Corrected, 3, &[4.0, 3.0, 3.0]),
        (StageRule::Paper, 4, &[5.0]),
    ] {
        let found = exponents(order, rule)?;
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (found - expected).abs() < 0.1,
                "{rule:?}, order {order}: exponent {found} for {expected}"
            );
        }
    }
    Ok(())
}

#[test]
fn every_sample_has_its_own_step() -> Result<()> {
    let dims = [3, 2, 600];
    let x = uniform("own", 0, &dims, -1.0, 1.0)?;
    let slopes: Vec<Tensor> = (1..4)
        .map(|index| uniform("own", index, &dims, -1.0, 1.0))
        .collect::<Result<_>>()?;
    let dt = [0.0, 0.25, -0.5];
    let all = rk_step(
        &x,
        &slopes.iter().collect::<Vec<_>>(),
        &scalars(&dt)?,
        StageRule::Paper,
    )?;
    for (sample, &dt) in dt.iter().enumerate() {
        let alone = |tensor: &Tensor| tensor.narrow(0, sample, 1);
        let slopes: Vec<Tensor> = slopes.iter().map(alone).collect::<Result<_>>()?;
        let expected = rk_step(
            &alone(&x)?,
            &slopes.iter().collect::<Vec<_>>(),
            &scalars(&[dt])?,
            StageRule::Paper,
        )?;
        for (all, expected) in all.iter().zip(&expected) {
            assert_eq!(largest_distance(&alone(all)?, expected)?, 0.0);
        }
    }
    Ok(())
}

#[test]
fn a_slope_of_weight_zero_is_not_read() -> Result<()> {
    let x = scalars(&[1.0, 2.0])?;
    let nan = scalars(&[f64::NAN, f64::NAN])?;
    let dt = scalars(&[0.5, 0.25])?;
    let point = rk_stage(&x, &[&nan, &x], &[0.0, 0.5], &dt)?;
    assert_eq!(values(&point)?, [0.75, 1.75]);
    let states = rk_step(&x, &[&nan, &x], &dt, StageRule::Corrected)?;
    assert!(values(&states[0])?.iter().all(|value| value.is_nan()));
    assert_eq!(values(&states[1])?, [0.0, 1.0]); // x − 2 h k_2
    Ok(())
}
