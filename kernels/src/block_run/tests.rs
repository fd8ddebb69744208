//! Runs in blocks of channels against the same runs by separate operators in f64.

use super::{Norm, Unit, View, block_run, composed};
use crate::testing::uniform;
use crate::{Activation, Conv2dGeometry, threads};
use View::{Normed, Raw};
use candle_core::backprop::GradStore;
use candle_core::{DType, Result, Tensor, Var};

/// One unit: input, (out, in/groups, kernel), geometry, what is added, and the norm's (residual, activation).
#[derive(Clone)]
struct Plan {
    input: View,
    weight: (usize, usize, usize),
    geometry: Conv2dGeometry,
    add: Option<View>,
    norm: Option<(Option<View>, Activation)>,
}

fn unit(input: View, weight: (usize, usize, usize), stride: usize) -> Plan {
    Plan {
        input,
        weight,
        geometry: Conv2dGeometry::with(stride, weight.2 / 2),
        add: None,
        norm: Some((None, Activation::Relu)),
    }
}

impl Plan {
    fn residual(self, view: View, activation: Activation) -> Self {
        let norm = Some((Some(view), activation));
        Self { norm, ..self }
    }

    fn activation(self, activation: Activation) -> Self {
        let norm = Some((None, activation));
        Self { norm, ..self }
    }

    fn add(self, view: View) -> Self {
        Self {
            add: Some(view),
            norm: None,
            ..self
        }
    }

    fn depthwise(self) -> Self {
        Self {
            geometry: self.geometry.grouped(self.weight.0),
            ..self
        }
    }
}

/// A run and its random operands.
struct Case {
    name: &'static str,
    input: [usize; 4],
    input_norm: bool,
    units: Vec<Plan>,
}

struct Operands {
    input: Var,
    /// Weight, gamma and beta of each value; the first has no weight.
    parameters: Vec<(Option<Var>, NormParameters)>,
}

/// Gamma and beta.
type NormParameters = Option<(Var, Var)>;

fn variable(shape: &[usize], seed: u64, around: f64, dtype: DType) -> Result<Var> {
    // The same numbers in both types: what f32 holds.
    let tensor = uniform("operand", seed, shape, around - 1.0, around + 1.0)?;
    Var::from_tensor(&tensor.to_dtype(DType::F32)?.to_dtype(dtype)?)
}

impl Case {
    fn operands(&self, dtype: DType) -> Result<Operands> {
        let norm = |channels: usize, seed: u64| -> Result<_> {
            Ok((
                variable(&[channels], seed, 1.5, dtype)?,
                variable(&[channels], seed + 1, 0.0, dtype)?,
            ))
        };
        let mut parameters = vec![(
            None,
            self.input_norm
                .then(|| norm(self.input[1], 90))
                .transpose()?,
        )];
        for (index, unit) in self.units.iter().enumerate() {
            let (out, inputs, kernel) = unit.weight;
            let seed = 100 + 10 * index as u64;
            let weight = variable(&[out, inputs, kernel, kernel], seed, 0.0, dtype)?;
            let norm = unit.norm.map(|_| norm(out, seed + 1)).transpose()?;
            parameters.push((Some(weight), norm));
        }
        Ok(Operands {
            input: variable(&self.input, 1, 0.3, dtype)?,
            parameters,
        })
    }

    /// The result, the statistics' means and variances, and the gradients of a weighted sum.
    fn run(&self, operands: &Operands, separate: bool) -> Result<Vec<(String, Tensor)>> {
        let norm = |index: usize, (residual, activation)| {
            operands.parameters[index]
                .1
                .as_ref()
                .map(|(gamma, beta)| Norm {
                    gamma,
                    beta,
                    eps: 1e-5,
                    residual,
                    activation,
                })
        };
        let units: Vec<Unit> = self
            .units
            .iter()
            .enumerate()
            .map(|(index, plan)| Unit {
                input: plan.input,
                weight: operands.parameters[index + 1].0.as_ref().unwrap(),
                geometry: plan.geometry,
                add: plan.add,
                norm: plan.norm.and_then(|found| norm(index + 1, found)),
            })
            .collect();
        let input_norm = norm(0, (None, Activation::Relu));
        let (y, statistics) = match separate {
            true => composed::run(&operands.input, input_norm.as_ref(), &units)?,
            false => block_run(&operands.input, input_norm.as_ref(), &units)?,
        };
        let factors = uniform("factors", 0, y.dims(), -1.0, 1.0)?.to_dtype(DType::F32)?;
        let loss = (&y * factors.to_dtype(y.dtype())?)?.sum_all()?;
        let gradients = loss.backward()?;
        let mut all = vec![("output".to_owned(), y)];
        for (index, statistics) in statistics.into_iter().enumerate() {
            if let Some(statistics) = statistics {
                all.push((format!("mean {index}"), statistics.mean));
                all.push((format!("variance {index}"), statistics.variance));
            }
        }
        let get = |gradients: &GradStore, var: &Var| {
            gradients
                .get(var)
                .cloned()
                .map_or_else(|| var.zeros_like(), Ok)
        };
        all.push(("d input".into(), get(&gradients, &operands.input)?));
        for (index, (weight, norm)) in operands.parameters.iter().enumerate() {
            if let Some(weight) = weight {
                all.push((format!("d weight {index}"), get(&gradients, weight)?));
            }
            if let Some((gamma, beta)) = norm {
                all.push((format!("d gamma {index}"), get(&gradients, gamma)?));
                all.push((format!("d beta {index}"), get(&gradients, beta)?));
            }
        }
        Ok(all)
    }
}

fn cases() -> Vec<Case> {
    let none = Activation::None;
    let relu = Activation::Relu;
    let mut cases = Vec::new();
    let mut case = |name, input, input_norm, units| {
        cases.push(Case {
            name,
            input,
            input_norm,
            units,
        });
    };
    let basic = |channels: usize, from: View, first: usize| {
        vec![
            unit(from, (channels, channels, 3), 1),
            unit(Normed(first), (channels, channels, 3), 1).residual(from, relu),
        ]
    };
    case(
        "one convolution",
        [2, 16, 8, 8],
        false,
        vec![unit(Raw(0), (32, 16, 3), 1)],
    );
    case("a basic block", [3, 16, 8, 8], false, basic(16, Raw(0), 1));
    case(
        "a basic block of strips",
        [1, 16, 32, 28],
        false,
        basic(16, Raw(0), 1),
    );
    case(
        "a basic block of many tiles",
        [24, 16, 9, 16],
        false,
        basic(16, Raw(0), 1),
    );
    case("odd maps", [2, 32, 9, 7], false, basic(32, Raw(0), 1));
    case(
        "channels beside blocks",
        [2, 12, 6, 5],
        false,
        basic(12, Raw(0), 1),
    );
    let mut stage = vec![
        unit(Raw(0), (32, 16, 1), 2).activation(none),
        unit(Raw(0), (32, 16, 3), 2),
        unit(Normed(2), (32, 32, 3), 1).residual(Normed(1), relu),
    ];
    stage.extend(basic(32, Normed(3), 4));
    case(
        "a stage with a projection",
        [3, 16, 16, 16],
        false,
        stage.clone(),
    );
    case("the stage on odd maps", [2, 16, 15, 9], false, stage);
    case(
        "a bottleneck",
        [2, 64, 8, 8],
        false,
        vec![
            unit(Raw(0), (16, 64, 1), 1),
            unit(Normed(1), (16, 16, 3), 1),
            unit(Normed(2), (64, 16, 1), 1).residual(Raw(0), relu),
        ],
    );
    let before = |unit: Plan| unit;
    case(
        "norms before convolutions",
        [2, 16, 8, 8],
        true,
        vec![
            before(unit(Normed(0), (32, 16, 3), 2)),
            Plan {
                norm: None,
                ..unit(Normed(0), (32, 16, 1), 2)
            },
            Plan {
                norm: Some((None, relu)),
                ..unit(Normed(1), (32, 32, 3), 1).add(Raw(2))
            },
            unit(Normed(3), (32, 32, 3), 1),
            unit(Normed(4), (32, 32, 3), 1).add(Raw(3)),
        ],
    );
    let inverted = |input: View, (inputs, inner, outputs): (usize, usize, usize), first, stride| {
        vec![
            unit(input, (inner, inputs, 1), 1),
            unit(Normed(first), (inner, 1, 3), stride).depthwise(),
            unit(Normed(first + 1), (outputs, inner, 1), 1).activation(none),
        ]
    };
    let mut two = inverted(Raw(0), (12, 72, 20), 1, 2);
    let mut second = inverted(Normed(3), (20, 120, 20), 4, 1);
    second[2] = second[2].clone().residual(Normed(3), none);
    two.extend(second);
    case("inverted residuals", [2, 12, 10, 8], false, two);
    case(
        "a value used by its own residual, and one by nobody",
        [2, 16, 5, 5],
        true,
        vec![
            unit(Normed(0), (16, 16, 1), 1).residual(Normed(0), relu),
            unit(Normed(1), (48, 16, 3), 1),
            unit(Normed(1), (16, 16, 3), 1).residual(Normed(1), none),
        ],
    );
    case(
        "an added normed value",
        [2, 16, 6, 6],
        true,
        vec![unit(Normed(0), (16, 16, 3), 1).add(Normed(0))],
    );
    cases
}

/// The largest error of any element, relative to the root mean square of what is expected.
fn error(found: &Tensor, expected: &Tensor) -> Result<f64> {
    let wide = |tensor: &Tensor| tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>();
    assert_eq!(found.dims(), expected.dims());
    let (found, expected) = (wide(found)?, wide(expected)?);
    let square: f64 = expected.iter().map(|value| value * value).sum();
    let scale = (square / expected.len().max(1) as f64).sqrt().max(1e-3);
    let errors = found
        .iter()
        .zip(&expected)
        .map(|(a, b)| (a - b).abs() / scale);
    Ok(errors.fold(0.0, |worst, error| {
        if error > worst || error.is_nan() {
            error
        } else {
            worst
        }
    }))
}

#[test]
fn runs_equal_separate_operators() -> Result<()> {
    for case in cases() {
        let found = case.run(&case.operands(DType::F32)?, false)?;
        let single = case.run(&case.operands(DType::F32)?, true)?;
        let expected = case.run(&case.operands(DType::F64)?, true)?;
        assert_eq!(found.len(), expected.len());
        for ((found, single), expected) in found.iter().zip(&single).zip(&expected) {
            let (ours, theirs) = (
                error(&found.1, &expected.1)?,
                error(&single.1, &expected.1)?,
            );
            // A rectifier that rounding switches moves a gradient; the separate operators suffer the same.
            assert!(
                ours <= 2e-4 + 4.0 * theirs,
                "{}: {}: error {ours}, of separate operators {theirs}",
                case.name,
                found.0
            );
        }
    }
    Ok(())
}

#[test]
fn results_do_not_depend_on_the_thread_count() -> Result<()> {
    for case in cases() {
        let mut all = Vec::new();
        for count in [1, 2, 5] {
            threads::set_threads(count);
            let found = case.run(&case.operands(DType::F32)?, false)?;
            let values = found
                .iter()
                .map(|(_, tensor)| tensor.flatten_all()?.to_vec1::<f32>())
                .collect::<Result<Vec<_>>>()?;
            all.push(values);
        }
        threads::set_threads(0);
        assert!(
            all.windows(2).all(|pair| pair[0] == pair[1]),
            "{}",
            case.name
        );
    }
    Ok(())
}
