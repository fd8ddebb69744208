//! The samplers against the figures of the card, and the clamp.

use super::{scalars, values};
use candle_core::{Result, Tensor};
use taper_kernels::{SamplerStep, rk_stage, sampler_update, sampler_update_with_estimate};

fn field(x: &Tensor, t: f64) -> Result<Tensor> {
    x.affine(-1.0, (3.0 * t).cos())
}

/// x(0) of the field where x(1) = 0.7: x = C e^−t + (cos 3t + 3 sin 3t) / 10.
fn exact() -> f64 {
    let part = |t: f64| ((3.0 * t).cos() + 3.0 * (3.0 * t).sin()) / 10.0;
    (0.7 - part(1.0)) * 1f64.exp() + part(0.0)
}

fn plain(h: f64, t: f64) -> SamplerStep {
    SamplerStep { h, t, clamp: None }
}

fn multistep(
    steps: usize,
    two_steps: bool,
    velocity: impl Fn(&Tensor, f64) -> Result<Tensor>,
    start: f64,
) -> Result<f64> {
    let h = 1.0 / steps as f64;
    let (mut x, mut previous) = (scalars(&[start])?, None);
    for index in (1..=steps).rev() {
        let t = index as f64 * h;
        let v = velocity(&x, t)?;
        x = sampler_update(
            &x,
            &v,
            previous.as_ref().filter(|_| two_steps),
            &plain(h, t),
        )?;
        previous = Some(v);
    }
    Ok(values(&x)?[0])
}

/// Heun's rule with an Euler step at the end.
fn heun(
    intervals: usize,
    velocity: impl Fn(&Tensor, f64) -> Result<Tensor>,
    start: f64,
) -> Result<f64> {
    let h = 1.0 / intervals as f64;
    let (mut x, dt) = (scalars(&[start])?, scalars(&[h])?);
    for index in (1..=intervals).rev() {
        let t = index as f64 * h;
        let first = velocity(&x, t)?;
        let end = sampler_update(&x, &first, None, &plain(h, t))?;
        x = match index {
            1 => end,
            _ => {
                let second = velocity(&end, t - h)?;
                rk_stage(&x, &[&first, &second], &[0.5, 0.5], &dt)?
            }
        };
    }
    Ok(values(&x)?[0])
}

#[test]
fn errors_are_those_of_the_card() -> Result<()> {
    // Relative to half a unit of the card's third digit.
    let agrees = |found: f64, expected: f64| {
        let error = (found - exact()).abs();
        assert!(
            (error / expected - 1.0).abs() < 5e-3,
            "{error:e} for {expected:e}"
        );
    };
    for (steps, euler, two_steps, of_heun) in [
        (8, 4.33e-2, 1.74e-3, 5.14e-3),
        (16, 2.33e-2, 1.05e-3, 1.85e-3),
        (32, 1.21e-2, 3.42e-4, 5.38e-4),
    ] {
        agrees(multistep(steps, false, field, 0.7)?, euler);
        agrees(multistep(steps, true, field, 0.7)?, two_steps);
        agrees(heun(steps, field, 0.7)?, of_heun);
    }
    Ok(())
}

#[test]
fn a_constant_velocity_carries_over_the_whole_axis() -> Result<()> {
    let one = |x: &Tensor, _: f64| x.ones_like();
    for steps in [1, 2, 3, 7, 16, 50] {
        for end in [
            multistep(steps, false, one, 0.5)?,
            multistep(steps, true, one, 0.5)?,
            heun(steps, one, 0.5)?,
        ] {
            assert!((end + 0.5).abs() < 1e-14, "{steps} steps end at {end}");
        }
    }
    Ok(())
}

#[test]
fn the_clamp_is_its_formula() -> Result<()> {
    let x = scalars(&[0.5, -2.0, 3.0, f64::NAN, 0.0, 1.0])?;
    let v = scalars(&[0.25, 3.0, -4.0, 1.0, f64::INFINITY, 0.0])?;
    let previous = scalars(&[1.0, -1.0, 0.5, 0.0, 2.0, 0.25])?;
    let step = SamplerStep {
        h: 0.125,
        t: 0.5,
        clamp: Some((-1.0, 1.0)),
    };
    let estimate = (&x - v.affine(0.5, 0.0)?)?.clamp(-1.0, 1.0)?;
    let new = ((&x - &estimate)? / 0.5)?;
    let bits = |tensor: &Tensor| -> Result<Vec<u64>> {
        Ok(values(tensor)?.into_iter().map(f64::to_bits).collect())
    };
    for before in [None, Some(&previous)] {
        let slope = match before {
            None => new.clone(),
            Some(previous) => (new.affine(1.5, 0.0)? - previous.affine(0.5, 0.0)?)?,
        };
        let expected = (&x - slope.affine(0.125, 0.0)?)?;
        let (next, found) = sampler_update_with_estimate(&x, &v, before, &step)?;
        assert_eq!(bits(&next)?[..3], bits(&expected)?[..3]);
        assert_eq!(bits(&next)?[4..], bits(&expected)?[4..]);
        assert!(values(&next)?[3].is_nan() && values(&found)?[3].is_nan());
        assert_eq!(bits(&found)?[..3], bits(&estimate)?[..3]);
        assert_eq!(bits(&sampler_update(&x, &v, before, &step)?)?, bits(&next)?);
    }
    // With nothing to clamp, the step is the plain one.
    let wide = SamplerStep {
        clamp: Some((-1e3, 1e3)),
        ..step
    };
    let (x, v) = (scalars(&[0.5, -0.25])?, scalars(&[0.125, 1.0])?);
    let (clamped, plain) = (
        sampler_update(&x, &v, None, &wide)?,
        sampler_update(&x, &v, None, &plain(0.125, 0.5))?,
    );
    assert_eq!(values(&clamped)?, values(&plain)?);
    Ok(())
}

#[test]
fn the_estimate_is_the_data_of_a_straight_line() -> Result<()> {
    let (data, noise) = (scalars(&[0.25, -0.5])?, scalars(&[1.5, 2.0])?);
    let t = 0.75;
    let x = (noise.affine(t, 0.0)? + data.affine(1.0 - t, 0.0)?)?;
    let v = (&noise - &data)?;
    let (next, estimate) = sampler_update_with_estimate(&x, &v, None, &plain(t, t))?;
    assert_eq!(values(&estimate)?, values(&data)?);
    assert_eq!(values(&next)?, values(&data)?);
    Ok(())
}
