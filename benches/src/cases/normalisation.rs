//! Batch norm in training and evaluation.

use super::{DIFFERENTIABLE, STAGES, count, text};
use crate::case::{Argument, Case, Tolerance, Values, Work};
use candle_core::Tensor;
use serde_json::json;
use taper_kernels::{Activation, batch_norm_eval, batch_norm_train};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for dims in STAGES.iter().chain([&[32, 64, 32, 32]]) {
        for (relu, residual) in [(false, false), (true, false), (true, true)] {
            cases.push(train(dims, relu, residual));
        }
        cases.push(eval(dims));
    }
    cases
}

fn activation(relu: bool) -> Activation {
    if relu {
        Activation::Relu
    } else {
        Activation::None
    }
}

fn size(dims: &[usize], relu: bool, residual: bool) -> String {
    let mut size = text(dims);
    for (has, what) in [(residual, " + residual"), (relu, " + relu")] {
        if has {
            size += what;
        }
    }
    size
}

fn train(dims: &[usize], relu: bool, residual: bool) -> Case {
    let elements = count(dims);
    let mut arguments = vec![
        Argument::learned("x", dims),
        Argument::learned("weight", &dims[1..2]),
        Argument::learned("bias", &dims[1..2]),
    ];
    if residual {
        arguments.push(Argument::learned("residual", dims));
    }
    let (more, clipped) = (usize::from(residual), usize::from(relu));
    // Forward: the statistics read x, the result reads it again (and the residual) and is written.
    let forward = Work::passes(elements, 3 + more, 8 + more + clipped);
    // Backward: x and the gradient (and the result, for the rectifier's mask) are read for the sums and again
    // for the gradient; it and the residual's are written.
    let backward = Work::passes(elements, 5 + 2 * clipped + more, 10 + 2 * clipped);
    Case {
        kernel: "batch_norm_train",
        size: size(dims, relu, residual),
        arguments,
        options: json!({"relu": relu}),
        modes: DIFFERENTIABLE,
        forward,
        training: forward.and(backward),
        tolerance: if relu {
            Tolerance::RECTIFIED
        } else {
            Tolerance::ROUNDING
        },
        call: Box::new(move |a: &[Tensor]| {
            Ok(batch_norm_train(&a[0], &a[1], &a[2], a.get(3), 1e-5, activation(relu))?.0)
        }),
    }
}

fn eval(dims: &[usize]) -> Case {
    let elements = count(dims);
    let forward = Work::passes(elements, 2, 3);
    let channel = |name| Argument::fixed(name, &dims[1..2]);
    Case {
        kernel: "batch_norm_eval",
        size: size(dims, true, false),
        arguments: vec![
            Argument::learned("x", dims),
            Argument::learned("weight", &dims[1..2]),
            Argument::learned("bias", &dims[1..2]),
            channel("running_mean"),
            channel("running_var").with(Values::Uniform(0.5, 1.5)),
        ],
        options: json!({"relu": true}),
        modes: DIFFERENTIABLE,
        forward,
        training: forward.and(Work::passes(elements, 4, 6)),
        tolerance: Tolerance::RECTIFIED,
        call: Box::new(|a| {
            batch_norm_eval(
                &a[0],
                &a[1],
                &a[2],
                &a[3],
                &a[4],
                None,
                1e-5,
                Activation::Relu,
            )
        }),
    }
}
