//! Parity with PyTorch where conventions matter; `golden/make_golden.py` made the file.

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor, Var};
use std::collections::HashMap;
use taper_kernels::{
    Activation, AdamWHyper, Pool2dGeometry, SgdHyper, adamw_step, adaptive_avg_pool2d, add_relu,
    avg_pool2d, batch_norm_eval, batch_norm_train, cross_entropy, global_avg_pool2d, linear,
    log_softmax, max_pool2d, relu, segment_match, sgd_step,
};

pub(crate) struct Golden(HashMap<String, Tensor>);

impl Golden {
    /// The file `golden/<name>.safetensors`.
    pub(crate) fn load(name: &str) -> Result<Self> {
        let path = format!(
            "{}/tests/golden/{name}.safetensors",
            env!("CARGO_MANIFEST_DIR")
        );
        Ok(Self(candle_core::safetensors::load(path, &Device::Cpu)?))
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Tensor> {
        self.0
            .get(name)
            .with_context(|| format!("no tensor {name} in the golden file"))
    }

    /// Runs `function` on the inputs recorded under `case`; compares the result and every gradient.
    pub(crate) fn check(
        &self,
        case: &str,
        inputs: &[&str],
        function: impl Fn(&[Var]) -> candle_core::Result<Tensor>,
    ) -> Result<()> {
        let get = |name: &str| self.get(&format!("{case}/{name}"));
        let vars: Vec<Var> = inputs
            .iter()
            .map(|name| Ok(Var::from_tensor(get(name)?)?))
            .collect::<Result<_>>()?;
        let result = function(&vars)?;
        close(case, &result, get("result")?)?;
        // Σ upstream · result, by hand: NaN in the result must not reach the gradients through a product.
        let gradients = Upstream::apply(&result, get("upstream")?)?.backward()?;
        for (name, var) in inputs.iter().zip(&vars) {
            let gradient = gradients
                .get(var)
                .with_context(|| format!("{case}: no gradient of {name}"))?;
            close(
                &format!("{case}: gradient of {name}"),
                gradient,
                get(&format!("{name}.grad"))?,
            )?;
        }
        Ok(())
    }
}

/// A scalar whose gradient with respect to its operand is a given tensor.
struct Upstream(Tensor);

impl Upstream {
    fn apply(result: &Tensor, upstream: &Tensor) -> candle_core::Result<Tensor> {
        result.apply_op1(Self(upstream.clone()))
    }
}

impl candle_core::CustomOp1 for Upstream {
    fn name(&self) -> &'static str {
        "upstream"
    }

    fn cpu_fwd(
        &self,
        _: &candle_core::CpuStorage,
        _: &candle_core::Layout,
    ) -> candle_core::Result<(candle_core::CpuStorage, candle_core::Shape)> {
        Ok((
            candle_core::CpuStorage::F32(vec![0.0]),
            candle_core::Shape::from(()),
        ))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}

/// Equal to 2e-5 of the larger of 1 and the value; NaN and infinities in the same places.
fn close(what: &str, found: &Tensor, expected: &Tensor) -> Result<()> {
    ensure!(
        found.dims() == expected.dims(),
        "{what}: shape {:?}, PyTorch {:?}",
        found.dims(),
        expected.dims()
    );
    let (found, expected) = (
        found.flatten_all()?.to_vec1::<f32>()?,
        expected.flatten_all()?.to_vec1::<f32>()?,
    );
    for (index, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
        let same = found == expected
            || (found.is_nan() && expected.is_nan())
            || (expected.is_finite() && (found - expected).abs() <= 2e-5 * expected.abs().max(1.0));
        ensure!(
            same,
            "{what}: element {index} is {found}, PyTorch {expected}"
        );
    }
    Ok(())
}

const POOLS: [(usize, usize, usize); 6] = [
    (2, 2, 0),
    (3, 2, 1),
    (3, 1, 1),
    (2, 3, 1),
    (4, 3, 2),
    (5, 2, 0),
];

fn pools() -> impl Iterator<Item = (String, Pool2dGeometry)> {
    POOLS.into_iter().flat_map(|(window, stride, padding)| {
        [false, true].map(|ceil_mode| {
            let name = format!("k{window}s{stride}p{padding}c{}", u8::from(ceil_mode));
            (
                name,
                Pool2dGeometry {
                    ceil_mode,
                    ..Pool2dGeometry::square(window, stride, padding)
                },
            )
        })
    })
}

#[test]
fn pooling_is_pytorchs() -> Result<()> {
    let golden = Golden::load("operators")?;
    for (name, geometry) in pools() {
        for label in ["tied", "special"] {
            golden.check(&format!("max_pool2d/{name}/{label}"), &["x"], |vars| {
                max_pool2d(&vars[0], &geometry)
            })?;
        }
        for include in [false, true] {
            let case = format!("avg_pool2d/{name}i{}/tied", u8::from(include));
            golden.check(&case, &["x"], |vars| {
                avg_pool2d(&vars[0], &geometry, include)
            })?;
        }
    }
    for size in [(1, 1), (2, 3), (7, 9), (5, 4), (9, 11)] {
        let case = format!("adaptive_avg_pool2d/{}x{}", size.0, size.1);
        golden.check(&case, &["x"], |vars| adaptive_avg_pool2d(&vars[0], size))?;
    }
    golden.check("adaptive_avg_pool2d/1x1", &["x"], |vars| {
        global_avg_pool2d(&vars[0])?.reshape((2, 3, 1, 1))
    })
}

#[test]
fn the_rectifier_is_pytorchs() -> Result<()> {
    let golden = Golden::load("operators")?;
    golden.check("relu", &["x"], |vars| relu(&vars[0]))?;
    golden.check("add_relu", &["a", "b"], |vars| add_relu(&vars[0], &vars[1]))
}

#[test]
fn batch_norm_is_pytorchs() -> Result<()> {
    let golden = Golden::load("operators")?;
    golden.check("batch_norm_train/plain", &["x", "weight", "bias"], |vars| {
        let (y, statistics) =
            batch_norm_train(&vars[0], &vars[1], &vars[2], None, 1e-5, Activation::None)?;
        for (found, name) in [
            (statistics.mean.clone(), "running_mean"),
            (statistics.unbiased_variance()?, "running_var"),
        ] {
            let expected = golden
                .get(&format!("batch_norm_train/plain/{name}"))
                .map_err(candle_core::Error::msg)?;
            close(name, &found, expected).map_err(candle_core::Error::msg)?;
        }
        Ok(y)
    })?;
    let four = ["x", "weight", "bias", "residual"];
    golden.check("batch_norm_train/residual_relu", &four, |vars| {
        Ok(batch_norm_train(
            &vars[0],
            &vars[1],
            &vars[2],
            Some(&vars[3]),
            1e-5,
            Activation::Relu,
        )?
        .0)
    })?;
    let (mean, var) = (
        golden.get("batch_norm_eval/mean")?,
        golden.get("batch_norm_eval/var")?,
    );
    golden.check("batch_norm_eval", &four, |vars| {
        batch_norm_eval(
            &vars[0],
            &vars[1],
            &vars[2],
            mean,
            var,
            Some(&vars[3]),
            1e-3,
            Activation::Relu,
        )
    })
}

#[test]
fn losses_and_linear_are_pytorchs() -> Result<()> {
    let golden = Golden::load("operators")?;
    let targets = golden.get("cross_entropy/targets")?.to_dtype(DType::U32)?;
    for (smoothing, name) in [(0.0, "0.0"), (0.1, "0.1"), (1.0, "1.0")] {
        let case = format!("cross_entropy/{name}");
        golden.check(&case, &["logits"], |vars| {
            cross_entropy(&vars[0], &targets, smoothing)
        })?;
    }
    golden.check("log_softmax", &["x"], |vars| log_softmax(&vars[0], 1))?;
    golden.check("linear", &["x", "weight", "bias"], |vars| {
        linear(&vars[0], &vars[1], Some(&vars[2]))
    })?;
    golden.check("segment_match", &["expanded", "teacher"], |vars| {
        segment_match(&vars[0], &vars[1], 4)
    })
}

/// Repeats a recorded trajectory with `step(param, grad, number)`.
fn follow(
    golden: &Golden,
    name: &str,
    step: impl Fn(&Var, &Tensor, u64) -> candle_core::Result<()>,
) -> Result<()> {
    let param = Var::from_tensor(&golden.get(&format!("{name}/start"))?.copy()?)?;
    for number in 0..5 {
        step(
            &param,
            golden.get(&format!("{name}/grad.{number}"))?,
            number,
        )?;
        close(
            &format!("{name}, step {number}"),
            &param,
            golden.get(&format!("{name}/param.{number}"))?,
        )?;
    }
    Ok(())
}

#[test]
fn optimisers_are_pytorchs() -> Result<()> {
    let golden = Golden::load("operators")?;
    let zeros = || Tensor::zeros(11, DType::F32, &Device::Cpu);
    let hyper = |lr, momentum, dampening, nesterov, weight_decay| SgdHyper {
        lr,
        momentum,
        dampening,
        nesterov,
        weight_decay,
    };
    for (name, hyper) in [
        ("sgd/plain", hyper(0.1, 0.0, 0.0, false, 0.01)),
        ("sgd/momentum", hyper(0.1, 0.9, 0.0, false, 5e-4)),
        ("sgd/nesterov", hyper(0.05, 0.8, 0.0, true, 0.1)),
        ("sgd/dampened", hyper(0.05, 0.8, 0.3, false, 0.0)),
    ] {
        let velocity = zeros()?;
        follow(&golden, name, |param, grad, number| {
            sgd_step(param, grad, &velocity, &hyper, number == 0)
        })?;
    }
    let (average, square) = (zeros()?, zeros()?);
    let hyper = AdamWHyper {
        lr: 0.01,
        beta1: 0.8,
        beta2: 0.99,
        eps: 1e-6,
        weight_decay: 0.1,
    };
    follow(&golden, "adamw", |param, grad, number| {
        adamw_step(param, grad, &average, &square, &hyper, number + 1)
    })
}
