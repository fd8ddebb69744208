//! The update rules against PyTorch's, step by step (`optimizer_golden.py` made the values).

#![allow(clippy::unwrap_used)]

use candle_core::{Device, Result, Tensor, Var};
use serde::Deserialize;
use std::collections::BTreeMap;
use taper_train::OptimizerConfig;
use taper_train::optimizer::{Optimizer, Rate};

#[derive(Deserialize)]
struct Case {
    name: String,
    optimizer: OptimizerConfig,
    parameters: Vec<Vec<f64>>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("optimizer_golden.json")).unwrap()
}

fn start() -> Result<Var> {
    Var::new(&[0.5f64, -1.25, 2.0, 0.0], &Device::Cpu)
}

/// As in the script.
fn gradient(step: usize, parameter: &Var) -> Result<Tensor> {
    let values = parameter.to_vec1::<f64>()?;
    let gradient = |(index, value): (usize, &f64)| ((index + step) as f64).sin() + 0.5 * value;
    let values: Vec<_> = values.iter().enumerate().map(gradient).collect();
    Tensor::new(values, &Device::Cpu)
}

fn rate(config: &OptimizerConfig) -> Rate {
    Rate {
        learning_rate: config.learning_rate(),
        weight_decay: config.weight_decay(),
    }
}

#[test]
fn as_pytorch() -> Result<()> {
    for case in cases() {
        let parameter = start()?;
        let mut optimizer = Optimizer::new(&case.optimizer);
        for (step, expected) in case.parameters.iter().enumerate() {
            let gradient = gradient(step, &parameter)?;
            optimizer
                .step("w", &parameter, &gradient, rate(&case.optimizer))
                .unwrap();
            for (found, expected) in parameter.to_vec1::<f64>()?.iter().zip(expected) {
                let error = (found - expected).abs();
                assert!(error < 1e-13, "{}, step {step}: {error:e}", case.name);
            }
        }
        assert_eq!(optimizer.updates("w"), case.parameters.len() as u64);
    }
    Ok(())
}

/// Saved after any step and restored into a new optimiser, training goes on with the same bits.
#[test]
fn state_survives() -> Result<()> {
    for case in cases() {
        let run = |saved_after: Option<usize>| -> Result<Vec<f64>> {
            let parameter = start()?;
            let parameters = BTreeMap::from([("w".to_string(), parameter.clone())]);
            let mut optimizer = Optimizer::new(&case.optimizer);
            for step in 0..5 {
                let gradient = gradient(step, &parameter)?;
                let rate = rate(&case.optimizer);
                optimizer.step("w", &parameter, &gradient, rate).unwrap();
                if Some(step) == saved_after {
                    let state = optimizer.state().unwrap();
                    optimizer = Optimizer::new(&case.optimizer);
                    optimizer.restore(&state, &parameters).unwrap();
                }
            }
            parameter.to_vec1()
        };
        let whole = run(None)?;
        for step in 0..4 {
            assert_eq!(run(Some(step))?, whole, "{}", case.name);
        }
    }
    Ok(())
}

#[test]
fn a_state_of_something_else_is_refused() -> Result<()> {
    let parameter = start()?;
    let parameters = BTreeMap::from([("w".to_string(), parameter.clone())]);
    let cases = cases();
    let (sgd, adamw) = (&cases[1].optimizer, &cases[3].optimizer);
    let mut optimizer = Optimizer::new(sgd);
    let gradient = gradient(0, &parameter)?;
    optimizer
        .step("w", &parameter, &gradient, rate(sgd))
        .unwrap();
    let state = optimizer.state().unwrap();
    let text = |result: taper_train::Result<()>| result.unwrap_err().to_string();
    let error = text(Optimizer::new(adamw).restore(&state, &parameters));
    assert!(error.contains("optimizer.mean.w"), "{error}");
    let other = Var::new(&[1f64], &Device::Cpu)?;
    let others = BTreeMap::from([("w".to_string(), other.clone())]);
    let error = text(Optimizer::new(sgd).restore(&state, &others));
    assert!(error.contains("optimizer.velocity.w"), "{error}");
    let renamed = BTreeMap::from([("v".to_string(), parameter)]);
    assert!(Optimizer::new(sgd).restore(&state, &renamed).is_err());
    Ok(())
}
