//! Checks of derivatives, for the tests of this and other crates.

use candle_core::{DType, Result, Tensor, Var};
use rand::Rng;

/// Compares the gradient of a scalar with central differences, element by element.
///
/// `scalar` is evaluated anew for every difference; it must read `var` through
/// Candle's tape and return one `f64`. Differences use steps of `1e-5 · max(1, |v|)`, so
/// keep values away from kinks (0 of a rectifier, ties of a maximum).
///
/// # Errors
/// If `var` is not `f64`, it has no gradient, the evaluation fails, or an element's
/// gradient differs from its central difference by more than
/// `tolerance · max(1, |difference|)`; the message names the element and both values.
///
/// ```
/// use candle_core::{Device, Var};
/// let x = Var::new(&[1f64, -2.], &Device::Cpu)?;
/// taper_kernels::testing::check_gradient(&x, 1e-6, || x.sqr()?.sum_all())?;
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn check_gradient(
    var: &Var,
    tolerance: f64,
    scalar: impl Fn() -> Result<Tensor>,
) -> Result<()> {
    if var.dtype() != DType::F64 {
        candle_core::bail!(
            "check_gradient: the variable has type {:?}, expected F64",
            var.dtype()
        );
    }
    let gradients = scalar()?.backward()?;
    let Some(gradient) = gradients.get(var.as_tensor()) else {
        candle_core::bail!("check_gradient: the variable has no gradient");
    };
    let gradient = gradient.flatten_all()?.to_vec1::<f64>()?;
    let values = var.flatten_all()?.to_vec1::<f64>()?;
    let evaluate = |index: usize, value: f64| -> Result<f64> {
        let mut moved = values.clone();
        moved[index] = value;
        var.set(&Tensor::from_vec(moved, var.shape(), var.device())?)?;
        scalar()?.to_scalar::<f64>()
    };
    let mut failure = None;
    for (index, &value) in values.iter().enumerate() {
        let step = 1e-5 * value.abs().max(1.0);
        let difference =
            (evaluate(index, value + step)? - evaluate(index, value - step)?) / (2.0 * step);
        let error = (gradient[index] - difference).abs();
        let wrong = error.is_nan() || error > tolerance * difference.abs().max(1.0);
        if failure.is_none() && wrong {
            failure = Some(format!(
                "element {index}: gradient {}, central difference {difference}",
                gradient[index]
            ));
        }
    }
    var.set(&Tensor::from_vec(values, var.shape(), var.device())?)?;
    match failure {
        Some(failure) => candle_core::bail!("check_gradient: {failure}"),
        None => Ok(()),
    }
}

/// `Σ w · tensor` with fixed weights w between −1 and 1 that depend on the position only:
/// turns any result into a scalar whose gradient is different everywhere.
///
/// # Errors
/// If the product fails.
pub fn weighted_sum(tensor: &Tensor) -> Result<Tensor> {
    let weights = uniform(
        "taper_kernels::testing::weighted_sum",
        0,
        tensor.dims(),
        -1.0,
        1.0,
    )?;
    (tensor * weights.to_dtype(tensor.dtype())?)?.sum_all()
}

/// A tensor of `f64` drawn evenly from `low … high`, the same for the same label and index.
///
/// # Errors
/// If the tensor cannot be made.
pub fn uniform(label: &str, index: u64, dims: &[usize], low: f64, high: f64) -> Result<Tensor> {
    let mut random = crate::random::stream(0, label, index);
    let values: Vec<f64> = (0..dims.iter().product())
        .map(|_| low + (high - low) * random.random::<f64>())
        .collect();
    Tensor::from_vec(values, dims, &candle_core::Device::Cpu)
}
