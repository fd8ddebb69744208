//! Optimiser steps, in place; the result is the parameter after the step.

use super::FORWARD;
use crate::case::{Argument, Call, Case, Tolerance, Values, Work};
use candle_core::{Tensor, Var};
use serde_json::json;
use taper_kernels::{AdamWHyper, SgdHyper, adamw_step, ema_step, sgd_step, squared_norm};

const LEARNING_RATE: f64 = 1e-3;
const WEIGHT_DECAY: f64 = 5e-4;
const MOMENTUM: f64 = 0.9;
/// Steps taken before the one that is timed.
const STEPS_BEFORE: u64 = 9;

pub(super) fn cases() -> Vec<Case> {
    [2_304, 1_000_000]
        .into_iter()
        .flat_map(|count| [sgd(count), adamw(count), ema(count), norm(count)])
        .collect()
}

fn case(
    kernel: &'static str,
    count: usize,
    arguments: Vec<Argument>,
    work: Work,
    call: Call,
) -> Case {
    Case {
        kernel,
        size: count.to_string(),
        arguments,
        options: json!({"learning_rate": LEARNING_RATE, "weight_decay": WEIGHT_DECAY, "momentum": MOMENTUM, "steps_before": STEPS_BEFORE}),
        modes: FORWARD,
        forward: work,
        training: work,
        tolerance: Tolerance::ROUNDING,
        call,
    }
}

fn sgd(count: usize) -> Case {
    let arguments = vec![
        Argument::changed("param", &[count]),
        Argument::fixed("grad", &[count]),
        Argument::fixed("velocity", &[count]),
    ];
    let hyper = SgdHyper {
        lr: LEARNING_RATE,
        momentum: MOMENTUM,
        weight_decay: WEIGHT_DECAY,
        ..SgdHyper::default()
    };
    let call = move |a: &[Tensor]| {
        sgd_step(&Var::from_tensor(&a[0])?, &a[1], &a[2], &hyper, false)?;
        Ok(a[0].clone())
    };
    case(
        "sgd_step",
        count,
        arguments,
        Work::passes(count, 5, 6),
        Box::new(call),
    )
}

fn adamw(count: usize) -> Case {
    let arguments = vec![
        Argument::changed("param", &[count]),
        Argument::fixed("grad", &[count]),
        Argument::fixed("exp_avg", &[count]),
        Argument::fixed("exp_avg_sq", &[count]).with(Values::Uniform(0.1, 1.0)),
    ];
    let hyper = AdamWHyper {
        lr: LEARNING_RATE,
        weight_decay: WEIGHT_DECAY,
        ..AdamWHyper::default()
    };
    let call = move |a: &[Tensor]| {
        adamw_step(
            &Var::from_tensor(&a[0])?,
            &a[1],
            &a[2],
            &a[3],
            &hyper,
            STEPS_BEFORE + 1,
        )?;
        Ok(a[0].clone())
    };
    case(
        "adamw_step",
        count,
        arguments,
        Work::passes(count, 7, 14),
        Box::new(call),
    )
}

fn ema(count: usize) -> Case {
    let arguments = ["average", "param"].map(|name| Argument::fixed(name, &[count]));
    let call = |a: &[Tensor]| {
        ema_step(&a[0], &a[1], MOMENTUM)?;
        Ok(a[0].clone())
    };
    case(
        "ema_step",
        count,
        arguments.into(),
        Work::passes(count, 3, 3),
        Box::new(call),
    )
}

fn norm(count: usize) -> Case {
    let arguments = vec![Argument::fixed("grad", &[count])];
    let call = |a: &[Tensor]| Tensor::new(squared_norm(&a[0])?, a[0].device());
    case(
        "squared_norm",
        count,
        arguments,
        Work::passes(count, 1, 2),
        Box::new(call),
    )
}
