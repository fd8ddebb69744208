//! Random shapes: results against plain formulas, element by element; empty tensors.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use proptest::prelude::*;
use taper_kernels::testing::{check_gradient, uniform, weighted_sum};
use taper_kernels::{
    Activation, Pool2dGeometry, SgdHyper, adaptive_avg_pool2d, add_relu, avg_pool2d,
    batch_norm_eval, batch_norm_train, cross_entropy, global_avg_pool2d, linear, log_softmax,
    max_pool2d, relu, segment_match, sgd_step, squared_norm,
};

fn distance(a: &Tensor, b: &Tensor) -> Result<f64> {
    if a.elem_count() == 0 && a.dims() == b.dims() {
        return Ok(0.0);
    }
    (a - b)?.abs()?.max_all()?.to_scalar::<f64>()
}

/// What pooling means: every window's elements, one by one.
fn pool_by_definition(
    x: &Tensor,
    geometry: &Pool2dGeometry,
    reduce: impl Fn(&[f64], usize) -> f64,
) -> Result<Tensor> {
    let (batch, channels, height, width) = x.dims4()?;
    let (rows, columns) = geometry.output_size((height, width))?;
    let values = x.flatten_all()?.to_vec1::<f64>()?;
    let mut output = Vec::new();
    for plane in values.chunks(height * width) {
        for index in 0..rows * columns {
            let (top, left) = (
                index / columns * geometry.stride.0,
                index % columns * geometry.stride.1,
            );
            let (mut inside, mut padded) = (Vec::new(), 0);
            for y in top..top + geometry.window.0 {
                for x in left..left + geometry.window.1 {
                    let (real_y, real_x) = (
                        y.wrapping_sub(geometry.padding.0),
                        x.wrapping_sub(geometry.padding.1),
                    );
                    if real_y < height && real_x < width {
                        inside.push(plane[real_y * width + real_x]);
                    }
                    padded += usize::from(
                        y < height + 2 * geometry.padding.0 && x < width + 2 * geometry.padding.1,
                    );
                }
            }
            output.push(reduce(&inside, padded));
        }
    }
    Tensor::from_vec(output, (batch, channels, rows, columns), x.device())
}

prop_compose! {
    fn geometries()(window in (1usize..6, 1usize..6))(
        window in Just(window),
        stride in (1usize..5, 1usize..5),
        padding in (0..=window.0 / 2, 0..=window.1 / 2),
        ceil_mode in any::<bool>(),
        more in (0usize..40, 0usize..40),
    ) -> (Pool2dGeometry, usize, usize) {
        let side = |window: usize, padding: usize, more: usize| (window.saturating_sub(2 * padding) + more).max(1);
        let (height, width) = (side(window.0, padding.0, more.0), side(window.1, padding.1, more.1));
        (Pool2dGeometry { window, stride, padding, ceil_mode }, height, width)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pooling_is_its_definition((geometry, height, width) in geometries(), batch in 1usize..3, channels in 1usize..4) {
        let x = uniform("pooling", 0, &[batch, channels, height, width], -1.0, 1.0).unwrap();
        let maximum = |inside: &[f64], _| inside.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let expected = pool_by_definition(&x, &geometry, maximum).unwrap();
        prop_assert_eq!(distance(&max_pool2d(&x, &geometry).unwrap(), &expected).unwrap(), 0.0);
        let expected = pool_by_definition(&x, &geometry, |inside, padded| inside.iter().sum::<f64>() / padded as f64).unwrap();
        prop_assert!(distance(&avg_pool2d(&x, &geometry, true).unwrap(), &expected).unwrap() < 1e-12);
        let expected = pool_by_definition(&x, &geometry, |inside, _| inside.iter().sum::<f64>() / inside.len() as f64).unwrap();
        prop_assert!(distance(&avg_pool2d(&x, &geometry, false).unwrap(), &expected).unwrap() < 1e-12);
    }

    #[test]
    fn pooling_derivatives_are_right((geometry, height, width) in geometries()) {
        prop_assume!(height * width < 200);
        let x = Var::from_tensor(&uniform("pooling", 1, &[1, 2, height, width], -9.0, 9.0).unwrap()).unwrap();
        check_gradient(&x, 1e-5, || weighted_sum(&max_pool2d(&x, &geometry)?)).unwrap();
        check_gradient(&x, 1e-5, || weighted_sum(&avg_pool2d(&x, &geometry, geometry.ceil_mode)?)).unwrap();
    }

    #[test]
    fn batch_norm_is_its_equation(batch in 2usize..40, channels in 1usize..20, height in 1usize..16, width in 1usize..16) {
        let x = uniform("norm", 0, &[batch, channels, height, width], -3.0, 5.0).unwrap();
        let (weight, bias) = (uniform("norm", 1, &[channels], -1.0, 1.0).unwrap(), uniform("norm", 2, &[channels], -1.0, 1.0).unwrap());
        let shape = (1, channels, 1, 1);
        let mean = x.mean_keepdim((0, 2, 3)).unwrap();
        let centred = x.broadcast_sub(&mean).unwrap();
        let variance = centred.sqr().unwrap().mean_keepdim((0, 2, 3)).unwrap();
        let scaled = centred.broadcast_div(&(&variance + 1e-5).unwrap().sqrt().unwrap()).unwrap();
        let expected = scaled.broadcast_mul(&weight.reshape(shape).unwrap()).unwrap().broadcast_add(&bias.reshape(shape).unwrap()).unwrap();
        let (y, statistics) = batch_norm_train(&x, &weight, &bias, None, 1e-5, Activation::None).unwrap();
        prop_assert!(distance(&y, &expected).unwrap() < 1e-11);
        prop_assert!(distance(&statistics.mean, &mean.flatten_all().unwrap()).unwrap() < 1e-12);
        prop_assert!(distance(&statistics.variance, &variance.flatten_all().unwrap()).unwrap() < 1e-11);
        prop_assert_eq!(statistics.count, batch * height * width);
        let eval = batch_norm_eval(&x, &weight, &bias, &statistics.mean, &statistics.variance, Some(&x), 1e-5, Activation::Relu).unwrap();
        let expected = (&y + &x).unwrap().maximum(0f64).unwrap();
        prop_assert!(distance(&eval, &expected).unwrap() < 1e-11);
    }

    #[test]
    fn segments_are_the_tiled_mean(batch in 1usize..4, channels in 1usize..5, slices in 1usize..6, height in 1usize..9, width in 1usize..40) {
        let teacher = uniform("segments", 0, &[batch, channels, height, width], -1.0, 1.0).unwrap();
        let expanded = uniform("segments", 1, &[batch, slices * channels, height, width], -1.0, 1.0).unwrap();
        let tiled = teacher.repeat((1, slices, 1, 1)).unwrap();
        let expected = (&expanded - tiled).unwrap().sqr().unwrap().mean_all().unwrap().to_scalar::<f64>().unwrap() * slices as f64;
        let found = segment_match(&expanded, &teacher, slices).unwrap().to_scalar::<f64>().unwrap();
        prop_assert!((found - expected).abs() < 1e-12 * expected.max(1.0));
    }

    #[test]
    fn elementwise_and_rows(dims in prop::collection::vec(1usize..30, 1..4)) {
        let (a, b) = (uniform("rows", 0, &dims, -2.0, 2.0).unwrap(), uniform("rows", 1, &dims, -2.0, 2.0).unwrap());
        prop_assert_eq!(distance(&relu(&a).unwrap(), &a.maximum(0f64).unwrap()).unwrap(), 0.0);
        prop_assert_eq!(distance(&add_relu(&a, &b).unwrap(), &(&a + &b).unwrap().maximum(0f64).unwrap()).unwrap(), 0.0);
        let total = log_softmax(&a, D::Minus1).unwrap().exp().unwrap().sum_keepdim(D::Minus1).unwrap();
        prop_assert!(distance(&total, &total.ones_like().unwrap()).unwrap() < 1e-12);
        let square = a.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap();
        prop_assert!((squared_norm(&a).unwrap() - square).abs() < 1e-10 * square.max(1.0));
    }
}

#[test]
fn empty_tensors_stay_empty() -> Result<()> {
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu);
    let x = Var::from_tensor(&zeros(&[0, 3, 4, 4])?)?;
    let channels = Var::from_tensor(&zeros(&[3])?)?;
    let geometry = Pool2dGeometry::square(2, 2, 0);
    let statistics = zeros(&[3])?;
    let normed = batch_norm_eval(
        &x,
        &channels,
        &channels,
        &statistics,
        &statistics,
        Some(&x),
        1e-5,
        Activation::Relu,
    )?;
    for (result, dims) in [
        (relu(&x)?, &[0, 3, 4, 4][..]),
        (add_relu(&x, &x)?, &[0, 3, 4, 4]),
        (max_pool2d(&x, &geometry)?, &[0, 3, 2, 2]),
        (avg_pool2d(&x, &geometry, true)?, &[0, 3, 2, 2]),
        (adaptive_avg_pool2d(&x, (1, 1))?, &[0, 3, 1, 1]),
        (global_avg_pool2d(&x)?, &[0, 3]),
        (
            linear(
                &global_avg_pool2d(&x)?,
                &zeros(&[5, 3])?,
                Some(&zeros(&[5])?),
            )?,
            &[0, 5],
        ),
        (log_softmax(&x, 3)?, &[0, 3, 4, 4]),
        (normed, &[0, 3, 4, 4]),
    ] {
        assert_eq!(result.dims(), dims);
        let gradients = result.sum_all()?.backward()?;
        assert_eq!(gradients.get(&x).map(Tensor::dims), Some(&[0, 3, 4, 4][..]));
    }
    // The mean of nothing is NaN, as in PyTorch.
    let loss = cross_entropy(
        &zeros(&[0, 3])?,
        &Tensor::zeros(0, DType::U32, &Device::Cpu)?,
        0.0,
    )?;
    assert!(loss.to_scalar::<f32>()?.is_nan());
    assert!(
        segment_match(&zeros(&[0, 4, 2, 2])?, &zeros(&[0, 2, 2, 2])?, 2)?
            .to_scalar::<f32>()?
            .is_nan()
    );
    let param = Var::from_tensor(&zeros(&[0])?)?;
    sgd_step(
        &param,
        &zeros(&[0])?,
        &zeros(&[0])?,
        &SgdHyper::default(),
        true,
    )?;
    assert_eq!(squared_norm(&param)?, 0.0);
    Ok(())
}
