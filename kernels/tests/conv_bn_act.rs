//! The fused operators against the separate ones, and against finite differences.

mod conv2d_support;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use conv2d_support::{Case, case, random, tensor};
use taper_kernels::testing::check_gradient;
use taper_kernels::{
    Activation, BatchStatistics, Conv2dGeometry, batch_norm_eval, batch_norm_train, conv_bias_act,
    conv_bn_act, conv2d, fold_batch_norm, threads,
};

const EPS: f64 = 1e-5;

/// Small ones, and one for each fast kernel: Winograd, direct with a stride, one by one, depthwise.
const CASES: &[Case] = &[
    case(2, (3, 4), (5, 7), 3, 1, 1, 1),
    case(3, (2, 4), (6, 5), 3, 2, 1, 2),
    case(4, (16, 16), (8, 8), 3, 1, 1, 1),
    case(2, (16, 32), (12, 16), 3, 1, 1, 1),
    case(3, (16, 32), (9, 8), 3, 2, 1, 1),
    case(2, (24, 40), (7, 7), 1, 1, 0, 1),
    case(2, (20, 20), (9, 9), 3, 1, 1, 20),
];

/// The operands of a block.
struct Block {
    input: Var,
    weight: Var,
    gamma: Var,
    beta: Var,
    residual: Var,
    geometry: Conv2dGeometry,
}

impl Block {
    fn new(case: &Case, dtype: DType) -> Result<Self> {
        let (input, weight, beta) = case.variables(dtype)?;
        let gamma = tensor(&random(case.channels.1, 5), &[case.channels.1], dtype)?;
        let output = conv2d(&input, &weight, None, &case.geometry)?;
        let residual = tensor(&random(output.elem_count(), 6), output.dims(), dtype)?;
        Ok(Self {
            input,
            weight,
            gamma: Var::from_tensor(&(gamma + 1.5)?)?,
            beta,
            residual: Var::from_tensor(&residual)?,
            geometry: case.geometry,
        })
    }

    fn variables(&self) -> [(&'static str, &Var); 5] {
        [
            ("input", &self.input),
            ("weight", &self.weight),
            ("gamma", &self.gamma),
            ("beta", &self.beta),
            ("residual", &self.residual),
        ]
    }

    fn fused(&self, residual: bool, activation: Activation) -> Result<(Tensor, BatchStatistics)> {
        let residual = residual.then_some(self.residual.as_tensor());
        let (weight, gamma, beta) = (&self.weight, &self.gamma, &self.beta);
        conv_bn_act(
            &self.input,
            weight,
            gamma,
            beta,
            residual,
            &self.geometry,
            EPS,
            activation,
        )
    }

    fn separate(
        &self,
        residual: bool,
        activation: Activation,
    ) -> Result<(Tensor, BatchStatistics)> {
        let residual = residual.then_some(self.residual.as_tensor());
        let z = conv2d(&self.input, &self.weight, None, &self.geometry)?;
        batch_norm_train(&z, &self.gamma, &self.beta, residual, EPS, activation)
    }
}

/// A scalar in which every element has a weight of its own.
fn weighted(output: &Tensor) -> Result<Tensor> {
    let factors = tensor(
        &random(output.elem_count(), 9),
        output.dims(),
        output.dtype(),
    )?;
    (output * factors)?.sum_all()
}

fn assert_close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) -> Result<()> {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let wide = |tensor: &Tensor| tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
    let (found, expected) = (wide(found)?, wide(expected)?);
    let square: f64 = expected.iter().map(|value| value * value).sum();
    let scale = (square / expected.len().max(1) as f64).sqrt().max(1e-6);
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let error = (found - expected).abs();
        assert!(
            error <= tolerance * scale,
            "{what}[{index}]: {found} against {expected}"
        );
    }
    Ok(())
}

#[test]
fn the_fused_operator_equals_the_separate_ones() -> Result<()> {
    for case in CASES {
        for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 2e-5)] {
            for (residual, activation) in [
                (false, Activation::None),
                (false, Activation::Relu),
                (true, Activation::None),
                (true, Activation::Relu),
            ] {
                let block = Block::new(case, dtype)?;
                let (y, statistics) = block.fused(residual, activation)?;
                let (expected, expected_statistics) = block.separate(residual, activation)?;
                let name = format!("{case:?} {dtype:?} {residual} {activation:?}");
                assert_close(&name, &y, &expected, tolerance)?;
                assert_close(
                    &name,
                    &statistics.mean,
                    &expected_statistics.mean,
                    tolerance,
                )?;
                assert_close(
                    &name,
                    &statistics.variance,
                    &expected_statistics.variance,
                    tolerance,
                )?;
                assert_eq!(statistics.count, expected_statistics.count);
                let grads: [GradStore; 2] =
                    [weighted(&y)?.backward()?, weighted(&expected)?.backward()?];
                for (variable, var) in block.variables() {
                    let [found, expected] = [&grads[0], &grads[1]].map(|grads| grads.get(var));
                    if variable == "residual" && !residual {
                        assert!(found.is_none());
                        continue;
                    }
                    let (found, expected) =
                        (found.expect("a gradient"), expected.expect("a gradient"));
                    assert_close(&format!("{name} {variable}"), found, expected, tolerance)?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn derivatives_match_central_differences() -> Result<()> {
    for case in &CASES[..2] {
        let block = Block::new(case, DType::F64)?;
        for (_, var) in block.variables() {
            check_gradient(var, 1e-5, || {
                weighted(&block.fused(true, Activation::None)?.0)
            })?;
            check_gradient(var, 1e-5, || {
                weighted(&block.fused(true, Activation::Relu)?.0)
            })?;
        }
    }
    Ok(())
}

#[test]
fn an_activation_used_twice_and_a_loss_taken_back_twice() -> Result<()> {
    let block = Block::new(&case(2, (16, 16), (8, 8), 3, 1, 1, 1), DType::F32)?;
    let chain = |fused: bool| -> Result<Tensor> {
        let run = |block: &Block| {
            if fused {
                block.fused(false, Activation::Relu)
            } else {
                block.separate(false, Activation::Relu)
            }
        };
        let first = run(&block)?.0;
        // The first block's result feeds a second block as input and as residual, and the loss.
        let (weight, gamma, beta) = (&block.weight, &block.gamma, &block.beta);
        let second = if fused {
            conv_bn_act(
                &first,
                weight,
                gamma,
                beta,
                Some(&first),
                &block.geometry,
                EPS,
                Activation::Relu,
            )?
            .0
        } else {
            let z = conv2d(&first, weight, None, &block.geometry)?;
            batch_norm_train(&z, gamma, beta, Some(&first), EPS, Activation::Relu)?.0
        };
        weighted(&second)? + weighted(&first)?
    };
    let loss = chain(true)?;
    let (once, again, expected) = (
        loss.backward()?,
        loss.backward()?,
        chain(false)?.backward()?,
    );
    for (name, var) in block.variables().into_iter().take(4) {
        let bits = |grads: &GradStore| -> Result<Vec<f32>> {
            grads.get(var).expect("a gradient").flatten_all()?.to_vec1()
        };
        assert_eq!(bits(&once)?, bits(&again)?, "{name}");
        assert_close(
            name,
            once.get(var).expect("a gradient"),
            expected.get(var).expect("a gradient"),
            1e-4,
        )?;
    }
    Ok(())
}

#[test]
fn a_frozen_weight_or_input_is_left_alone() -> Result<()> {
    let block = Block::new(&CASES[2], DType::F32)?;
    let frozen = block.weight.as_tensor().detach();
    let (y, _) = conv_bn_act(
        &block.input,
        &frozen,
        &block.gamma,
        &block.beta,
        None,
        &block.geometry,
        EPS,
        Activation::Relu,
    )?;
    let grads = weighted(&y)?.backward()?;
    assert!(grads.get(&frozen).is_none());
    let (expected, _) = block.separate(false, Activation::Relu)?;
    let expected = weighted(&expected)?.backward()?;
    for var in [&block.input, &block.gamma, &block.beta] {
        assert_close(
            "frozen",
            grads.get(var).expect("a gradient"),
            expected.get(var).expect("a gradient"),
            2e-5,
        )?;
    }
    Ok(())
}

#[test]
fn bits_do_not_depend_on_the_thread_count() -> Result<()> {
    let block = Block::new(&case(5, (16, 32), (14, 14), 3, 1, 1, 1), DType::F32)?;
    let run = |count: usize| -> Result<Vec<Vec<f32>>> {
        threads::set_threads(count);
        let (y, _) = block.fused(true, Activation::Relu)?;
        let grads = weighted(&y)?.backward()?;
        threads::set_threads(0);
        let mut all = vec![y.flatten_all()?.to_vec1()?];
        for (_, var) in block.variables() {
            all.push(
                grads
                    .get(var)
                    .expect("a gradient")
                    .flatten_all()?
                    .to_vec1()?,
            );
        }
        Ok(all)
    };
    let one = run(1)?;
    assert!(one == run(2)? && one == run(3)?);
    Ok(())
}

#[test]
fn a_folded_block_equals_the_block_in_evaluation() -> Result<()> {
    for case in CASES {
        for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 1e-4)] {
            let block = Block::new(case, dtype)?;
            let channels = case.channels.1;
            let mean = tensor(&random(channels, 7), &[channels], dtype)?;
            let variance = (tensor(&random(channels, 8), &[channels], dtype)? + 1.5)?;
            let statistics = (&mean, &variance);
            let (weight, bias) = fold_batch_norm(
                &block.weight,
                None,
                &block.gamma,
                &block.beta,
                statistics,
                EPS,
            )?;
            let input = block.input.as_tensor().detach();
            let z = conv2d(&input, &block.weight, None, &block.geometry)?;
            for residual in [None, Some(block.residual.as_tensor())] {
                for activation in [Activation::None, Activation::Relu] {
                    let expected = batch_norm_eval(
                        &z,
                        &block.gamma,
                        &block.beta,
                        &mean,
                        &variance,
                        residual,
                        EPS,
                        activation,
                    )?;
                    let found = conv_bias_act(
                        &input,
                        &weight,
                        &bias,
                        residual,
                        &block.geometry,
                        activation,
                    )?;
                    assert_close(
                        &format!("{case:?} {activation:?}"),
                        &found,
                        &expected,
                        tolerance,
                    )?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_gradient_through_inference_is_an_error() -> Result<()> {
    let block = Block::new(&CASES[0], DType::F32)?;
    let y = conv_bias_act(
        &block.input,
        &block.weight,
        &block.beta,
        None,
        &block.geometry,
        Activation::Relu,
    )?;
    let message = y
        .sum_all()?
        .backward()
        .expect_err("no derivative")
        .to_string();
    assert!(message.contains("conv_bias_act"), "{message}");
    Ok(())
}

#[test]
fn errors_name_the_argument() -> Result<()> {
    let block = Block::new(&CASES[0], DType::F32)?;
    let short = Tensor::zeros(3, DType::F32, &Device::Cpu)?;
    let call = |gamma: &Tensor, beta: &Tensor, residual: Option<&Tensor>, eps: f64| {
        let result = conv_bn_act(
            &block.input,
            &block.weight,
            gamma,
            beta,
            residual,
            &block.geometry,
            eps,
            Activation::None,
        );
        result.expect_err("must fail").to_string()
    };
    let (gamma, beta) = (block.gamma.as_tensor(), block.beta.as_tensor());
    for (message, argument) in [
        (call(&short, beta, None, EPS), "`gamma`"),
        (call(gamma, &short, None, EPS), "`beta`"),
        (
            call(gamma, &beta.to_dtype(DType::F64)?, None, EPS),
            "`beta`",
        ),
        (call(gamma, beta, Some(&short), EPS), "`residual`"),
        (call(gamma, beta, None, -1.0), "`eps`"),
    ] {
        assert!(
            message.contains("conv_bn_act") && message.contains(argument),
            "{message}"
        );
    }
    let one = Tensor::zeros((1, 3, 1, 1), DType::F32, &Device::Cpu)?;
    let result = conv_bn_act(
        &one,
        &block.weight,
        gamma,
        beta,
        None,
        &block.geometry,
        EPS,
        Activation::None,
    );
    assert!(
        result
            .expect_err("one value a channel")
            .to_string()
            .contains("`input`")
    );
    Ok(())
}
