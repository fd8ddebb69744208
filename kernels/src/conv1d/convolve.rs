//! The three passes by type of number: the specification in f64, the fastest kernel in f32.

use crate::conv2d::{Convolve, Problem, line};
use crate::element::Element;
use crate::output::{CHUNK, for_each_chunk};

/// A type that convolutions along one axis compute in.
pub(super) trait Convolve1d: Element {
    /// The forward pass.
    fn forward(
        problem: &Problem,
        input: &[Self],
        weight: &[Self],
        bias: Option<&[Self]>,
    ) -> Vec<Self>;
    /// dx from the output's gradient, plus, for transposed convolution, a bias a channel.
    fn input_gradient(
        problem: &Problem,
        gradient: &[Self],
        weight: &[Self],
        bias: Option<&[Self]>,
    ) -> Vec<Self>;
    /// dw from the input and the output's gradient.
    fn weight_gradient(problem: &Problem, input: &[Self], gradient: &[Self]) -> Vec<Self>;
}

impl Convolve1d for f32 {
    fn forward(problem: &Problem, input: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        line::forward(problem, input, weight, bias)
    }

    fn input_gradient(
        problem: &Problem,
        gradient: &[f32],
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Vec<f32> {
        let values = line::input_gradient(problem, gradient, weight);
        with_bias(values, bias, problem.input.1)
    }

    fn weight_gradient(problem: &Problem, input: &[f32], gradient: &[f32]) -> Vec<f32> {
        Convolve::weight_gradient(problem, input, gradient)
    }
}

impl Convolve1d for f64 {
    fn forward(problem: &Problem, input: &[f64], weight: &[f64], bias: Option<&[f64]>) -> Vec<f64> {
        Convolve::forward(problem, input, weight, bias)
    }

    fn input_gradient(
        problem: &Problem,
        gradient: &[f64],
        weight: &[f64],
        bias: Option<&[f64]>,
    ) -> Vec<f64> {
        let values = Convolve::input_gradient(problem, gradient, weight);
        with_bias(values, bias, problem.input.1)
    }

    fn weight_gradient(problem: &Problem, input: &[f64], gradient: &[f64]) -> Vec<f64> {
        Convolve::weight_gradient(problem, input, gradient)
    }
}

/// `values` plus a bias a channel, if there is one.
fn with_bias<T: Element>(mut values: Vec<T>, bias: Option<&[T]>, length: usize) -> Vec<T> {
    if let Some(bias) = bias {
        add_bias(&mut values, bias, length);
    }
    values
}

/// Adds `bias[channel]` to every element of `values` `[batch, channels, length]`.
fn add_bias<T: Element>(values: &mut [T], bias: &[T], length: usize) {
    let rows = (CHUNK / length.max(1)).max(1);
    for_each_chunk(values, rows * length, |chunk, values| {
        for (row, values) in values.chunks_mut(length).enumerate() {
            let bias = bias[(chunk * rows + row) % bias.len()];
            for value in values {
                *value += bias;
            }
        }
    });
}
