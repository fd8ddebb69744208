//! Fused against unfused in single precision, single against double, and the same bits on any number of threads.

use super::{SHAPES, largest_distance, single, spread_out, values};
use candle_core::{DType, Result, Tensor, Var};
use taper_kernels::testing::{uniform, weighted_sum};
use taper_kernels::threads::set_threads;
use taper_kernels::{
    CatchUpWeights, SamplerStep, StageRule, catchup_loss, interpolate, rk_stage, rk_step,
    sampler_update, sampler_update_with_estimate,
};

/// The same numbers: every operation rounds once, in the order of the formula.
fn same(fused: &Tensor, unfused: &Tensor) -> Result<()> {
    assert_eq!(fused.dims(), unfused.dims());
    assert_eq!(values(fused)?, values(unfused)?);
    Ok(())
}

#[test]
fn fused_is_unfused() -> Result<()> {
    for dims in SHAPES {
        let (x, z) = (single(0, dims)?, single(1, dims)?);
        let slopes = [
            single(2, dims)?,
            single(3, dims)?,
            single(4, dims)?,
            single(5, dims)?,
        ];
        let t = uniform("t", 0, &dims[..1], 0.0, 1.0)?.to_dtype(DType::F32)?;
        let all_t = spread_out(&t, dims)?;
        let (x_t, g) = interpolate(&x, &z, &t)?;
        same(&x_t, &((&all_t * &z)? + (all_t.affine(-1.0, 1.0)? * &x)?)?)?;
        same(&g, &(&z - &x)?)?;
        let dt = uniform("dt", 0, &dims[..1], 0.0, 0.0625)?.to_dtype(DType::F32)?;
        let all_dt = spread_out(&dt, dims)?;
        let slope = |weights: &[f64]| -> Result<Tensor> {
            let mut sum = slopes[0].affine(weights[0], 0.0)?;
            for (slope, &weight) in slopes.iter().zip(weights).skip(1) {
                sum = (sum + slope.affine(weight, 0.0)?)?;
            }
            Ok(sum)
        };
        let state = |steps: f64, weights: &[f64]| -> Result<Tensor> {
            &x - (all_dt.affine(steps, 0.0)? * slope(weights)?)?
        };
        let step = |order: usize, rule| {
            rk_step(
                &x,
                &slopes.iter().take(order).collect::<Vec<_>>(),
                &dt,
                rule,
            )
        };
        let third = [5.0 / 12.0, 8.0 / 12.0, -1.0 / 12.0];
        for (index, found) in step(3, StageRule::Paper)?.iter().enumerate() {
            same(found, &state((index + 1) as f64, &third)?)?;
        }
        same(&step(2, StageRule::Paper)?[1], &state(2.0, &[0.5, 0.5])?)?;
        same(&step(1, StageRule::Paper)?[0], &state(1.0, &[1.0])?)?;
        let sixths = [1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0];
        same(&step(4, StageRule::Paper)?[0], &state(1.0, &sixths)?)?;
        let simpson = [1.0 / 6.0, 4.0 / 6.0, 1.0 / 6.0];
        same(&step(3, StageRule::Corrected)?[1], &state(2.0, &simpson)?)?;
        let stage = rk_stage(&x, &[&slopes[0], &slopes[1]], &[1.75, 0.25], &dt)?;
        same(&stage, &state(1.0, &[1.75, 0.25])?)?;
        let plain = SamplerStep {
            h: 0.1,
            t: 0.3,
            clamp: None,
        };
        let (next, estimate) = sampler_update_with_estimate(&x, &slopes[0], None, &plain)?;
        same(&next, &(&x - slopes[0].affine(f64::from(0.1f32), 0.0)?)?)?;
        same(
            &estimate,
            &(&x - slopes[0].affine(f64::from(0.3f32), 0.0)?)?,
        )?;
    }
    Ok(())
}

/// All results and gradients of every function at one type of number.
fn everything(dims: &[usize], dtype: DType) -> Result<Vec<Tensor>> {
    let tensor = |index| single(index, dims)?.to_dtype(dtype);
    let t = uniform("t", 0, &dims[..1], 0.0, 1.0)?
        .to_dtype(DType::F32)?
        .to_dtype(dtype)?;
    let (x, z, t) = (
        Var::from_tensor(&tensor(0)?)?,
        Var::from_tensor(&tensor(1)?)?,
        Var::from_tensor(&t)?,
    );
    let (x_t, g) = interpolate(&x, &z, &t)?;
    let stage = rk_stage(&x_t, &[&g, &tensor(2)?], &[1.75, 0.25], &t)?;
    let slopes = [tensor(3)?, tensor(4)?, tensor(5)?];
    let states = rk_step(
        &x_t,
        &slopes.iter().collect::<Vec<_>>(),
        &t,
        StageRule::Paper,
    )?;
    let step = SamplerStep {
        h: 0.1,
        t: 0.5,
        clamp: Some((-4.0, 4.0)),
    };
    let next = sampler_update(&stage, &states[0], Some(&states[1]), &step)?;
    let weights = CatchUpWeights {
        catch_up: &[1.0, 0.5],
        truth: &[0.5, 2.0],
        samples: Some(&t),
    };
    let targets = [tensor(6)?, tensor(7)?];
    let loss = catchup_loss(
        &[&next, &states[2]],
        &[&targets[0], &targets[1]],
        &g,
        None,
        &weights,
    )?;
    let whole = (weighted_sum(&next)? + loss.affine(10.0, 0.0)?)?;
    let gradients = whole.backward()?;
    let mut all = vec![x_t, g, stage, next, loss];
    all.extend(states);
    for var in [&x, &z, &t] {
        all.push(gradients.get(var).unwrap().clone());
    }
    Ok(all)
}

#[test]
fn single_precision_follows_double() -> Result<()> {
    for dims in SHAPES {
        let (fast, exact) = (everything(dims, DType::F32)?, everything(dims, DType::F64)?);
        for (index, (fast, exact)) in fast.iter().zip(&exact).enumerate() {
            let scale = values(exact)?
                .into_iter()
                .fold(1e-3, |most, value| value.abs().max(most));
            let error = largest_distance(fast, exact)? / scale;
            assert!(error < 4e-6, "{dims:?}: result {index} is off by {error:e}");
        }
    }
    Ok(())
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    for dims in [&[3, 2, 100, 97][..], &[70_000, 2], &[1, 200_001]] {
        set_threads(1);
        let alone: Vec<_> = everything(dims, DType::F32)?
            .iter()
            .map(values)
            .collect::<Result<_>>()?;
        for count in [2, 3] {
            set_threads(count);
            for (index, result) in everything(dims, DType::F32)?.iter().enumerate() {
                assert!(
                    values(result)? == alone[index],
                    "{dims:?}: result {index}, {count} threads"
                );
            }
        }
        set_threads(0);
    }
    Ok(())
}
