//! The convolution's specification: finite differences, shapes, errors.

mod conv2d_support;

use candle_core::{DType, Device, Result, Tensor, Var};
use conv2d_support::{CASES, random, tensor};
use taper_kernels::{Conv2dGeometry, conv2d};

/// Σ of the output times fixed random factors: a scalar whose gradient sees every element.
fn objective(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    geometry: &Conv2dGeometry,
) -> Result<Tensor> {
    let y = conv2d(x, w, b, geometry)?;
    let factors = tensor(&random(y.elem_count(), 99), y.dims(), DType::F64)?;
    (y * factors)?.sum_all()
}

#[test]
fn derivatives_match_central_differences() -> Result<()> {
    for case in CASES {
        let (x, w, b) = case.variables(DType::F64)?;
        let grads = objective(&x, &w, Some(&b), &case.geometry)?.backward()?;
        for (name, var) in [("input", &x), ("weight", &w), ("bias", &b)] {
            let analytic = grads
                .get(var)
                .expect("a gradient")
                .flatten_all()?
                .to_vec1::<f64>()?;
            let values = var.flatten_all()?.to_vec1::<f64>()?;
            let step = (values.len() / 24).max(1);
            for index in (0..values.len()).step_by(step) {
                let at = |delta: f64| -> Result<f64> {
                    let mut moved = values.clone();
                    moved[index] += delta;
                    let moved = Tensor::from_vec(moved, var.shape(), &Device::Cpu)?;
                    let pick = |n: &str, v: &Var| {
                        if n == name {
                            moved.clone()
                        } else {
                            v.as_tensor().clone()
                        }
                    };
                    objective(
                        &pick("input", &x),
                        &pick("weight", &w),
                        Some(&pick("bias", &b)),
                        &case.geometry,
                    )?
                    .to_scalar()
                };
                let numeric = (at(1e-4)? - at(-1e-4)?) / 2e-4;
                assert!(
                    (numeric - analytic[index]).abs() < 1e-6 * (1.0 + numeric.abs()),
                    "{case:?} {name}[{index}]: {} against {numeric}",
                    analytic[index]
                );
            }
        }
    }
    Ok(())
}

/// Where Candle's own convolution can do the geometry, it is an independent reference.
#[test]
#[allow(clippy::disallowed_methods)]
fn forward_matches_candle() -> Result<()> {
    for case in CASES {
        let g = case.geometry;
        if g.stride.0 != g.stride.1 || g.padding.0 != g.padding.1 || g.dilation.0 != g.dilation.1 {
            continue;
        }
        let (x, w, b) = case.variables(DType::F64)?;
        let bias = b.reshape((1, b.elem_count(), 1, 1))?;
        let expected = x
            .conv2d(&w, g.padding.0, g.stride.0, g.dilation.0, g.groups)?
            .broadcast_add(&bias)?;
        let difference = (conv2d(&x, &w, Some(&b), &g)? - expected)?
            .abs()?
            .flatten_all()?
            .max(0)?;
        assert!(difference.to_scalar::<f64>()? < 1e-12, "{case:?}");
    }
    Ok(())
}

#[test]
fn views_are_read_in_their_order() -> Result<()> {
    let geometry = Conv2dGeometry::same(3);
    let x = Var::from_tensor(&tensor(
        &random(2 * 3 * 5 * 4, 1),
        &[2, 5, 3, 4],
        DType::F64,
    )?)?;
    let w = Var::from_tensor(&tensor(&random(4 * 3 * 9, 2), &[3, 4, 3, 3], DType::F64)?)?;
    let (xt, wt) = (x.transpose(1, 2)?, w.transpose(0, 1)?);
    let y = conv2d(&xt, &wt, None, &geometry)?;
    let copy = conv2d(&xt.contiguous()?, &wt.contiguous()?, None, &geometry)?;
    assert_eq!(
        y.flatten_all()?.to_vec1::<f64>()?,
        copy.flatten_all()?.to_vec1::<f64>()?
    );
    let grads = y.permute((3, 1, 0, 2))?.sqr()?.sum_all()?.backward()?;
    assert_eq!(grads.get(&x).expect("dx").dims(), x.dims());
    assert_eq!(grads.get(&w).expect("dw").dims(), w.dims());
    Ok(())
}

#[test]
fn an_empty_batch_gives_an_empty_output_and_zero_gradients() -> Result<()> {
    for dtype in [DType::F32, DType::F64] {
        let x = Var::zeros((0, 16, 8, 8), dtype, &Device::Cpu)?;
        let w = Var::ones((16, 16, 3, 3), dtype, &Device::Cpu)?;
        let b = Var::ones(16, dtype, &Device::Cpu)?;
        let y = conv2d(&x, &w, Some(&b), &Conv2dGeometry::same(3))?;
        assert_eq!(y.dims(), &[0, 16, 8, 8]);
        let grads = y.sum_all()?.backward()?;
        let dw = grads
            .get(&w)
            .expect("dw")
            .abs()?
            .sum_all()?
            .to_dtype(DType::F64)?;
        assert_eq!(dw.to_scalar::<f64>()?, 0.0);
        assert_eq!(grads.get(&x).expect("dx").dims(), x.dims());
    }
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let zeros = |dims: &[usize], dtype| Tensor::zeros(dims, dtype, &Device::Cpu);
    let x = zeros(&[1, 4, 5, 5], DType::F32)?;
    let w = zeros(&[2, 4, 3, 3], DType::F32)?;
    let plain = Conv2dGeometry::default();
    let message = |x: &Tensor, w: &Tensor, b: Option<&Tensor>, g: &Conv2dGeometry| {
        conv2d(x, w, b, g).expect_err("must fail").to_string()
    };
    let cases = [
        (
            message(&zeros(&[4, 5, 5], DType::F32)?, &w, None, &plain),
            "`input` has shape [4, 5, 5], expected rank 4",
        ),
        (
            message(&x, &zeros(&[2, 3, 3, 3], DType::F32)?, None, &plain),
            "`weight` has shape [2, 3, 3, 3]",
        ),
        (
            message(&x, &w, Some(&zeros(&[3], DType::F32)?), &plain),
            "`bias` has shape [3], expected [2]",
        ),
        (
            message(&x, &w.to_dtype(DType::F64)?, None, &plain),
            "`weight` has type F64",
        ),
        (
            message(&x.to_dtype(DType::U32)?, &w, None, &plain),
            "`input` has type U32",
        ),
        (
            message(&x, &w, None, &Conv2dGeometry::with(0, 0)),
            "`geometry.stride` is (0, 0), expected at least 1",
        ),
        (
            message(&x, &w, None, &plain.grouped(0)),
            "`geometry.groups` is",
        ),
        (message(&x, &w, None, &plain.grouped(3)), "3 groups"),
        (
            message(&x, &zeros(&[2, 4, 7, 3], DType::F32)?, None, &plain),
            "a kernel that fits into 5 x 5 pixels",
        ),
    ];
    for (found, expected) in cases {
        assert!(
            found.contains("conv2d") && found.contains(expected),
            "{found:?} lacks {expected:?}"
        );
    }
    Ok(())
}

/// Candle reads the switch for gradients of gradients once a process, so a process of its own checks them.
#[test]
fn gradients_of_gradients() {
    let program = std::env::current_exe().expect("this test program");
    let status = std::process::Command::new(program)
        .args([
            "--exact",
            "gradients_of_gradients_in_their_process",
            "--ignored",
        ])
        .env("CANDLE_GRAD_DO_NOT_DETACH", "1")
        .status()
        .expect("the test program starts");
    assert!(status.success());
}

/// Half the squared length of the gradient in one argument, differentiated in each argument.
#[test]
#[ignore = "run by gradients_of_gradients, with CANDLE_GRAD_DO_NOT_DETACH set"]
fn gradients_of_gradients_in_their_process() -> Result<()> {
    let geometry = Conv2dGeometry {
        stride: (2, 1),
        padding: (1, 0),
        dilation: (1, 2),
        groups: 2,
    };
    let variable = |dims: [usize; 4], seed| -> Result<Var> {
        let count = dims.iter().product();
        Var::from_tensor(&tensor(&random(count, seed), &dims, DType::F64)?)
    };
    let (x, w) = (variable([2, 4, 5, 6], 1)?, variable([6, 2, 3, 2], 2)?);
    for inner in [&x, &w] {
        let length = || -> Result<Tensor> {
            // Not linear, or the gradients would not depend on both arguments.
            let value = conv2d(&x, &w, None, &geometry)?.sqr()?.sum_all()?;
            let gradients = value.backward()?;
            let gradient = gradients.get(inner).expect("a gradient");
            (gradient.sqr()? * 0.5)?.sum_all()
        };
        for outer in [&x, &w] {
            taper_kernels::testing::check_gradient(outer, 1e-5, length)?;
        }
    }
    Ok(())
}
