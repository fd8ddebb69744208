//! Pooling.

use super::{DIFFERENTIABLE, STAGES, count, text};
use crate::case::{Argument, Call, Case, Tolerance, Work};
use serde_json::{Value, json};
use taper_kernels::{
    Pool1dGeometry, Pool2dGeometry, adaptive_avg_pool2d, avg_pool1d, avg_pool2d, global_avg_pool2d,
    max_pool1d, max_pool2d,
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // The last is the size of the operators' report.
    for dims in STAGES.iter().chain([&[32, 64, 32, 32]]) {
        for (window, stride, padding) in [(2, 2, 0), (3, 2, 1)] {
            cases.push(windows(dims, window, stride, padding, true));
            cases.push(windows(dims, window, stride, padding, false));
        }
        cases.push(means(dims, 4));
        cases.push(means(dims, 1));
    }
    cases.push(lines(true));
    cases.push(lines(false));
    cases
}

/// Reads x and writes `outputs` elements forward; the other way round backward.
fn case(
    kernel: &'static str,
    size: String,
    dims: &[usize],
    outputs: usize,
    adds: usize,
    options: Value,
    call: Call,
) -> Case {
    let work = Work {
        bytes: (4 * (count(dims) + outputs)) as f64,
        flops: adds as f64,
    };
    Case {
        kernel,
        size,
        arguments: vec![Argument::learned("x", dims)],
        options,
        modes: DIFFERENTIABLE,
        forward: work,
        training: work.and(work),
        tolerance: Tolerance::ROUNDING,
        call,
    }
}

fn windows(dims: &[usize], window: usize, stride: usize, padding: usize, max: bool) -> Case {
    let side = (dims[2] + 2 * padding - window) / stride + 1;
    let outputs = dims[0] * dims[1] * side * side;
    let geometry = Pool2dGeometry::square(window, stride, padding);
    let size = format!("{} {window}x{window} stride {stride}", text(dims));
    let options = json!({"window": window, "stride": stride, "padding": padding});
    let (kernel, call): (_, Call) = if max {
        (
            "max_pool2d",
            Box::new(move |a| max_pool2d(&a[0], &geometry)),
        )
    } else {
        (
            "avg_pool2d",
            Box::new(move |a| avg_pool2d(&a[0], &geometry, true)),
        )
    };
    case(
        kernel,
        size,
        dims,
        outputs,
        outputs * window * window,
        options,
        call,
    )
}

fn means(dims: &[usize], side: usize) -> Case {
    let outputs = dims[0] * dims[1] * side * side;
    let (kernel, size, call): (_, _, Call) = if side == 1 {
        (
            "global_avg_pool2d",
            text(dims),
            Box::new(|a| global_avg_pool2d(&a[0])),
        )
    } else {
        let size = format!("{}->{side}x{side}", text(dims));
        (
            "adaptive_avg_pool2d",
            size,
            Box::new(move |a| adaptive_avg_pool2d(&a[0], (side, side))),
        )
    };
    case(
        kernel,
        size,
        dims,
        outputs,
        count(dims),
        json!({"side": side}),
        call,
    )
}

/// Windows of 3 at every second frame of an utterance batch.
fn lines(max: bool) -> Case {
    let dims = [16, 256, 400];
    let geometry = Pool1dGeometry::with(3, 2, 1);
    let outputs = dims[0] * dims[1] * 200;
    let (kernel, call): (_, Call) = if max {
        (
            "max_pool1d",
            Box::new(move |a| max_pool1d(&a[0], &geometry)),
        )
    } else {
        (
            "avg_pool1d",
            Box::new(move |a| avg_pool1d(&a[0], &geometry, true)),
        )
    };
    let size = format!("{} 3 stride 2", text(&dims));
    let options = json!({"window": 3, "stride": 2, "padding": 1});
    case(kernel, size, &dims, outputs, 3 * outputs, options, call)
}
