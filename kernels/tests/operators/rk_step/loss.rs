//! The catch-up loss: masks, weights, what is constant.

use super::{SHAPES, scalars, single, spread_out, values, var};
use candle_core::{D, DType, Device, Result, Tensor, Var};
use taper_kernels::testing::uniform;
use taper_kernels::{CatchUpWeights, catchup_loss};

/// The loss by Candle's own operators.
fn by_definition(
    predictions: &[Tensor],
    targets: &[Tensor],
    velocity: &Tensor,
    mask: &Tensor,
    weights: &CatchUpWeights<'_>,
) -> Result<Tensor> {
    let dims = velocity.dims();
    let omega = match weights.samples {
        Some(samples) => spread_out(samples, dims)?.contiguous()?,
        None => velocity.ones_like()?,
    };
    let chosen = spread_out(mask, dims)?.contiguous()?;
    let mut loss = Tensor::zeros((), velocity.dtype(), &Device::Cpu)?;
    for (head, (prediction, target)) in predictions.iter().zip(targets).enumerate() {
        let target = chosen.where_cond(target, velocity)?.detach();
        let one = (prediction - &target)?
            .sqr()?
            .affine(weights.catch_up[head], 0.0)?;
        let two = (prediction - velocity)?
            .sqr()?
            .affine(weights.truth[head], 0.0)?;
        loss = (loss + ((one + two)? * &omega)?.mean_all()?)?;
    }
    Ok(loss)
}

fn mask(batch: usize) -> Result<Tensor> {
    let mask: Vec<u8> = (0..batch).map(|sample| u8::from(sample % 3 != 1)).collect();
    Tensor::from_vec(mask, batch, &Device::Cpu)
}

#[test]
fn value_and_gradients_are_those_of_the_definition() -> Result<()> {
    for dims in SHAPES {
        for heads in 1..=3 {
            let predictions: Vec<Var> = (0..heads)
                .map(|head| var(head as u64, dims))
                .collect::<Result<_>>()?;
            let targets: Vec<Tensor> = (0..heads)
                .map(|head| uniform("targets", head as u64, dims, -1.0, 1.0))
                .collect::<Result<_>>()?;
            let (velocity, mask) = (var(9, dims)?, mask(dims[0])?);
            let of_samples = uniform("omega", 0, &dims[..1], 0.5, 2.0)?;
            let weights = CatchUpWeights {
                catch_up: &[0.7, 1.5, 0.0][..heads],
                truth: &[1.3, 0.0, 2.0][..heads],
                samples: Some(&of_samples),
            };
            let predicted: Vec<Tensor> = predictions
                .iter()
                .map(|prediction| prediction.as_tensor().clone())
                .collect();
            let fused = catchup_loss(
                &predicted.iter().collect::<Vec<_>>(),
                &targets.iter().collect::<Vec<_>>(),
                &velocity,
                Some(&mask),
                &weights,
            )?;
            let plain = by_definition(&predicted, &targets, &velocity, &mask, &weights)?;
            let (fused_value, plain_value) = (values(&fused)?[0], values(&plain)?[0]);
            assert!((fused_value - plain_value).abs() < 1e-13 * plain_value);
            // Through a factor, so that what arrives from behind counts.
            let (fused, plain) = (
                fused.affine(-2.5, 0.0)?.backward()?,
                plain.affine(-2.5, 0.0)?.backward()?,
            );
            for var in predictions.iter().chain([&velocity]) {
                let (fused, plain) = (fused.get(var).unwrap(), plain.get(var).unwrap());
                assert!(super::largest_distance(fused, plain)? < 1e-14);
            }
        }
    }
    Ok(())
}

#[test]
fn targets_are_constants_and_masked_ones_are_never_read() -> Result<()> {
    let dims = [4, 3, 11];
    let (prediction, target, velocity) = (var(0, &dims)?, var(1, &dims)?, var(2, &dims)?);
    let weights = CatchUpWeights {
        catch_up: &[0.75],
        truth: &[1.5],
        samples: None,
    };
    let evaluate = |target: &Tensor, velocity: &Tensor| -> Result<(f64, Vec<f64>, bool)> {
        let loss = catchup_loss(
            &[&prediction],
            &[target],
            velocity,
            Some(&mask(4)?),
            &weights,
        )?;
        let gradients = loss.backward()?;
        let gradient = gradients.get(&prediction).unwrap();
        Ok((
            values(&loss)?[0],
            values(gradient)?,
            gradients.get(target).is_some(),
        ))
    };
    let clean = evaluate(&target, &velocity.detach())?;
    assert!(!clean.2, "a target must get no gradient");
    // The second sample is masked: whatever its target, nothing changes.
    let mut spoilt = values(&target)?;
    spoilt[33..66].fill(f64::NAN);
    spoilt[40] = f64::INFINITY;
    let spoilt = Tensor::from_vec(spoilt, &dims, &Device::Cpu)?;
    let found = evaluate(&spoilt, &velocity.detach())?;
    assert_eq!((found.0, &found.1), (clean.0, &clean.1));
    // There the gradient is 2/D (w1 + w2) (P − g).
    let expected = (prediction.as_tensor() - velocity.as_tensor())?;
    let expected = values(&expected.affine(2.0 * 2.25 / 132.0, 0.0)?)?;
    for (found, expected) in clean.1.iter().zip(&expected).skip(33).take(33) {
        assert!((found - expected).abs() < 1e-16);
    }
    // An unmasked NaN reaches loss and gradient.
    let mut open = values(&target)?;
    open[0] = f64::NAN;
    let found = evaluate(&Tensor::from_vec(open, &dims, &Device::Cpu)?, &velocity)?;
    assert!(found.0.is_nan() && found.1[0].is_nan() && found.1[1].is_finite());
    Ok(())
}

#[test]
fn limits_of_the_weights() -> Result<()> {
    let dims = [3, 5];
    let (prediction, velocity) = (var(0, &dims)?, uniform("limits", 0, &dims, -1.0, 1.0)?);
    // Targets met: no catch-up loss, no gradient.
    let weights = CatchUpWeights {
        catch_up: &[1.0],
        truth: &[0.0],
        samples: None,
    };
    let loss = catchup_loss(&[&prediction], &[&prediction], &velocity, None, &weights)?;
    assert_eq!(values(&loss)?, [0.0]);
    assert!(
        values(loss.backward()?.get(&prediction).unwrap())?
            .iter()
            .all(|&value| value == 0.0)
    );
    // Without the catch-up term: the rectified flow's loss.
    let weights = CatchUpWeights {
        catch_up: &[0.0],
        truth: &[1.0],
        samples: None,
    };
    let loss = catchup_loss(&[&prediction], &[&prediction], &velocity, None, &weights)?;
    let expected = (prediction.as_tensor() - &velocity)?.sqr()?.mean_all()?;
    assert!((values(&loss)?[0] - values(&expected)?[0]).abs() < 1e-15);
    Ok(())
}

#[test]
fn fused_is_unfused_in_single_precision() -> Result<()> {
    let dims = [6, 3, 40, 40];
    let prediction = Var::from_tensor(&single(0, &dims)?)?;
    let (target, velocity) = (single(1, &dims)?, single(2, &dims)?);
    let weights = CatchUpWeights {
        catch_up: &[1.0],
        truth: &[1.0],
        samples: None,
    };
    let mask = mask(6)?;
    let fused = catchup_loss(&[&prediction], &[&target], &velocity, Some(&mask), &weights)?;
    let in_double = |tensor: &Tensor| tensor.to_dtype(DType::F64);
    let exact = by_definition(
        &[in_double(&prediction)?],
        &[in_double(&target)?],
        &in_double(&velocity)?,
        &mask,
        &weights,
    )?;
    let (fused_value, exact) = (values(&fused)?[0], values(&exact)?[0]);
    assert!((fused_value - exact).abs() < 1e-6 * exact);
    // 2 units in the last place of the larger of the two parts of a gradient.
    let found = values(fused.backward()?.get(&prediction).unwrap())?;
    let chosen = spread_out(&mask, &dims)?.contiguous()?;
    let chosen = in_double(&chosen.where_cond(&target, &velocity)?)?;
    let one = values(&(in_double(&prediction)? - chosen)?)?;
    let two = values(&(in_double(&prediction)? - in_double(&velocity)?)?)?;
    let scale = 2.0 / 28_800.0;
    for ((found, one), two) in found.iter().zip(one).zip(two) {
        let allowed = 2.0 * f64::from(f32::EPSILON) * scale * (one.abs() + two.abs());
        assert!((found - scale * (one + two)).abs() <= allowed);
    }
    Ok(())
}

#[test]
fn several_backward_passes_and_partly_tracked_arguments() -> Result<()> {
    let dims = [2, 4];
    let (first, second, velocity) = (var(0, &dims)?, var(1, &dims)?, var(2, &dims)?);
    let target = uniform("partly", 0, &dims, -1.0, 1.0)?;
    let weights = CatchUpWeights {
        catch_up: &[1.0, 0.5],
        truth: &[0.25, 2.0],
        samples: None,
    };
    let loss = |first: &Tensor, second: &Tensor, velocity: &Tensor| {
        catchup_loss(
            &[first, second],
            &[&target, &target],
            velocity,
            None,
            &weights,
        )
    };
    let all = loss(&first, &second, &velocity)?;
    let (once, twice) = (all.backward()?, all.backward()?);
    for var in [&first, &second, &velocity] {
        assert_eq!(
            values(once.get(var).unwrap())?,
            values(twice.get(var).unwrap())?
        );
    }
    let only = loss(&first.detach(), &second, &velocity.detach())?;
    assert_eq!(values(&only)?, values(&all)?);
    let gradients = only.backward()?;
    assert_eq!(
        values(gradients.get(&second).unwrap())?,
        values(once.get(&second).unwrap())?
    );
    assert!(gradients.get(&first).is_none() && gradients.get(&velocity).is_none());
    assert!(!loss(&first.detach(), &second.detach(), &velocity.detach())?.track_op());
    // One tensor as both heads gets the sum.
    let twin = Var::from_tensor(&first.copy()?)?;
    let both = loss(&first, &first, &velocity.detach())?.backward()?;
    let apart = loss(&first, &twin, &velocity.detach())?.backward()?;
    let sum = (apart.get(&first).unwrap() + apart.get(&twin).unwrap())?;
    assert_eq!(values(both.get(&first).unwrap())?, values(&sum)?);
    Ok(())
}

#[test]
fn nothing_has_no_mean() -> Result<()> {
    for dims in [&[0, 3][..], &[2, 0]] {
        let prediction = Var::from_tensor(&Tensor::zeros(dims, DType::F32, &Device::Cpu)?)?;
        let weights = CatchUpWeights {
            catch_up: &[1.0],
            truth: &[1.0],
            samples: None,
        };
        let loss = catchup_loss(
            &[&prediction],
            &[&prediction],
            &prediction.detach(),
            None,
            &weights,
        )?;
        assert!(loss.to_scalar::<f32>()?.is_nan());
        assert_eq!(loss.backward()?.get(&prediction).unwrap().dims(), dims);
    }
    Ok(())
}

#[test]
fn strided_views_are_read_as_what_they_show() -> Result<()> {
    let wide = var(0, &[6, 5, 4])?;
    let view = || {
        wide.transpose(0, 1)?
            .narrow(1, 1, 3)?
            .transpose(D::Minus1, D::Minus2)
    }; // [5, 4, 3]
    let target = uniform("views", 0, &[3, 4, 5], -1.0, 1.0)?.transpose(0, 2)?;
    let weights = CatchUpWeights {
        catch_up: &[1.0],
        truth: &[0.5],
        samples: None,
    };
    let loss = catchup_loss(
        &[&view()?],
        &[&target],
        &view()?.affine(0.5, 0.0)?,
        None,
        &weights,
    )?;
    let contiguous = |tensor: Tensor| tensor.contiguous();
    let expected = catchup_loss(
        &[&contiguous(view()?)?],
        &[&contiguous(target.clone())?],
        &contiguous(view()?.affine(0.5, 0.0)?)?,
        None,
        &weights,
    )?;
    assert_eq!(values(&loss)?, values(&expected)?);
    taper_kernels::testing::check_gradient(&wide, 1e-6, || {
        catchup_loss(
            &[&view()?],
            &[&target],
            &view()?.affine(0.5, 0.0)?,
            None,
            &weights,
        )
    })
}

#[test]
fn sample_weights_of_zero_leave_a_sample_out() -> Result<()> {
    let dims = [2, 6];
    let (prediction, target) = (var(0, &dims)?, uniform("zero", 0, &dims, -1.0, 1.0)?);
    let velocity = uniform("zero", 1, &dims, -1.0, 1.0)?;
    let omega = scalars(&[2.0, 0.0])?;
    let weights = CatchUpWeights {
        catch_up: &[1.0],
        truth: &[1.0],
        samples: Some(&omega),
    };
    let loss = catchup_loss(&[&prediction], &[&target], &velocity, None, &weights)?;
    let first = |tensor: &Tensor| tensor.narrow(0, 0, 1);
    let alone = CatchUpWeights {
        samples: None,
        ..weights
    };
    let expected = catchup_loss(
        &[&first(&prediction)?],
        &[&first(&target)?],
        &first(&velocity)?,
        None,
        &alone,
    )?;
    assert!((values(&loss)?[0] - values(&expected)?[0]).abs() < 1e-15);
    let gradients = loss.backward()?;
    assert!(
        values(gradients.get(&prediction).unwrap())?[6..]
            .iter()
            .all(|&value| value == 0.0)
    );
    Ok(())
}
