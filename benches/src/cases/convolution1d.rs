//! One-dimensional convolutions: depthwise as in a Conformer, strided and transposed as in SEGAN.

use super::{DIFFERENTIABLE, FORWARD, count, text};
use crate::case::{Argument, Case, Tolerance, Work};
use serde_json::json;
use taper_kernels::{
    Conv1dGeometry, ConvTranspose1dGeometry, conv_transpose1d, conv1d, conv1d_input_gradient,
    conv1d_weight_gradient,
};

/// A convolution that keeps the length (divided by the stride).
#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    channels: (usize, usize),
    length: usize,
    kernel: usize,
    stride: usize,
    groups: usize,
}

const SHAPES: [Shape; 4] = [
    depthwise(15),
    depthwise(31),
    Shape {
        batch: 4,
        channels: (256, 256),
        length: 200,
        kernel: 3,
        stride: 1,
        groups: 1,
    },
    Shape {
        batch: 8,
        channels: (32, 64),
        length: 4096,
        kernel: 31,
        stride: 2,
        groups: 1,
    },
];

const fn depthwise(kernel: usize) -> Shape {
    Shape {
        batch: 4,
        channels: (256, 256),
        length: 200,
        kernel,
        stride: 1,
        groups: 256,
    }
}

impl Shape {
    fn input(&self) -> [usize; 3] {
        [self.batch, self.channels.0, self.length]
    }

    fn weight(&self) -> [usize; 3] {
        [self.channels.1, self.channels.0 / self.groups, self.kernel]
    }

    fn output(&self) -> [usize; 3] {
        [self.batch, self.channels.1, self.length / self.stride]
    }

    fn pass(&self) -> Work {
        let multiply_adds = count(&self.output()) * count(&self.weight()[1..]);
        let elements = count(&self.input()) + count(&self.weight()) + count(&self.output());
        Work {
            bytes: (4 * elements) as f64,
            flops: (2 * multiply_adds) as f64,
        }
    }

    fn case(self, kernel: &'static str, arguments: Vec<Argument>, call: crate::case::Call) -> Case {
        let pass = self.pass();
        let differentiable = arguments.iter().any(|argument| argument.learned);
        let depthwise = if self.groups > 1 { " depthwise" } else { "" };
        let stride = match self.stride {
            1 => String::new(),
            stride => format!(" stride {stride}"),
        };
        Case {
            kernel,
            size: format!(
                "{}->{} k{}{stride}{depthwise}",
                text(&self.input()),
                self.channels.1,
                self.kernel
            ),
            arguments,
            options: json!({"stride": self.stride, "padding": self.kernel / 2, "groups": self.groups,
                "output_padding": self.stride - 1, "input": self.input(), "weight": self.weight()}),
            modes: if differentiable {
                DIFFERENTIABLE
            } else {
                FORWARD
            },
            forward: pass,
            training: pass.and(pass).and(pass),
            tolerance: Tolerance::ROUNDING,
            call,
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in SHAPES {
        let geometry = Conv1dGeometry::with(shape.stride, shape.kernel / 2).grouped(shape.groups);
        let ([n, c, l], [k, g, t]) = (shape.input(), shape.weight());
        let forward = vec![
            Argument::learned("x", &shape.input()),
            Argument::learned("w", &shape.weight()),
        ];
        let of_input = vec![
            Argument::fixed("g", &shape.output()),
            Argument::fixed("w", &shape.weight()),
        ];
        let of_weight = vec![
            Argument::fixed("x", &shape.input()),
            Argument::fixed("g", &shape.output()),
        ];
        cases.extend([
            shape.case(
                "conv1d",
                forward,
                Box::new(move |a| conv1d(&a[0], &a[1], None, &geometry)),
            ),
            shape.case(
                "conv1d_input_gradient",
                of_input,
                Box::new(move |a| conv1d_input_gradient(&a[0], &a[1], (n, c, l), &geometry)),
            ),
            shape.case(
                "conv1d_weight_gradient",
                of_weight,
                Box::new(move |a| conv1d_weight_gradient(&a[0], &a[1], (k, g, t), &geometry)),
            ),
        ]);
    }
    cases.push(transposed(SHAPES[3]));
    cases
}

/// The way back: from the output's size to the input's, with the same weight.
fn transposed(shape: Shape) -> Case {
    let geometry = ConvTranspose1dGeometry {
        output_padding: shape.stride - 1,
        ..ConvTranspose1dGeometry::with(shape.stride, shape.kernel / 2)
    };
    let arguments = vec![
        Argument::learned("x", &shape.output()),
        Argument::learned("w", &shape.weight()),
    ];
    let call = move |a: &[candle_core::Tensor]| conv_transpose1d(&a[0], &a[1], None, &geometry);
    Case {
        size: format!(
            "{}->{} k{} stride {}",
            text(&shape.output()),
            shape.channels.0,
            shape.kernel,
            shape.stride
        ),
        ..shape.case("conv_transpose1d", arguments, Box::new(call))
    }
}
