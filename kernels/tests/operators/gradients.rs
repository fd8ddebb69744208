//! Every derivative against central differences in `f64`, for every argument.

use candle_core::{D, Device, Result, Tensor, Var};
use taper_kernels::testing::{check_gradient, uniform, weighted_sum};
use taper_kernels::{
    Activation, Pool1dGeometry, Pool2dGeometry, adaptive_avg_pool1d, adaptive_avg_pool2d, add_relu,
    avg_pool1d, avg_pool2d, batch_norm_eval, batch_norm_train, cross_entropy, global_avg_pool2d,
    linear, log_softmax, max_pool1d, max_pool2d, relu, segment_match,
};

fn var(index: u64, dims: &[usize]) -> Result<Var> {
    Var::from_tensor(&uniform("gradients", index, dims, -1.0, 1.0)?)
}

/// A variable whose elements differ by at least 0.01 from each other and from 0: no kink within a step.
fn spread(dims: &[usize]) -> Result<Var> {
    let count: usize = dims.iter().product();
    let values: Vec<f64> = (0..count)
        .map(|i| 0.01 * ((i * 7919 % count) as f64 - count as f64 / 2.0 + 0.25))
        .collect();
    Var::from_tensor(&Tensor::from_vec(values, dims, &Device::Cpu)?)
}

/// Checks `function` with respect to each of `vars`.
fn check(vars: &[&Var], function: impl Fn() -> Result<Tensor>) -> Result<()> {
    vars.iter()
        .try_for_each(|var| check_gradient(var, 2e-6, || weighted_sum(&function()?)))
}

#[test]
fn activations() -> Result<()> {
    for dims in [&[1][..], &[33], &[3, 7, 5], &[2, 1, 3, 11]] {
        let (a, b) = (spread(dims)?, var(1, dims)?);
        check(&[&a], || relu(&a))?;
        check(&[&a], || add_relu(&a, &a))?;
        let b = Var::from_tensor(&(b.as_tensor() * 0.001)?)?;
        check(&[&a, &b], || add_relu(&a, &b))?;
    }
    Ok(())
}

#[test]
fn batch_norm_of_a_batch() -> Result<()> {
    for dims in [
        &[7, 3][..],
        &[2, 1],
        &[3, 2, 5],
        &[2, 3, 5, 7],
        &[5, 2, 1, 1],
        &[1, 2, 3, 1],
        &[2, 2, 13, 10],
        &[19, 5],
    ] {
        let (x, residual) = (var(2, dims)?, var(3, dims)?);
        let (weight, bias) = (var(4, &[dims[1]])?, var(5, &[dims[1]])?);
        for activation in [Activation::None, Activation::Relu] {
            check(&[&x, &weight, &bias], || {
                Ok(batch_norm_train(&x, &weight, &bias, None, 1e-2, activation)?.0)
            })?;
            let with_residual =
                || Ok(batch_norm_train(&x, &weight, &bias, Some(&residual), 1e-2, activation)?.0);
            check(&[&x, &weight, &bias, &residual], with_residual)?;
        }
    }
    Ok(())
}

#[test]
fn batch_norm_with_given_statistics() -> Result<()> {
    for dims in [
        &[4, 3][..],
        &[1, 1],
        &[3, 2, 5],
        &[2, 3, 5, 7],
        &[1, 2, 13, 10],
    ] {
        let (x, residual) = (var(6, dims)?, var(7, dims)?);
        let channels = [dims[1]];
        let (weight, bias, mean) = (
            var(8, &channels)?,
            var(9, &channels)?,
            uniform("mean", 0, &channels, -1.0, 1.0)?,
        );
        let variance = uniform("variance", 0, &channels, 0.5, 2.0)?;
        for activation in [Activation::None, Activation::Relu] {
            let eval = |residual| {
                batch_norm_eval(
                    &x, &weight, &bias, &mean, &variance, residual, 1e-5, activation,
                )
            };
            check(&[&x, &weight, &bias], || eval(None))?;
            check(&[&x, &weight, &bias, &residual], || {
                eval(Some(residual.as_tensor()))
            })?;
        }
    }
    Ok(())
}

#[test]
fn pooling() -> Result<()> {
    for dims in [[1, 1, 1, 1], [2, 3, 5, 7], [1, 2, 8, 6], [3, 1, 9, 4]] {
        let x = spread(&dims)?;
        check(&[&x], || global_avg_pool2d(&x))?;
        for size in [(1, 1), (2, 3), (4, 4)] {
            check(&[&x], || adaptive_avg_pool2d(&x, size))?;
        }
        for (window, stride, padding) in [
            ((1, 1), (1, 1), (0, 0)),
            ((2, 3), (2, 1), (1, 1)),
            ((3, 3), (2, 2), (1, 1)),
            ((3, 2), (1, 4), (1, 0)),
        ] {
            if window.0 > dims[2] + 2 * padding.0 || window.1 > dims[3] + 2 * padding.1 {
                continue;
            }
            for ceil_mode in [false, true] {
                let geometry = Pool2dGeometry {
                    window,
                    stride,
                    padding,
                    ceil_mode,
                };
                check(&[&x], || max_pool2d(&x, &geometry))?;
                check(&[&x], || avg_pool2d(&x, &geometry, true))?;
                check(&[&x], || avg_pool2d(&x, &geometry, false))?;
            }
        }
    }
    Ok(())
}

#[test]
fn pooling_along_one_axis() -> Result<()> {
    for (length, window, stride, padding) in [(1, 1, 1, 0), (9, 3, 2, 1), (10, 4, 3, 2)] {
        let x = spread(&[2, 3, length])?;
        check(&[&x], || adaptive_avg_pool1d(&x, 4))?;
        for ceil_mode in [false, true] {
            let geometry = Pool1dGeometry {
                window,
                stride,
                padding,
                ceil_mode,
            };
            check(&[&x], || max_pool1d(&x, &geometry))?;
            check(&[&x], || avg_pool1d(&x, &geometry, ceil_mode))?;
        }
    }
    Ok(())
}

#[test]
fn classifier_and_losses() -> Result<()> {
    for (batch, inputs, outputs) in [(1, 1, 1), (3, 5, 7), (8, 4, 2)] {
        let (x, weight, bias) = (
            var(10, &[batch, inputs])?,
            var(11, &[outputs, inputs])?,
            var(12, &[outputs])?,
        );
        check(&[&x, &weight, &bias], || linear(&x, &weight, Some(&bias)))?;
        check(&[&x, &weight], || linear(&x, &weight, None))?;
        check(&[&x], || log_softmax(&x, D::Minus1))?;
        let targets: Vec<u32> = (0..batch as u32)
            .map(|index| index % inputs as u32)
            .collect();
        let targets = Tensor::new(targets, &Device::Cpu)?;
        for smoothing in [0.0, 0.1] {
            check(&[&x], || {
                cross_entropy(&x, &targets, smoothing)?.affine(3.0, 0.0)
            })?;
        }
    }
    let deep = var(13, &[2, 3, 5])?;
    check(&[&deep], || log_softmax(&deep, 1))
}

#[test]
fn segments() -> Result<()> {
    for (slices, dims) in [(1, [1, 1, 1, 1]), (3, [2, 2, 3, 5]), (4, [1, 3, 1, 7])] {
        let [batch, channels, height, width] = dims;
        let (expanded, teacher) = (
            var(14, &[batch, slices * channels, height, width])?,
            var(15, &dims)?,
        );
        check(&[&expanded, &teacher], || {
            segment_match(&expanded, &teacher, slices)
        })?;
        check(&[&expanded], || {
            segment_match(&expanded, &teacher.detach(), slices)?.affine(-0.5, 1.0)
        })?;
        check(&[&teacher], || {
            segment_match(&expanded.detach(), &teacher, slices)
        })?;
    }
    Ok(())
}

#[test]
fn strided_views_are_read_as_what_they_show() -> Result<()> {
    let (x, weight, bias) = (spread(&[3, 4, 6, 2])?, var(16, &[4])?, var(17, &[4])?);
    let view = || x.transpose(0, 2)?.narrow(0, 1, 5)?.transpose(2, 3); // [5, 4, 2, 3]
    check(&[&x], || relu(&view()?))?;
    check(&[&x], || add_relu(&view()?, &view()?))?;
    check(&[&x, &weight, &bias], || {
        Ok(batch_norm_train(
            &view()?,
            &weight,
            &bias,
            Some(&view()?),
            1e-2,
            Activation::Relu,
        )?
        .0)
    })?;
    check(&[&x], || {
        max_pool2d(&view()?, &Pool2dGeometry::square(2, 1, 1))
    })?;
    check(&[&x], || {
        avg_pool2d(&view()?, &Pool2dGeometry::square(2, 1, 0), true)
    })?;
    check(&[&x], || global_avg_pool2d(&view()?))?;
    check(&[&x], || log_softmax(&view()?, 3))?;
    check(&[&x], || {
        linear(
            &view()?
                .narrow(2, 0, 1)?
                .narrow(3, 0, 1)?
                .squeeze(3)?
                .squeeze(2)?,
            &view()?
                .narrow(2, 1, 1)?
                .squeeze(2)?
                .narrow(2, 0, 1)?
                .squeeze(2)?,
            None,
        )
    })?;
    check(&[&x], || {
        segment_match(&view()?, &view()?.narrow(1, 2, 2)?, 2)
    })?;
    check(&[&x], || {
        cross_entropy(
            &x.narrow(2, 0, 1)?
                .narrow(3, 1, 1)?
                .squeeze(3)?
                .squeeze(2)?
                .t()?,
            &Tensor::new(&[0u32, 2, 1, 1], &Device::Cpu)?,
            0.2,
        )
    })
}

#[test]
fn an_input_used_twice_gets_both_gradients() -> Result<()> {
    let (x, weight, bias) = (spread(&[2, 3, 4, 4])?, var(18, &[3])?, var(19, &[3])?);
    check(&[&x], || relu(&x)? + &*x)?;
    check(&[&x, &weight], || {
        let once = batch_norm_train(&x, &weight, &bias, Some(&x), 1e-2, Activation::Relu)?.0;
        let twice = batch_norm_train(&once, &weight, &weight, Some(&x), 1e-2, Activation::None)?.0;
        add_relu(&once, &twice)? + &once
    })?;
    check(&[&x], || {
        max_pool2d(&x, &Pool2dGeometry::square(3, 1, 1))?
            + avg_pool2d(&x, &Pool2dGeometry::square(3, 1, 1), true)?
    })
}

#[test]
fn a_second_backward_pass_gives_the_same_bits() -> Result<()> {
    let x = var(20, &[4, 6, 8, 8])?;
    let (weight, bias) = (var(21, &[6])?, var(22, &[6])?);
    let (y, _) = batch_norm_train(&x, &weight, &bias, Some(&x), 1e-5, Activation::Relu)?;
    let pooled = max_pool2d(&add_relu(&y, &relu(&y)?)?, &Pool2dGeometry::square(2, 2, 0))?;
    let matched = segment_match(
        &pooled,
        &x.detach()
            .narrow(1, 0, 3)?
            .narrow(2, 0, 4)?
            .narrow(3, 0, 4)?,
        2,
    )?;
    let classified = cross_entropy(
        &global_avg_pool2d(&pooled)?,
        &Tensor::new(&[0u32, 1, 2, 5], &Device::Cpu)?,
        0.1,
    )?;
    let loss = (matched.affine(0.7, 0.0)? + classified)?;
    let bits = || -> Result<Vec<Vec<f64>>> {
        let gradients = loss.backward()?;
        let of = |var: &Var| {
            gradients
                .get(var)
                .map(|gradient| gradient.flatten_all()?.to_vec1::<f64>())
                .transpose()
        };
        [&x, &weight, &bias]
            .into_iter()
            .map(|var| Ok(of(var)?.unwrap_or_default()))
            .collect()
    };
    let first = bits()?;
    assert!(
        first
            .iter()
            .all(|gradient| gradient.iter().any(|&value| value != 0.0))
    );
    assert_eq!(first, bits()?);
    Ok(())
}

#[test]
fn only_what_is_tracked_gets_a_gradient() -> Result<()> {
    let (x, weight, bias) = (var(23, &[3, 2, 4])?, var(24, &[2])?, var(25, &[2])?);
    let (frozen_weight, frozen_bias) = (weight.detach(), bias.detach());
    check(&[&x], || {
        Ok(batch_norm_train(
            &x,
            &frozen_weight,
            &frozen_bias,
            None,
            1e-2,
            Activation::None,
        )?
        .0)
    })?;
    check(&[&bias], || {
        Ok(batch_norm_train(
            &x.detach(),
            &frozen_weight,
            &bias,
            None,
            1e-2,
            Activation::Relu,
        )?
        .0)
    })?;
    let (y, statistics) = batch_norm_train(
        &x.detach(),
        &frozen_weight,
        &frozen_bias,
        None,
        1e-2,
        Activation::None,
    )?;
    assert!(!y.track_op() && !statistics.mean.track_op());
    assert!(!relu(&x.detach())?.track_op());
    Ok(())
}
