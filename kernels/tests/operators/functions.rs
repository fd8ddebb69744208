//! Activations, softmax, GLU, layer norm and group norm.

use crate::golden::Golden;
use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;
use taper_kernels::testing::{check_gradient, uniform, weighted_sum};
use taper_kernels::{
    elu, gelu, gelu_tanh, glu, group_norm, group_norm_silu, hard_sigmoid, hard_swish, layer_norm,
    leaky_relu, log_softmax, mish, relu6, selu, sigmoid, silu, softmax, softplus, tanh,
};

type Activation = fn(&Tensor) -> Result<Tensor>;

const ACTIVATIONS: [(&str, Activation); 13] = [
    ("leaky_relu", |x| leaky_relu(x, 0.3)),
    ("elu", |x| elu(x, 0.7)),
    ("selu", selu),
    ("relu6", relu6),
    ("hard_sigmoid", hard_sigmoid),
    ("hard_swish", hard_swish),
    ("sigmoid", sigmoid),
    ("tanh", tanh),
    ("softplus", softplus),
    ("silu", silu),
    ("mish", mish),
    ("gelu", gelu),
    ("gelu_tanh", gelu_tanh),
];

fn var(index: u64, dims: &[usize], size: f64) -> Result<Var> {
    Var::from_tensor(&uniform("functions", index, dims, -size, size)?)
}

/// Checks `function` with respect to each of `vars`.
fn check(vars: &[&Var], function: impl Fn() -> Result<Tensor>) -> Result<()> {
    vars.iter()
        .try_for_each(|var| check_gradient(var, 2e-6, || weighted_sum(&function()?)))
}

#[test]
fn they_are_pytorchs() -> anyhow::Result<()> {
    let golden = Golden::load("functions")?;
    for (name, function) in ACTIVATIONS {
        golden.check(name, &["x"], |vars| function(&vars[0]))?;
    }
    let infinite = Tensor::new(&[f32::INFINITY; 33], &Device::Cpu)?;
    assert_eq!(gelu(&infinite)?.to_vec1::<f32>()?, [f32::INFINITY; 33]);
    for dim in 0..3 {
        golden.check(&format!("softmax/{dim}"), &["x"], |vars| {
            softmax(&vars[0], dim)
        })?;
        golden.check(&format!("log_softmax/{dim}"), &["x"], |vars| {
            log_softmax(&vars[0], dim)
        })?;
        golden.check(&format!("glu/{dim}"), &["x"], |vars| glu(&vars[0], dim))?;
    }
    for dim in 0..2 {
        golden.check(&format!("softmax/special{dim}"), &["x"], |vars| {
            softmax(&vars[0], dim)
        })?;
        golden.check(&format!("log_softmax/special{dim}"), &["x"], |vars| {
            log_softmax(&vars[0], dim)
        })?;
    }
    Ok(())
}

#[test]
fn norms_are_pytorchs() -> anyhow::Result<()> {
    let (golden, all) = (Golden::load("functions")?, ["x", "weight", "bias"]);
    for (case, shape, eps) in [
        ("last", &[7][..], 1e-5),
        ("two", &[5, 7], 1e-3),
        ("special", &[40], 1e-5),
    ] {
        golden.check(&format!("layer_norm/{case}"), &all, |vars| {
            layer_norm(&vars[0], shape, Some(&vars[1]), Some(&vars[2]), eps)
        })?;
    }
    golden.check("layer_norm/no_bias", &all[..2], |vars| {
        layer_norm(&vars[0], &[7], Some(&vars[1]), None, 1e-5)
    })?;
    golden.check("layer_norm/plain", &all[..1], |vars| {
        layer_norm(&vars[0], &[7], None, None, 1e-5)
    })?;
    for groups in [1, 2, 3, 6] {
        golden.check(&format!("group_norm/{groups}"), &all, |vars| {
            group_norm(&vars[0], groups, Some(&vars[1]), Some(&vars[2]), 1e-5)
        })?;
        golden.check(&format!("group_norm_silu/{groups}"), &all, |vars| {
            group_norm_silu(&vars[0], groups, Some(&vars[1]), Some(&vars[2]), 1e-5)
        })?;
    }
    golden.check("group_norm/plain", &all[..1], |vars| {
        group_norm(&vars[0], 2, None, None, 1e-5)
    })
}

#[test]
fn derivatives_of_activations() -> Result<()> {
    for (index, dims) in [&[1][..], &[67], &[3, 7, 5], &[2, 1, 3, 11]]
        .into_iter()
        .enumerate()
    {
        let x = var(index as u64, dims, 5.0)?;
        for (_, function) in ACTIVATIONS {
            check(&[&x], || function(&x))?;
            check(&[&x], || &function(&x)? * &*x)?;
        }
    }
    Ok(())
}

#[test]
fn derivatives_along_a_dimension() -> Result<()> {
    for dims in [&[1][..], &[33], &[6, 40], &[2, 8, 3], &[4, 1, 2, 70]] {
        let x = var(10, dims, 3.0)?;
        #[allow(clippy::needless_range_loop)]
        for dim in 0..dims.len() {
            check(&[&x], || softmax(&x, dim))?;
            check(&[&x], || log_softmax(&x, dim))?;
            if dims[dim].is_multiple_of(2) {
                check(&[&x], || glu(&x, dim))?;
                check(&[&x], || {
                    &glu(&x, dim)? * x.narrow(dim, 0, dims[dim] / 2)?
                })?;
            }
        }
    }
    Ok(())
}

#[test]
fn derivatives_of_norms() -> Result<()> {
    for (dims, shape) in [
        (&[5][..], &[5][..]),
        (&[3, 1], &[1]),
        (&[4, 33], &[33]),
        (&[2, 3, 4, 5], &[4, 5]),
        (&[7, 2, 70], &[2, 70]),
    ] {
        let (x, weight, bias) = (
            var(20, dims, 2.0)?,
            var(21, shape, 1.0)?,
            var(22, shape, 1.0)?,
        );
        check(&[&x, &weight, &bias], || {
            layer_norm(&x, shape, Some(&weight), Some(&bias), 1e-2)
        })?;
        check(&[&x], || layer_norm(&x, shape, None, None, 1e-2))?;
        check(&[&weight], || {
            layer_norm(&x.detach(), shape, Some(&weight), None, 1e-2)
        })?;
        check(&[&x, &bias], || {
            &layer_norm(&x, shape, None, Some(&bias), 1e-2)? + &*x
        })?;
    }
    for (dims, groups) in [
        (&[2, 3][..], 1),
        (&[2, 4, 1], 4),
        (&[1, 6, 5], 3),
        (&[3, 6, 2, 7], 2),
        (&[2, 2, 13, 10], 2),
        (&[1, 4, 2, 3, 3], 2),
    ] {
        let channels = [dims[1]];
        let x = var(23, dims, 2.0)?;
        let (weight, bias) = (var(24, &channels, 1.0)?, var(25, &channels, 1.0)?);
        for norm in [group_norm, group_norm_silu] {
            check(&[&x, &weight, &bias], || {
                norm(&x, groups, Some(&weight), Some(&bias), 1e-2)
            })?;
            check(&[&x], || &norm(&x, groups, None, None, 1e-2)? * &*x)?;
            check(&[&bias], || {
                norm(&x.detach(), groups, None, Some(&bias), 1e-2)
            })?;
        }
    }
    Ok(())
}

#[test]
fn strided_views_are_read_as_what_they_show() -> Result<()> {
    let x = var(30, &[3, 4, 6, 2], 2.0)?;
    let view = || x.transpose(0, 2)?.narrow(0, 1, 5)?.transpose(2, 3); // [5, 4, 2, 3]
    let parameter = var(31, &[8], 1.0)?;
    let strided = || parameter.reshape((4, 2))?.narrow(1, 1, 1)?.squeeze(1);
    for (_, function) in ACTIVATIONS {
        check(&[&x], || function(&view()?))?;
    }
    for dim in 0..4 {
        check(&[&x], || softmax(&view()?, dim))?;
        check(&[&x], || log_softmax(&view()?, dim)?.transpose(0, 3))?;
    }
    check(&[&x], || glu(&view()?, 1)?.transpose(1, 3))?;
    check(&[&x, &parameter], || {
        group_norm_silu(&view()?, 2, Some(&strided()?), Some(&strided()?), 1e-2)?.transpose(0, 1)
    })?;
    check(&[&x, &parameter], || {
        let last = view()?.transpose(1, 3)?; // [5, 3, 2, 4]
        layer_norm(&last, &[4], Some(&strided()?), None, 1e-2)?.transpose(0, 3)
    })
}

/// Value and gradient in `f32` and `f64`, compared relative to the largest element.
fn follows(what: &str, x: &Tensor, tolerance: f64, function: impl Fn(&Tensor) -> Result<Tensor>) {
    let evaluate = |dtype: DType| -> Result<[Tensor; 2]> {
        let var = Var::from_tensor(&x.to_dtype(dtype)?)?;
        let result = function(&var)?;
        let gradients = weighted_sum(&result)?.backward()?;
        let gradient = gradients.get(&var).expect("x has a gradient");
        Ok([result.to_dtype(DType::F64)?, gradient.to_dtype(DType::F64)?])
    };
    let (fast, exact) = (evaluate(DType::F32).unwrap(), evaluate(DType::F64).unwrap());
    let largest = |tensor: &Tensor| tensor.abs()?.max_all()?.to_scalar::<f64>();
    for (fast, exact) in fast.iter().zip(&exact) {
        let error = largest(&(fast - exact).unwrap()).unwrap();
        let scale = largest(exact).unwrap();
        assert!(
            error <= tolerance * scale,
            "{what}: off by {error} of {scale}"
        );
    }
}

#[test]
fn single_precision_follows_double() {
    for dims in [[3, 8, 50, 50], [2, 4, 3, 7], [40, 2, 1, 300]] {
        // Values that f32 holds exactly, so that both paths see the same kinks.
        let x = uniform("functions", 40, &dims, -8.0, 8.0).unwrap();
        let x = x
            .to_dtype(DType::F32)
            .unwrap()
            .to_dtype(DType::F64)
            .unwrap();
        for (name, function) in ACTIVATIONS {
            // 1 − sigmoid cancels where a polynomial of x multiplies it.
            let tolerance = if name == "gelu_tanh" { 4e-6 } else { 1e-6 };
            follows(name, &x, tolerance, function);
        }
        for dim in 0..4 {
            follows("softmax", &x, 1e-6, |x| softmax(x, dim));
            follows("log_softmax", &x, 2e-6, |x| log_softmax(x, dim));
        }
        follows("glu", &x, 1e-6, |x| glu(x, 1));
        let far = (&x + 5000.0).unwrap().to_dtype(DType::F32).unwrap();
        for x in [x, far.to_dtype(DType::F64).unwrap()] {
            follows("layer_norm", &x, 1e-5, |x| {
                layer_norm(x, &dims[3..], None, None, 1e-5)
            });
            follows("group_norm", &x, 1e-5, |x| {
                group_norm(x, 2, None, None, 1e-5)
            });
            follows("group_norm_silu", &x, 1e-5, |x| {
                group_norm_silu(x, 2, None, None, 1e-5)
            });
        }
    }
}

/// Every bit of every result and gradient of a chain of the operators in `f32`.
fn everything(dims: [usize; 4]) -> Result<Vec<u32>> {
    let x = Var::from_tensor(&uniform("functions", 50, &dims, -4.0, 4.0)?.to_dtype(DType::F32)?)?;
    let weight = Var::from_tensor(&Tensor::ones(dims[1], DType::F32, &Device::Cpu)?)?;
    let shape = Var::from_tensor(&Tensor::ones(dims[3], DType::F32, &Device::Cpu)?)?;
    let mut y = x.as_tensor().clone();
    for (_, function) in ACTIVATIONS {
        y = (y + function(&x)?)?;
    }
    y = (y + softmax(&x, 1)?)?;
    y = (y + log_softmax(&x, 3)?)?;
    y = layer_norm(&y, &dims[3..], Some(&shape), Some(&shape), 1e-5)?;
    y = group_norm_silu(&y, 2, Some(&weight), Some(&weight), 1e-5)?;
    y = glu(&y, 1)?;
    let gradients = weighted_sum(&y)?.backward()?;
    let gradient = |var: &Var| gradients.get(var).expect("has a gradient").clone();
    let mut bits = Vec::new();
    for tensor in [y, gradient(&x), gradient(&weight), gradient(&shape)] {
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        bits.extend(values.into_iter().map(f32::to_bits));
    }
    Ok(bits)
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() -> Result<()> {
    use taper_kernels::threads::set_threads;
    for dims in [[16, 8, 32, 40], [7, 4, 3, 5], [2, 6, 1, 30_000]] {
        set_threads(1);
        let alone = everything(dims)?;
        for count in [2, 3] {
            set_threads(count);
            assert!(everything(dims)? == alone, "{dims:?} at {count} threads");
        }
        set_threads(0);
    }
    Ok(())
}

#[test]
fn empty_tensors_stay_empty() -> Result<()> {
    for dims in [[0, 4, 6], [2, 4, 0]] {
        let x = Var::from_tensor(&Tensor::zeros(&dims[..], DType::F32, &Device::Cpu)?)?;
        let channels = Var::from_tensor(&Tensor::ones(4, DType::F32, &Device::Cpu)?)?;
        let shape = Var::from_tensor(&Tensor::ones(dims[2], DType::F32, &Device::Cpu)?)?;
        let mut results = vec![
            layer_norm(&x, &dims[2..], Some(&shape), Some(&shape), 1e-5)?,
            group_norm(&x, 2, Some(&channels), Some(&channels), 1e-5)?,
            group_norm_silu(&x, 2, Some(&channels), None, 1e-5)?,
        ];
        for (_, function) in ACTIVATIONS {
            results.push(function(&x)?);
        }
        for dim in 0..3 {
            results.push(softmax(&x, dim)?);
            results.push(log_softmax(&x, dim)?);
        }
        for result in results {
            assert_eq!(result.dims(), dims);
            let gradients = result.sum_all()?.backward()?;
            assert_eq!(gradients.get(&x).map(Tensor::dims), Some(&dims[..]));
            for parameter in [&channels, &shape] {
                if let Some(gradient) = gradients.get(parameter) {
                    assert!(gradient.to_vec1::<f32>()?.iter().all(|&value| value == 0.0));
                }
            }
        }
        assert_eq!(glu(&x, 1)?.dims(), [dims[0], 2, dims[2]]);
    }
    let nothing = Tensor::zeros((3, 0, 2), DType::F64, &Device::Cpu)?;
    assert_eq!(softmax(&nothing, 1)?.dims(), [3, 0, 2]);
    assert_eq!(softmax(&nothing.transpose(1, 2)?, 2)?.dims(), [3, 2, 0]);
    Ok(())
}

#[track_caller]
fn refused<T>(result: Result<T>, words: &[&str]) {
    let message = match result {
        Ok(_) => panic!("accepted; expected an error with {words:?}"),
        Err(error) => error.to_string(),
    };
    for word in words {
        assert!(
            message.contains(word),
            "{message:?} does not contain {word:?}"
        );
    }
}

#[test]
fn wrong_arguments_are_refused() {
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
    let x = zeros(&[2, 6, 3]);
    let (half, doubles) = (
        x.to_dtype(DType::F16).unwrap(),
        zeros(&[3]).to_dtype(DType::F64).unwrap(),
    );
    for (name, function) in ACTIVATIONS {
        let name = if name == "selu" { "elu" } else { name };
        refused(function(&half), &[name, "`x`", "F16", "f32 or f64"]);
    }
    refused(softmax(&half, 0), &["softmax", "`x`", "F16"]);
    refused(
        softmax(&x, 3),
        &["softmax", "`x`", "[2, 6, 3]", "dimension `dim`"],
    );
    refused(log_softmax(&zeros(&[]), 0), &["log_softmax", "`x`", "[]"]);
    refused(glu(&x, 2), &["glu", "`x`", "[2, 6, 3]", "even"]);
    refused(glu(&x, 4), &["glu", "`x`", "dimension `dim`"]);
    refused(glu(&half, 1), &["glu", "`x`", "F16"]);
    let (three, four) = (zeros(&[3]), zeros(&[4]));
    let norm = |shape: &[usize], weight, eps| layer_norm(&x, shape, weight, None, eps);
    refused(
        norm(&[6], None, 0.0),
        &["layer_norm", "`x`", "[2, 6, 3]", "[…, [6]]"],
    );
    refused(norm(&[], None, 0.0), &["layer_norm", "`x`"]);
    refused(norm(&[3], None, -1.0), &["layer_norm", "`eps`", "-1"]);
    refused(norm(&[3], None, f64::NAN), &["layer_norm", "`eps`", "NaN"]);
    refused(
        norm(&[3], Some(&four), 0.0),
        &["layer_norm", "`weight`", "[4]", "[3]"],
    );
    refused(
        norm(&[3], Some(&doubles), 0.0),
        &["layer_norm", "`weight`", "F64", "F32"],
    );
    let norm = |groups, bias| group_norm(&x, groups, None, bias, 1e-5);
    refused(
        norm(4, None),
        &["group_norm", "`groups`", "4", "a divisor of the 6 channels"],
    );
    refused(norm(0, None), &["group_norm", "`groups`", "0"]);
    refused(
        norm(2, Some(&three)),
        &["group_norm", "`bias`", "[3]", "[6]"],
    );
    refused(
        group_norm_silu(&four, 2, None, None, 1e-5),
        &["group_norm_silu", "`x`", "[4]", "[batch, channels, …]"],
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn norms_are_their_equation(batch in 1usize..6, groups in 1usize..5, grouped in 1usize..5, plane in 1usize..300) {
        let channels = groups * grouped;
        let x = uniform("equation", 0, &[batch, channels, plane], -3.0, 5.0).unwrap();
        let normalise = |runs: &Tensor| -> Result<Tensor> {
            let centred = runs.broadcast_sub(&runs.mean_keepdim(1)?)?;
            centred.broadcast_div(&(centred.sqr()?.mean_keepdim(1)? + 1e-3)?.sqrt()?)
        };
        let distance = |a: &Tensor, b: &Tensor| (a - b)?.abs()?.max_all()?.to_scalar::<f64>();
        let (weight, bias) = (uniform("equation", 1, &[channels], -1.0, 1.0).unwrap(), uniform("equation", 2, &[channels], -1.0, 1.0).unwrap());
        let affine = |y: Tensor| y.broadcast_mul(&weight.reshape((1, channels, 1))?)?.broadcast_add(&bias.reshape((1, channels, 1))?);
        let expected = normalise(&x.reshape((batch * groups, grouped * plane)).unwrap()).unwrap();
        let expected = affine(expected.reshape(x.shape()).unwrap()).unwrap();
        let found = group_norm(&x, groups, Some(&weight), Some(&bias), 1e-3).unwrap();
        prop_assert!(distance(&found, &expected).unwrap() < 1e-11);
        let found = group_norm_silu(&x, groups, Some(&weight), Some(&bias), 1e-3).unwrap();
        prop_assert!(distance(&found, &silu(&expected).unwrap()).unwrap() < 1e-11);
        let expected = normalise(&x.reshape((batch * channels, plane)).unwrap()).unwrap().reshape(x.shape()).unwrap();
        let found = layer_norm(&x, &[plane], None, None, 1e-3).unwrap();
        prop_assert!(distance(&found, &expected).unwrap() < 1e-11);
    }

    #[test]
    fn softmax_sums_to_one(dims in prop::collection::vec(1usize..40, 1..4), dim in 0usize..3) {
        prop_assume!(dim < dims.len());
        let x = uniform("equation", 3, &dims, -30.0, 30.0).unwrap();
        let probabilities = softmax(&x, dim).unwrap();
        let logarithms = log_softmax(&x, dim).unwrap().exp().unwrap();
        for found in [&probabilities, &logarithms] {
            let total = found.sum_keepdim(dim).unwrap();
            let off = (total - 1.0).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
            prop_assert!(off < 1e-12);
        }
        let off = (probabilities - logarithms).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
        prop_assert!(off < 1e-12);
    }
}
