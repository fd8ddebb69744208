//! The fast `f32` path against the `f64` specification, and batch norm where the mean is large.

use candle_core::{DType, Result, Tensor, Var};
use taper_kernels::testing::{uniform, weighted_sum};
use taper_kernels::{
    Activation, Pool2dGeometry, adaptive_avg_pool2d, add_relu, avg_pool2d, batch_norm_train,
    log_softmax, max_pool2d, relu, segment_match,
};

type Operator<'a> = &'a dyn Fn(&Tensor) -> Result<Tensor>;

/// Value and gradient of `operator` in `f32` and `f64`, compared relative to the largest element.
fn compare(what: &str, x: &Tensor, tolerance: f64, operator: Operator<'_>) -> Result<()> {
    let evaluate = |dtype: DType| -> Result<(Tensor, Tensor)> {
        let var = Var::from_tensor(&x.to_dtype(dtype)?)?;
        let result = operator(&var)?;
        let gradients = weighted_sum(&result)?.backward()?;
        let gradient = gradients
            .get(&var)
            .expect("x has a gradient")
            .to_dtype(DType::F64)?;
        Ok((result.to_dtype(DType::F64)?, gradient))
    };
    let (fast, exact) = (evaluate(DType::F32)?, evaluate(DType::F64)?);
    for (part, fast, exact) in [("value", fast.0, exact.0), ("gradient", fast.1, exact.1)] {
        let error = (fast - &exact)?.abs()?.max_all()?.to_scalar::<f64>()?;
        let scale = exact.abs()?.max_all()?.to_scalar::<f64>()?;
        assert!(
            error <= tolerance * scale,
            "{what}: {part} off by {error} of {scale}"
        );
    }
    Ok(())
}

fn norm(x: &Tensor) -> Result<Tensor> {
    let channels = x.dim(1)?;
    let weight = uniform("precision weight", 0, &[channels], 0.5, 1.5)?.to_dtype(x.dtype())?;
    let bias = uniform("precision bias", 0, &[channels], -1.0, 1.0)?.to_dtype(x.dtype())?;
    Ok(batch_norm_train(x, &weight, &bias, None, 1e-5, Activation::None)?.0)
}

#[test]
fn single_precision_follows_double() -> Result<()> {
    for dims in [[16, 8, 32, 32], [24, 16, 7, 7], [3, 4, 5, 9], [7, 40, 1, 1]] {
        // Values that f32 holds exactly, so that both paths see the same kinks and ties.
        let x = uniform("precision", 0, &dims, -1.0, 1.0)?
            .to_dtype(DType::F32)?
            .to_dtype(DType::F64)?;
        let teacher = uniform(
            "precision",
            1,
            &[dims[0], dims[1] / 4, dims[2], dims[3]],
            -1.0,
            1.0,
        )?;
        compare("relu", &x, 1e-6, &relu)?;
        compare("add_relu", &x, 1e-6, &|x| add_relu(x, x))?;
        compare("batch_norm", &x, 1e-5, &norm)?;
        compare("log_softmax", &x, 1e-6, &|x| log_softmax(x, 3))?;
        compare("segment_match", &x, 1e-6, &|x| {
            segment_match(x, &teacher.to_dtype(x.dtype())?, 4)
        })?;
        compare("max_pool2d", &x, 1e-6, &|x| {
            max_pool2d(x, &Pool2dGeometry::square(3, 2, 1))
        })?;
        compare("avg_pool2d", &x, 1e-6, &|x| {
            avg_pool2d(x, &Pool2dGeometry::square(3, 2, 1), true)
        })?;
        compare("adaptive_avg_pool2d", &x, 1e-6, &|x| {
            adaptive_avg_pool2d(x, (2, 3))
        })?;
    }
    Ok(())
}

#[test]
fn batch_norm_is_accurate_where_the_mean_is_large() -> Result<()> {
    for dims in [[8, 4, 32, 32], [40, 6, 4, 4], [64, 5, 1, 1]] {
        let noise = uniform("large mean", 0, &dims, -1.0, 1.0)?;
        // Means of 1,000 to 4,000 deviations: sums of squares in f32 would keep no digit.
        let mean = uniform("large mean", 1, &[1, dims[1], 1, 1], 1000.0, 2000.0)?;
        let x = noise
            .broadcast_add(&mean)?
            .to_dtype(DType::F32)?
            .to_dtype(DType::F64)?;
        compare("batch_norm", &x, 1e-5, &norm)?;
        // One image alone far away: no value near the mean to shift by.
        let outlier = Tensor::cat(
            &[
                x.narrow(0, 0, 1)?.affine(-1.0, 0.0)?,
                x.narrow(0, 1, dims[0] - 1)?,
            ],
            0,
        )?;
        compare("batch_norm with an outlier", &outlier, 1e-5, &norm)?;
    }
    Ok(())
}
