//! Every operator on a GPU against the specification: the CPU in `f64`, on the same numbers.
//!
//! Prints one line an operator and type with the largest error, relative to the largest
//! number of its kind. Without a GPU it says so and passes.
#![cfg(feature = "cuda")]
// Clippy exempts test functions, but not the helpers they share.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use candle_core::{DType, Device, Result, Tensor, Var};
use taper_kernels::testing::uniform;
use taper_kernels::{self as kernels, Activation, Conv1dGeometry, Conv2dGeometry, Pool2dGeometry};

/// How far each type may be from the specification.
const TYPES: [(DType, f64); 4] = [
    (DType::F64, 1e-11),
    (DType::F32, 1e-5),
    (DType::F16, 1e-2),
    (DType::BF16, 6e-2),
];

type Operator<'a> = dyn Fn(&[Tensor]) -> Result<Tensor> + 'a;

/// The result, then the gradient of each argument of Σ w · result.
fn evaluate(arguments: &[Tensor], operator: &Operator, weights: &Tensor) -> Result<Vec<Tensor>> {
    let arguments: Vec<_> = arguments
        .iter()
        .map(Var::from_tensor)
        .collect::<Result<_>>()?;
    let tensors: Vec<_> = arguments
        .iter()
        .map(|var| var.as_tensor().clone())
        .collect();
    let result = operator(&tensors)?;
    let weights = weights
        .to_device(result.device())?
        .to_dtype(result.dtype())?;
    let gradients = (&result * weights.reshape(result.shape())?)?
        .sum_all()?
        .backward()?;
    let mut found = vec![result];
    for (index, argument) in tensors.iter().enumerate() {
        let Some(gradient) = gradients.get(argument) else {
            candle_core::bail!("argument {index} has no gradient");
        };
        found.push(gradient.clone());
    }
    Ok(found)
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    let tensor = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    tensor.flatten_all()?.to_vec1()
}

/// The largest difference, relative to the largest expected number.
fn error(found: &Tensor, expected: &Tensor) -> Result<f64> {
    assert_eq!(found.dims(), expected.dims());
    let (found, expected) = (numbers(found)?, numbers(expected)?);
    let largest = expected
        .iter()
        .fold(1e-30f64, |most, value| most.max(value.abs()));
    let differences = found
        .iter()
        .zip(&expected)
        .map(|(a, b)| (a - b).abs() / largest);
    Ok(differences.fold(0.0, |most, value| {
        if value.is_nan() {
            value
        } else {
            most.max(value)
        }
    }))
}

/// Compares an operator of tensors of these shapes, in all types; the failures are counted.
fn compare(gpu: &Device, name: &str, shapes: &[&[usize]], operator: &Operator) -> Result<usize> {
    let mut failures = 0;
    for (dtype, tolerance) in TYPES {
        let host: Vec<Tensor> = shapes
            .iter()
            .enumerate()
            .map(|(index, shape)| uniform(name, index as u64, shape, -1.0, 1.0)?.to_dtype(dtype))
            .collect::<Result<_>>()?;
        let wide: Vec<Tensor> = host
            .iter()
            .map(|tensor| tensor.to_dtype(DType::F64))
            .collect::<Result<_>>()?;
        let result = operator(&wide)?;
        let weights = uniform(name, 99, &[result.elem_count()], -1.0, 1.0)?;
        let weights = weights.to_dtype(dtype)?.to_dtype(DType::F64)?;
        let expected = evaluate(&wide, operator, &weights)?;
        let on_gpu: Vec<Tensor> = host
            .iter()
            .map(|tensor| tensor.to_device(gpu))
            .collect::<Result<_>>()?;
        let outcome = evaluate(&on_gpu, operator, &weights).and_then(|found| {
            let pairs = found.iter().zip(&expected);
            pairs
                .map(|(found, expected)| error(found, expected))
                .collect::<Result<Vec<_>>>()
        });
        let passed = match &outcome {
            Ok(errors) => errors.iter().all(|&error| error <= tolerance),
            Err(_) => false,
        };
        failures += usize::from(!passed);
        let verdict = if passed { "ok" } else { "FAILED" };
        match outcome {
            Ok(errors) => {
                let errors: Vec<_> = errors.iter().map(|error| format!("{error:.1e}")).collect();
                eprintln!("{verdict:6} {name:34} {dtype:?}: {}", errors.join(" "));
            }
            Err(error) => eprintln!("{verdict:6} {name:34} {dtype:?}: {error}"),
        }
    }
    Ok(failures)
}

fn gpu() -> Option<Device> {
    match kernels::cuda_or_cpu(0) {
        Ok((device, None)) => Some(device),
        Ok((_, Some(note))) => {
            eprintln!("skipped: {note}");
            None
        }
        Err(error) => panic!("there is a CUDA driver but no GPU: {error}"),
    }
}

#[test]
fn passes_over_memory() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let image: &[usize] = &[3, 6, 9, 7];
    let large: &[usize] = &[64, 64, 32, 32];
    let mut failures = 0;
    for shape in [image, large] {
        failures += compare(&gpu, "relu", &[shape], &|x| kernels::relu(&x[0]))?;
        failures += compare(&gpu, "add_relu", &[shape, shape], &|x| {
            kernels::add_relu(&x[0], &x[1])
        })?;
    }
    failures += compare(&gpu, "linear", &[&[33, 70], &[10, 70], &[10]], &|x| {
        kernels::linear(&x[0], &x[1], Some(&x[2]))
    })?;
    failures += compare(&gpu, "log_softmax", &[&[33, 100]], &|x| {
        kernels::log_softmax(&x[0], candle_core::D::Minus1)
    })?;
    failures += compare(&gpu, "log_softmax of long rows", &[&[3, 5000]], &|x| {
        kernels::log_softmax(&x[0], candle_core::D::Minus1)
    })?;
    for smoothing in [0.0, 0.1] {
        failures += compare(&gpu, "cross_entropy", &[&[33, 100]], &|x| {
            let targets = (0..33u32).map(|row| row * 7 % 100);
            let targets = Tensor::from_iter(targets, x[0].device())?;
            kernels::cross_entropy(&x[0], &targets, smoothing)
        })?;
    }
    for (expanded, teacher) in [
        ([3, 12, 5, 3], [3, 4, 5, 3]),
        ([16, 128, 16, 16], [16, 16, 16, 16]),
    ] {
        let slices = expanded[1] / teacher[1];
        failures += compare(&gpu, "segment_match", &[&expanded, &teacher], &|x| {
            kernels::segment_match(&x[0], &x[1], slices)
        })?;
    }
    assert_eq!(failures, 0);
    Ok(())
}

#[test]
fn functions_and_norms() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let mut failures = 0;
    type Function = fn(&Tensor) -> Result<Tensor>;
    let functions: [(&str, Function); 15] = [
        ("leaky_relu", |x| kernels::leaky_relu(x, 0.3)),
        ("elu", |x| kernels::elu(x, 0.7)),
        ("selu", kernels::selu),
        ("relu6", kernels::relu6),
        ("hard_sigmoid", kernels::hard_sigmoid),
        ("hard_swish", kernels::hard_swish),
        ("sigmoid", kernels::sigmoid),
        ("tanh", kernels::tanh),
        ("softplus", kernels::softplus),
        ("silu", kernels::silu),
        ("mish", kernels::mish),
        ("gelu", kernels::gelu),
        ("gelu_tanh", kernels::gelu_tanh),
        ("glu", |x| kernels::glu(x, 1)),
        ("dropout", |x| kernels::dropout(x, 0.3, 5)),
    ];
    for (name, function) in functions {
        failures += compare(&gpu, name, &[&[3, 6, 9, 7]], &|x| function(&x[0]))?;
        failures += compare(&gpu, name, &[&[64, 64, 32, 32]], &|x| function(&x[0]))?;
    }
    for dim in 0..3 {
        failures += compare(&gpu, "softmax", &[&[33, 100, 17]], &|x| {
            kernels::softmax(&x[0], dim)
        })?;
    }
    let shapes: [&[usize]; 3] = [&[200, 256], &[256], &[256]];
    failures += compare(&gpu, "layer_norm", &shapes, &|x| {
        kernels::layer_norm(&x[0], &[256], Some(&x[1]), Some(&x[2]), 1e-5)
    })?;
    let shapes: [&[usize]; 3] = [&[4, 64, 9, 7], &[64], &[64]];
    failures += compare(&gpu, "group_norm", &shapes, &|x| {
        kernels::group_norm(&x[0], 32, Some(&x[1]), Some(&x[2]), 1e-5)
    })?;
    failures += compare(&gpu, "group_norm_silu", &shapes, &|x| {
        kernels::group_norm_silu(&x[0], 32, Some(&x[1]), Some(&x[2]), 1e-5)
    })?;
    assert_eq!(failures, 0);
    Ok(())
}

#[test]
fn norms_and_windows() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let mut failures = 0;
    for shape in [[3, 6, 9, 7], [32, 64, 16, 16]] {
        let channels: &[usize] = &[shape[1]];
        let shapes: &[&[usize]] = &[&shape, channels, channels, &shape];
        for activation in [Activation::None, Activation::Relu] {
            failures += compare(&gpu, "batch_norm_train", shapes, &|x| {
                let residual = Some(&x[3]);
                let norm =
                    kernels::batch_norm_train(&x[0], &x[1], &x[2], residual, 1e-3, activation);
                Ok(norm?.0)
            })?;
            failures += compare(&gpu, "batch_norm_eval", shapes, &|x| {
                let mean = (x[1].detach() * 0.5)?;
                let variance = (x[2].detach().sqr()? + 0.5)?;
                let residual = Some(&x[3]);
                let (weight, bias) = (&x[1], &x[2]);
                kernels::batch_norm_eval(
                    &x[0], weight, bias, &mean, &variance, residual, 1e-3, activation,
                )
            })?;
        }
    }
    let image: &[usize] = &[3, 6, 9, 7];
    for (window, stride, padding) in [(2, 2, 0), (3, 2, 1), (3, 1, 1)] {
        let geometry = Pool2dGeometry::square(window, stride, padding);
        failures += compare(&gpu, "max_pool2d", &[image], &|x| {
            kernels::max_pool2d(&x[0], &geometry)
        })?;
        for include in [true, false] {
            failures += compare(&gpu, "avg_pool2d", &[image], &|x| {
                kernels::avg_pool2d(&x[0], &geometry, include)
            })?;
        }
    }
    failures += compare(&gpu, "adaptive_avg_pool2d", &[image], &|x| {
        kernels::adaptive_avg_pool2d(&x[0], (4, 3))
    })?;
    failures += compare(&gpu, "global_avg_pool2d", &[image], &|x| {
        kernels::global_avg_pool2d(&x[0])
    })?;
    failures += compare(&gpu, "resize_nearest2d", &[image], &|x| {
        kernels::resize_nearest2d(&x[0], (13, 20))
    })?;
    for corners in [true, false] {
        failures += compare(&gpu, "resize_bilinear2d", &[image], &|x| {
            kernels::resize_bilinear2d(&x[0], (13, 20), corners)
        })?;
    }
    assert_eq!(failures, 0);
    Ok(())
}

#[test]
fn convolutions() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let mut failures = 0;
    let with = Conv2dGeometry::with;
    let odd = Conv2dGeometry {
        stride: (2, 1),
        padding: (1, 2),
        dilation: (1, 2),
        groups: 1,
    };
    for (name, input, weight, geometry) in [
        ("conv2d 3 x 3", [4, 16, 32, 32], [32, 16, 3, 3], with(1, 1)),
        (
            "conv2d 3 x 3, stride 2",
            [4, 16, 31, 30],
            [24, 16, 3, 3],
            with(2, 1),
        ),
        ("conv2d 1 x 1", [4, 64, 9, 7], [70, 64, 1, 1], with(1, 0)),
        (
            "conv2d, rectangular and dilated",
            [2, 9, 15, 13],
            [11, 9, 2, 3],
            odd,
        ),
        (
            "conv2d, 4 groups",
            [2, 32, 9, 9],
            [64, 8, 3, 3],
            with(1, 1).grouped(4),
        ),
        (
            "conv2d, depthwise",
            [4, 24, 16, 15],
            [24, 1, 3, 3],
            with(2, 1).grouped(24),
        ),
        (
            "conv2d, first layer",
            [8, 3, 32, 32],
            [16, 3, 3, 3],
            with(1, 1),
        ),
    ] {
        let shapes: &[&[usize]] = &[&input, &weight, &[weight[0]]];
        failures += compare(&gpu, name, shapes, &|x| {
            kernels::conv2d(&x[0], &x[1], Some(&x[2]), &geometry)
        })?;
    }
    let (input, weight): (&[usize], &[usize]) = (&[4, 16, 9, 7], &[16, 16, 3, 3]);
    failures += compare(
        &gpu,
        "conv_bn_act",
        &[input, weight, &[16], &[16], input],
        &|x| {
            let (gamma, beta, residual) = (&x[2], &x[3], Some(&x[4]));
            let geometry = Conv2dGeometry::same(3);
            let act = Activation::Relu;
            Ok(kernels::conv_bn_act(&x[0], &x[1], gamma, beta, residual, &geometry, 1e-3, act)?.0)
        },
    )?;
    failures += compare(&gpu, "conv1d", &[&[3, 12, 40], &[10, 12, 5], &[10]], &|x| {
        kernels::conv1d(&x[0], &x[1], Some(&x[2]), &Conv1dGeometry::default())
    })?;
    assert_eq!(failures, 0);
    Ok(())
}

#[test]
fn inference_and_optimisers() -> Result<()> {
    let Some(gpu) = gpu() else { return Ok(()) };
    let value = |index, shape: &[usize]| uniform("steps", index, shape, -1.0, 1.0);
    let to_gpu = |tensor: &Tensor| tensor.to_dtype(DType::F32)?.to_device(&gpu);
    let (x, w, b) = (
        value(0, &[2, 9, 8, 7])?,
        value(1, &[12, 9, 3, 3])?,
        value(2, &[12])?,
    );
    let residual = value(3, &[2, 12, 8, 7])?;
    let geometry = Conv2dGeometry::same(3);
    let block = |x: &Tensor, w: &Tensor, b: &Tensor, residual: &Tensor| {
        kernels::conv_bias_act(x, w, b, Some(residual), &geometry, Activation::Relu)
    };
    let expected = block(&x, &w, &b, &residual)?;
    let found = block(
        &to_gpu(&x)?,
        &to_gpu(&w)?,
        &to_gpu(&b)?,
        &to_gpu(&residual)?,
    )?;
    report("conv_bias_act", &found, &expected)?;

    let (param, grad) = (value(4, &[1000])?, value(5, &[1000])?);
    let run = |to: &dyn Fn(&Tensor) -> Result<Tensor>| -> Result<[Tensor; 3]> {
        let zeros = || to(&Tensor::zeros(1000, DType::F64, &Device::Cpu)?);
        let grad = to(&grad)?;
        let (velocity, average, square) = (zeros()?, zeros()?, zeros()?);
        let (sgd, adamw) = (
            Var::from_tensor(&to(&param)?)?,
            Var::from_tensor(&to(&param)?)?,
        );
        let hyper = kernels::SgdHyper {
            lr: 0.1,
            momentum: 0.9,
            weight_decay: 0.01,
            ..Default::default()
        };
        for step in 1..4 {
            kernels::sgd_step(&sgd, &grad, &velocity, &hyper, step == 1)?;
            let hyper = kernels::AdamWHyper::default();
            kernels::adamw_step(&adamw, &grad, &average, &square, &hyper, step)?;
        }
        kernels::ema_step(&average, sgd.as_tensor(), 0.75)?;
        Ok([sgd.as_tensor().copy()?, adamw.as_tensor().copy()?, average])
    };
    let (expected, found) = (run(&|tensor| tensor.copy())?, run(&to_gpu)?);
    for (index, name) in ["sgd_step", "adamw_step", "ema_step"]
        .into_iter()
        .enumerate()
    {
        report(name, &found[index], &expected[index])?;
    }
    let norms = (
        kernels::squared_norm(&to_gpu(&param)?)?,
        kernels::squared_norm(&param)?,
    );
    assert!(
        (norms.0 / norms.1 - 1.0).abs() < 1e-6,
        "squared_norm: {norms:?}"
    );
    Ok(())
}

#[track_caller]
fn report(name: &str, found: &Tensor, expected: &Tensor) -> Result<()> {
    let error = error(found, expected)?;
    eprintln!("       {name:34} F32: {error:.1e}");
    assert!(error <= 1e-5, "{name}: {error}");
    Ok(())
}
