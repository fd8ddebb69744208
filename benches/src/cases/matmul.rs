//! Matrix products: Candle's, which the kernels switch to AVX-512, and the linear layer on it.

use super::{DIFFERENTIABLE, FORWARD, count, text};
use crate::case::{Argument, Case, Tolerance, Work};
use serde_json::json;
use taper_kernels::linear;

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [vec![256, 256], vec![1024, 1024], vec![64, 256, 256]]
        .iter()
        .map(|dims| product(dims))
        .collect();
    cases.extend([[64, 256, 100], [256, 512, 512]].map(layer));
    cases
}

fn product(dims: &[usize]) -> Case {
    let elements = count(dims);
    let side = dims[dims.len() - 1];
    Case {
        kernel: "matmul",
        size: text(dims),
        arguments: vec![Argument::fixed("a", dims), Argument::fixed("b", dims)],
        options: json!({}),
        modes: FORWARD,
        forward: Work::passes(elements, 3, 2 * side),
        training: Work::passes(elements, 3, 2 * side),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(|a| a[0].matmul(&a[1])),
    }
}

fn layer([batch, inputs, outputs]: [usize; 3]) -> Case {
    let elements = batch * inputs + inputs * outputs + batch * outputs;
    let pass = Work {
        bytes: (4 * elements) as f64,
        flops: (2 * batch * inputs * outputs) as f64,
    };
    Case {
        kernel: "linear",
        size: format!("{batch}x{inputs}->{outputs}"),
        arguments: vec![
            Argument::learned("x", &[batch, inputs]),
            Argument::learned("weight", &[outputs, inputs]),
            Argument::learned("bias", &[outputs]),
        ],
        options: json!({}),
        modes: DIFFERENTIABLE,
        forward: pass,
        training: pass.and(pass).and(pass),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(|a| linear(&a[0], &a[1], Some(&a[2]))),
    }
}
