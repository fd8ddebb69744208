//! Derivatives against central differences, for every argument.

use super::{SHAPES, scalars, values, var};
use candle_core::{DType, Device, Result, Tensor, Var};
use taper_kernels::testing::{check_gradient, uniform, weighted_sum};
use taper_kernels::{
    CatchUpWeights, SamplerStep, StageRule, catchup_loss, interpolate, interpolate_state, rk_stage,
    rk_step, sampler_update, sampler_update_with_estimate,
};

const SMALL: usize = 6;

/// Checks `function` with respect to each of `vars`.
fn check(vars: &[&Var], function: impl Fn() -> Result<Tensor>) -> Result<()> {
    vars.iter()
        .try_for_each(|var| check_gradient(var, 1e-6, || weighted_sum(&function()?)))
}

#[test]
fn interpolation() -> Result<()> {
    for dims in &SHAPES[..SMALL] {
        let (x, z, t) = (var(0, dims)?, var(1, dims)?, var(2, &dims[..1])?);
        check(&[&x, &z, &t], || interpolate_state(&x, &z, &t))?;
        check(&[&x, &z, &t], || {
            let (x_t, g) = interpolate(&x, &z, &t)?;
            Tensor::cat(&[&x_t, &g.affine(0.7, 0.0)?], 0)
        })?;
        check(&[&x, &z], || Ok(interpolate(&x, &z, &t.detach())?.1))?;
        check(&[&z], || interpolate_state(&x.detach(), &z, &t.detach()))?;
        check(&[&x], || interpolate_state(&x, &x, &t))?;
        check(&[&x, &t], || interpolate_state(&x, &z.detach(), &t))?;
    }
    Ok(())
}

#[test]
fn stages_and_states() -> Result<()> {
    for dims in &SHAPES[..SMALL] {
        let x = var(3, dims)?;
        let slopes: Vec<Var> = (4..8)
            .map(|index| var(index, dims))
            .collect::<Result<_>>()?;
        let dt = var(8, &dims[..1])?;
        for order in 1..=4 {
            let slopes: Vec<&Var> = slopes.iter().take(order).collect();
            let tensors: Vec<&Tensor> = slopes.iter().map(|slope| slope.as_tensor()).collect();
            let constants: Vec<Tensor> = slopes.iter().map(|slope| slope.detach()).collect();
            let constants: Vec<&Tensor> = constants.iter().collect();
            let all = [&[&x, &dt][..], &slopes].concat();
            for rule in [StageRule::Paper, StageRule::Corrected] {
                check(&all, || Tensor::cat(&rk_step(&x, &tensors, &dt, rule)?, 0))?;
                check(&[&x, &dt], || {
                    Tensor::cat(&rk_step(&x, &constants, &dt, rule)?, 0)
                })?;
            }
            let coefficients = &[0.3, -1.5, 0.25, 2.0][..order];
            check(&all, || rk_stage(&x, &tensors, coefficients, &dt))?;
            check(&[&dt], || {
                rk_stage(&x.detach(), &constants, coefficients, &dt)
            })?;
            check(&slopes, || {
                rk_stage(&x.detach(), &tensors, coefficients, &dt.detach())
            })?;
        }
        check(&[&x], || rk_stage(&x, &[&x, &x], &[0.5, 1.0], &dt))?;
    }
    Ok(())
}

#[test]
fn losses() -> Result<()> {
    for dims in &SHAPES[..SMALL] {
        let heads: Vec<Var> = (9..12)
            .map(|index| var(index, dims))
            .collect::<Result<_>>()?;
        let velocity = var(12, dims)?;
        let targets: Vec<Tensor> = (13..16)
            .map(|index| uniform("targets", index, dims, -1.0, 1.0))
            .collect::<Result<_>>()?;
        let omega = uniform("omega", 0, &dims[..1], 0.2, 2.0)?;
        let mask: Vec<u8> = (0..dims[0]).map(|sample| (sample % 2) as u8).collect();
        let mask = Tensor::from_vec(mask, dims[0], &Device::Cpu)?;
        for n in 1..=3 {
            let heads: Vec<&Var> = heads.iter().take(n).collect();
            let tensors: Vec<&Tensor> = heads.iter().map(|head| head.as_tensor()).collect();
            let targets: Vec<&Tensor> = targets.iter().take(n).collect();
            let weights = CatchUpWeights {
                catch_up: &[0.5, 1.0, 2.0][..n],
                truth: &[1.5, 1.0, 0.25][..n],
                samples: Some(&omega),
            };
            check(&heads, || {
                catchup_loss(&tensors, &targets, &velocity, Some(&mask), &weights)
            })?;
            // Unmasked: where a mask puts g in the target's place, g is a constant there.
            let all = [&heads[..], &[&velocity]].concat();
            check(&all, || {
                catchup_loss(&tensors, &targets, &velocity, None, &weights)?.affine(-0.5, 1.0)
            })?;
        }
    }
    Ok(())
}

#[test]
fn sampler_steps() -> Result<()> {
    for dims in &SHAPES[..SMALL] {
        let (x, v, previous) = (var(17, dims)?, var(18, dims)?, var(19, dims)?);
        // A third of the estimates x − 0.8 v lies outside ±0.5, none within 1e-3 of the ends.
        let estimates = values(&(x.as_tensor() - v.as_tensor().affine(0.8, 0.0)?)?)?;
        assert!(
            estimates
                .iter()
                .all(|estimate| (estimate.abs() - 0.5).abs() > 1e-4)
        );
        for clamp in [None, Some((-0.5, 0.5))] {
            let step = SamplerStep {
                h: 0.3,
                t: 0.8,
                clamp,
            };
            check(&[&x, &v], || sampler_update(&x, &v, None, &step))?;
            check(&[&x, &v, &previous], || {
                sampler_update(&x, &v, Some(&previous), &step)
            })?;
            check(&[&previous], || {
                sampler_update(&x.detach(), &v.detach(), Some(&previous), &step)
            })?;
            for before in [None, Some(previous.as_tensor())] {
                check(&[&x, &v], || {
                    let (next, estimate) = sampler_update_with_estimate(&x, &v, before, &step)?;
                    Tensor::cat(&[&next, &estimate.affine(0.7, 0.0)?], 0)
                })?;
            }
            check(&[&x], || sampler_update(&x, &x, Some(&x), &step))?;
        }
    }
    Ok(())
}

#[test]
fn strided_views_are_read_as_what_they_show() -> Result<()> {
    let (wide, t) = (var(20, &[4, 6, 5])?, var(21, &[10, 1])?);
    let view = || wide.transpose(0, 1)?.narrow(0, 1, 5)?.transpose(1, 2); // [5, 5, 4]
    let other = || wide.narrow(1, 1, 5)?.permute((1, 2, 0));
    let t = || t.reshape((5, 2))?.narrow(1, 1, 1)?.squeeze(1);
    let step = SamplerStep {
        h: 0.25,
        t: 0.5,
        clamp: None,
    };
    check(&[&wide], || {
        let (x_t, g) = interpolate(&view()?, &other()?, &t()?)?;
        let states = rk_step(&x_t, &[&g, &view()?], &t()?, StageRule::Paper)?;
        let stage = rk_stage(&view()?, &[&other()?], &[2.0], &t()?)?;
        let next = sampler_update(&view()?, &stage, Some(&other()?), &step)?;
        Tensor::cat(
            &[
                &states[0],
                &states[1].transpose(1, 2)?.reshape((5, 5, 4))?,
                &next,
            ],
            0,
        )
    })
}

#[test]
fn empty_tensors_stay_empty() -> Result<()> {
    for dims in [&[0][..], &[0, 3], &[2, 0, 4]] {
        let x = Var::from_tensor(&Tensor::zeros(dims, DType::F32, &Device::Cpu)?)?;
        let t = Var::from_tensor(&Tensor::zeros(dims[0], DType::F32, &Device::Cpu)?)?;
        let step = SamplerStep {
            h: 0.25,
            t: 0.5,
            clamp: Some((-1.0, 1.0)),
        };
        let (x_t, g) = interpolate(&x, &x, &t)?;
        let mut all = rk_step(&x, &[&x, &x, &x], &t, StageRule::Paper)?;
        all.extend([x_t, g, rk_stage(&x, &[&x], &[1.0], &t)?]);
        let (next, estimate) = sampler_update_with_estimate(&x, &x, None, &step)?;
        all.extend([next, estimate]);
        let plain = SamplerStep {
            clamp: None,
            ..step
        };
        all.push(sampler_update(&x, &x, Some(&x), &plain)?);
        for result in &all {
            assert_eq!(result.dims(), dims);
        }
        let gradients = Tensor::cat(&all, 0)?.sum_all()?.backward()?;
        assert_eq!(gradients.get(&x).unwrap().dims(), dims);
        assert!(
            gradients
                .get(&t)
                .unwrap()
                .to_vec1::<f32>()?
                .iter()
                .all(|&value| value == 0.0)
        );
    }
    Ok(())
}

#[test]
fn a_second_backward_pass_gives_the_same() -> Result<()> {
    let (x, z, t) = (var(22, &[3, 50])?, var(23, &[3, 50])?, var(24, &[3])?);
    let (x_t, g) = interpolate(&x, &z, &t)?;
    let states = rk_step(&x_t, &[&g, &x_t], &t, StageRule::Corrected)?;
    let loss = weighted_sum(&Tensor::cat(&states, 0)?)?;
    let bits = || -> Result<Vec<Vec<f64>>> {
        let gradients = loss.backward()?;
        [&x, &z, &t]
            .into_iter()
            .map(|var| values(gradients.get(var).unwrap()))
            .collect()
    };
    let first = bits()?;
    assert!(first.iter().flatten().all(|&value| value != 0.0));
    assert_eq!(first, bits()?);
    Ok(())
}

#[test]
fn only_what_is_tracked_is_on_the_tape() -> Result<()> {
    let x = uniform("constants", 0, &[2, 3], -1.0, 1.0)?;
    let dt = scalars(&[0.5, 0.25])?;
    let (x_t, g) = interpolate(&x, &x, &dt)?;
    assert!(!x_t.track_op() && !g.track_op());
    assert!(
        rk_step(&x, &[&x], &dt, StageRule::Paper)?
            .iter()
            .all(|state| !state.track_op())
    );
    Ok(())
}
