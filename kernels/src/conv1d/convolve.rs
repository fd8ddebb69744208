//! The three passes by type of number: the specification in f64, the fastest kernel in f32.

use crate::conv2d::{Convolve, Problem};
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

impl<T: Element + Convolve> Convolve1d for T {
    fn forward(problem: &Problem, input: &[T], weight: &[T], bias: Option<&[T]>) -> Vec<T> {
        <T as Convolve>::forward(problem, input, weight, bias)
    }

    fn input_gradient(
        problem: &Problem,
        gradient: &[T],
        weight: &[T],
        bias: Option<&[T]>,
    ) -> Vec<T> {
        let mut values = <T as Convolve>::input_gradient(problem, gradient, weight);
        if let Some(bias) = bias {
            add_bias(&mut values, bias, problem.input.1);
        }
        values
    }

    fn weight_gradient(problem: &Problem, input: &[T], gradient: &[T]) -> Vec<T> {
        <T as Convolve>::weight_gradient(problem, input, gradient)
    }
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
