//! The three passes by type of number: the specification in f64, the fastest kernel in f32.

use super::cpu;
use super::geometry::Problem;
use super::select::Method;
use crate::simd::Level;

/// A type that convolutions compute in.
pub(crate) trait Convolve: Sized {
    /// The forward pass.
    fn forward(
        problem: &Problem,
        input: &[Self],
        weight: &[Self],
        bias: Option<&[Self]>,
    ) -> Vec<Self>;
    /// dx from the output's gradient.
    fn input_gradient(problem: &Problem, gradient: &[Self], weight: &[Self]) -> Vec<Self>;
    /// dw from the input and the output's gradient.
    fn weight_gradient(problem: &Problem, input: &[Self], gradient: &[Self]) -> Vec<Self>;
}

impl Convolve for f32 {
    fn forward(problem: &Problem, input: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        Method::choose(problem).forward(Level::best(), problem, input, weight, bias)
    }

    fn input_gradient(problem: &Problem, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
        Method::choose(problem).input_gradient(Level::best(), problem, gradient, weight)
    }

    fn weight_gradient(problem: &Problem, input: &[f32], gradient: &[f32]) -> Vec<f32> {
        Method::choose(problem).weight_gradient(Level::best(), problem, input, gradient)
    }
}

impl Convolve for f64 {
    fn forward(problem: &Problem, input: &[f64], weight: &[f64], bias: Option<&[f64]>) -> Vec<f64> {
        cpu::forward(problem, input, weight, bias)
    }

    fn input_gradient(problem: &Problem, gradient: &[f64], weight: &[f64]) -> Vec<f64> {
        cpu::input_gradient(problem, gradient, weight)
    }

    fn weight_gradient(problem: &Problem, input: &[f64], gradient: &[f64]) -> Vec<f64> {
        cpu::weight_gradient(problem, input, gradient)
    }
}
