//! One thing to time: an operator, its arguments, and how much work it is.

use candle_core::{DType, Device, Result, Tensor, Var};
use serde::Serialize;
use serde_json::Value;
use taper_kernels::testing::uniform;

/// Which part of an operator's work is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The result alone, of arguments that are not tracked.
    Forward,
    /// The gradients from a gradient of ones; the forward pass is not timed.
    Backward,
    /// Result and gradients, as in training.
    ForwardBackward,
}

impl Mode {
    /// As in rows: `forward`, `backward`, `forward_backward`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::ForwardBackward => "forward_backward",
        }
    }
}

/// What an operator must do at least, however it is written.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Work {
    /// Bytes read and written.
    pub bytes: f64,
    /// Floating-point operations; a multiply-add counts as two.
    pub flops: f64,
}

impl Work {
    /// `tensors` passes over `elements` numbers of `f32`, with `flops` operations on each element.
    pub fn passes(elements: usize, tensors: usize, flops: usize) -> Self {
        Self {
            bytes: (4 * elements * tensors) as f64,
            flops: (elements * flops) as f64,
        }
    }

    /// This work and that.
    pub fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            flops: self.flops + other.flops,
        }
    }
}

/// The numbers an argument holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Values {
    /// Spread evenly from the first to the second.
    Uniform(f64, f64),
    /// `u32`, counting up and around below this number: 0, 1, …, 0, 1, …
    Counting(u32),
}

/// An argument of an operator.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument {
    /// Its name; the peer knows it by the same.
    pub name: &'static str,
    /// Its shape.
    pub dims: Vec<usize>,
    /// Its numbers.
    pub values: Values,
    /// Whether its gradient is wanted.
    pub learned: bool,
    /// Whether the operator changes it in place.
    pub changed: bool,
}

impl Argument {
    /// Between −1 and 1, gradient wanted.
    pub fn learned(name: &'static str, dims: &[usize]) -> Self {
        Self {
            learned: true,
            ..Self::fixed(name, dims)
        }
    }

    /// Between −1 and 1, no gradient.
    pub fn fixed(name: &'static str, dims: &[usize]) -> Self {
        Self {
            name,
            dims: dims.to_vec(),
            values: Values::Uniform(-1.0, 1.0),
            learned: false,
            changed: false,
        }
    }

    /// Between −1 and 1, changed in place.
    pub fn changed(name: &'static str, dims: &[usize]) -> Self {
        Self {
            changed: true,
            ..Self::fixed(name, dims)
        }
    }

    /// The same with other numbers.
    pub fn with(self, values: Values) -> Self {
        Self { values, ..self }
    }

    /// How many numbers it holds.
    pub fn elements(&self) -> usize {
        self.dims.iter().product()
    }
}

/// How far results may lie from the peer's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Largest difference, in parts of the root mean square of the peer's numbers.
    pub difference: f64,
    /// Share of the elements that may lie farther: those beside a kink, where rounding decides on the side.
    pub outliers: f64,
}

impl Tolerance {
    /// Rounding of long `f32` sums.
    pub const ROUNDING: Self = Self {
        difference: 1e-4,
        outliers: 0.0,
    };
    /// The same behind a rectifier: where a sum is near 0 its mask may differ, and what is added up over masked elements
    /// differs with it.
    pub const RECTIFIED: Self = Self {
        difference: 1e-2,
        outliers: 1e-4,
    };
}

/// The call to time.
pub type Call = Box<dyn Fn(&[Tensor]) -> Result<Tensor>>;

/// An operator at a size.
pub struct Case {
    /// The operator; the peer knows it by the same name.
    pub kernel: &'static str,
    /// Shape and settings, for people.
    pub size: String,
    /// What it is called with.
    pub arguments: Vec<Argument>,
    /// Settings for the peer.
    pub options: Value,
    /// What is timed.
    pub modes: &'static [Mode],
    /// Work of the forward pass.
    pub forward: Work,
    /// Work of forward and backward pass together.
    pub training: Work,
    /// How far the results may lie from the peer's.
    pub tolerance: Tolerance,
    /// Our operator.
    pub call: Call,
}

impl Case {
    /// The work of a mode.
    pub fn work(&self, mode: Mode) -> Work {
        match mode {
            Mode::Forward => self.forward,
            Mode::ForwardBackward => self.training,
            Mode::Backward => Work {
                bytes: self.training.bytes - self.forward.bytes,
                flops: self.training.flops - self.forward.flops,
            },
        }
    }

    /// New arguments, tracked where the mode needs gradients.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn arguments(&self, dtype: DType, device: &Device, tracked: bool) -> Result<Vec<Tensor>> {
        let make = |(index, argument): (usize, &Argument)| {
            let tensor = match argument.values {
                Values::Uniform(low, high) => {
                    // In f32 first, so that every precision and the peer have the same numbers.
                    uniform("taper_benches", index as u64, &argument.dims, low, high)?
                        .to_dtype(DType::F32)?
                        .to_dtype(dtype)?
                }
                Values::Counting(below) => {
                    let count = argument.elements() as u32;
                    Tensor::from_iter((0..count).map(|index| index % below), &Device::Cpu)?
                        .reshape(argument.dims.as_slice())?
                }
            };
            let tensor = tensor.to_device(device)?;
            if argument.changed || tracked && argument.learned {
                return Ok(Var::from_tensor(&tensor)?.as_tensor().clone());
            }
            Ok(tensor)
        };
        self.arguments.iter().enumerate().map(make).collect()
    }

    /// Whether gradients are part of it.
    pub fn differentiable(&self) -> bool {
        self.modes != [Mode::Forward]
    }

    /// What "result" and the gradients are called, in the order of [`results`](Self::results).
    pub fn result_names(&self) -> Vec<&'static str> {
        let learned = self.arguments.iter().filter(|argument| argument.learned);
        let gradients = learned.map(|argument| argument.name);
        std::iter::once("result")
            .chain(gradients.filter(|_| self.differentiable()))
            .collect()
    }

    /// Result, and the gradients of the sum of result · upstream for every learned argument, from fresh arguments.
    /// The last of the pair is the upstream gradient: uneven, so that no error hides behind a sum of zero.
    ///
    /// # Errors
    /// If the operator fails, or an argument that is to be learned gets no gradient.
    pub fn results(&self, dtype: DType, device: &Device) -> Result<(Vec<Vec<f64>>, Tensor)> {
        let arguments = self.arguments(dtype, device, self.differentiable())?;
        let result = (self.call)(&arguments)?;
        let upstream = uniform("taper_benches upstream", 0, result.dims(), -1.0, 1.0)?
            .to_dtype(DType::F32)?
            .to_dtype(result.dtype())?;
        let mut results = vec![numbers(&result)?];
        if self.differentiable() {
            let gradients = (&result * upstream.to_device(device)?)?
                .sum_all()?
                .backward()?;
            for (argument, tensor) in self.arguments.iter().zip(&arguments) {
                if argument.learned {
                    match gradients.get(tensor) {
                        Some(gradient) => results.push(numbers(gradient)?),
                        None => candle_core::bail!(
                            "{}: `{}` has no gradient",
                            self.kernel,
                            argument.name
                        ),
                    }
                }
            }
        }
        Ok((results, upstream))
    }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()
}
