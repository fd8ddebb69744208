//! Two-dimensional convolutions: the rows of the convolution report, and the fused block of a ResNet.

use super::{DIFFERENTIABLE, FORWARD, STAGES, count, text};
use crate::case::{Argument, Case, Tolerance, Work};
use serde_json::json;
use taper_kernels::{
    Activation, Conv2dGeometry, conv_bn_act, conv2d, conv2d_input_gradient, conv2d_weight_gradient,
};

/// A square convolution of a square map; padding keeps its size.
#[derive(Clone, Copy)]
struct Shape {
    batch: usize,
    channels: (usize, usize),
    side: usize,
    kernel: usize,
    stride: usize,
    groups: usize,
}

/// The rows of the convolution report.
const SHAPES: &[Shape] = &[
    shape(64, (16, 16), 32, 3, 1, 1),
    shape(64, (32, 32), 16, 3, 1, 1),
    shape(64, (64, 64), 8, 3, 1, 1),
    shape(64, (128, 128), 8, 3, 1, 1),
    shape(64, (32, 32), 32, 3, 1, 1),
    shape(16, (64, 64), 32, 3, 1, 1),
    shape(16, (128, 128), 28, 3, 1, 1),
    shape(64, (16, 32), 32, 3, 2, 1),
    shape(64, (32, 64), 16, 3, 2, 1),
    shape(64, (3, 16), 32, 3, 1, 1),
    shape(64, (16, 32), 32, 1, 2, 1),
    shape(32, (64, 128), 32, 1, 1, 1),
    shape(64, (16, 96), 16, 1, 1, 1),
    shape(64, (96, 24), 16, 1, 1, 1),
    shape(32, (64, 64), 32, 3, 1, 64),
    shape(64, (144, 144), 16, 3, 1, 144),
    shape(64, (192, 192), 16, 3, 1, 192),
    shape(32, (64, 64), 32, 3, 2, 64),
    shape(64, (144, 144), 16, 3, 2, 144),
    shape(64, (384, 384), 8, 3, 1, 384),
    shape(64, (32, 32), 16, 5, 1, 1),
    shape(64, (64, 64), 16, 3, 1, 4),
];

const fn shape(
    batch: usize,
    channels: (usize, usize),
    side: usize,
    kernel: usize,
    stride: usize,
    groups: usize,
) -> Shape {
    Shape {
        batch,
        channels,
        side,
        kernel,
        stride,
        groups,
    }
}

impl Shape {
    fn input(&self) -> [usize; 4] {
        [self.batch, self.channels.0, self.side, self.side]
    }

    fn weight(&self) -> [usize; 4] {
        let inputs = self.channels.0 / self.groups;
        [self.channels.1, inputs, self.kernel, self.kernel]
    }

    fn output(&self) -> [usize; 4] {
        let side = self.side.div_ceil(self.stride);
        [self.batch, self.channels.1, side, side]
    }

    fn geometry(&self) -> Conv2dGeometry {
        Conv2dGeometry::with(self.stride, self.kernel / 2).grouped(self.groups)
    }

    /// One of the three passes: each reads two of input, weight and output and writes the third.
    fn pass(&self) -> Work {
        let multiply_adds = count(&self.output()) * count(&self.weight()[1..]);
        let elements = count(&self.input()) + count(&self.weight()) + count(&self.output());
        Work {
            bytes: (4 * elements) as f64,
            flops: (2 * multiply_adds) as f64,
        }
    }

    fn size(&self) -> String {
        let kind = match self.groups {
            1 => String::new(),
            groups if groups == self.channels.0 => " depthwise".to_owned(),
            groups => format!(" groups {groups}"),
        };
        let stride = match self.stride {
            1 => String::new(),
            stride => format!(" stride {stride}"),
        };
        format!(
            "{}->{} {k}x{k}{stride}{kind}",
            text(&self.input()),
            self.channels.1,
            k = self.kernel
        )
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &shape in SHAPES {
        cases.extend([
            forward(shape),
            input_gradient(shape),
            weight_gradient(shape),
        ]);
    }
    cases.extend(STAGES.iter().map(fused));
    cases
}

fn options(shape: &Shape) -> serde_json::Value {
    json!({"stride": shape.stride, "padding": shape.kernel / 2, "groups": shape.groups,
           "input": shape.input(), "weight": shape.weight()})
}

fn forward(shape: Shape) -> Case {
    let (geometry, pass) = (shape.geometry(), shape.pass());
    Case {
        kernel: "conv2d",
        size: shape.size(),
        arguments: vec![
            Argument::learned("x", &shape.input()),
            Argument::learned("w", &shape.weight()),
        ],
        options: options(&shape),
        modes: DIFFERENTIABLE,
        forward: pass,
        training: pass.and(pass).and(pass),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(move |a| conv2d(&a[0], &a[1], None, &geometry)),
    }
}

fn input_gradient(shape: Shape) -> Case {
    let (geometry, [n, c, h, w]) = (shape.geometry(), shape.input());
    Case {
        kernel: "conv2d_input_gradient",
        size: shape.size(),
        arguments: vec![
            Argument::fixed("g", &shape.output()),
            Argument::fixed("w", &shape.weight()),
        ],
        options: options(&shape),
        modes: FORWARD,
        forward: shape.pass(),
        training: shape.pass(),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(move |a| conv2d_input_gradient(&a[0], &a[1], (n, c, h, w), &geometry)),
    }
}

fn weight_gradient(shape: Shape) -> Case {
    let (geometry, [k, c, h, w]) = (shape.geometry(), shape.weight());
    Case {
        kernel: "conv2d_weight_gradient",
        size: shape.size(),
        arguments: vec![
            Argument::fixed("x", &shape.input()),
            Argument::fixed("g", &shape.output()),
        ],
        options: options(&shape),
        modes: FORWARD,
        forward: shape.pass(),
        training: shape.pass(),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(move |a| conv2d_weight_gradient(&a[0], &a[1], (k, c, h, w), &geometry)),
    }
}

/// `relu(batch_norm(conv2d(x)) + residual)`, the second half of a ResNet's block.
fn fused(dims: &[usize; 4]) -> Case {
    let [batch, channels, side, _] = *dims;
    let shape = shape(batch, (channels, channels), side, 3, 1, 1);
    let (pass, elements) = (shape.pass(), count(dims));
    // Forward: normalise, add, clip. Backward: two more readings and one writing.
    let forward = pass.and(Work::passes(elements, 3, 4));
    let backward = pass.and(pass).and(Work::passes(elements, 5, 10));
    let geometry = shape.geometry();
    Case {
        kernel: "conv_bn_act",
        size: format!("{} + residual", shape.size()),
        arguments: vec![
            Argument::learned("x", dims),
            Argument::learned("w", &shape.weight()),
            Argument::learned("gamma", &[channels]),
            Argument::learned("beta", &[channels]),
            Argument::learned("residual", dims),
        ],
        options: options(&shape),
        modes: DIFFERENTIABLE,
        forward,
        training: forward.and(backward),
        tolerance: Tolerance::RECTIFIED,
        call: Box::new(move |a| {
            let act = Activation::Relu;
            Ok(conv_bn_act(
                &a[0],
                &a[1],
                &a[2],
                &a[3],
                Some(&a[4]),
                &geometry,
                1e-5,
                act,
            )?
            .0)
        }),
    }
}
