//! Catch-Up Distillation's arithmetic: one pass each over states, velocities and targets.

use super::{DIFFERENTIABLE, FORWARD, FUSED, count, text};
use crate::case::{Argument, Case, Tolerance, Values, Work};
use candle_core::{DType, Tensor};
use serde_json::json;
use taper_kernels::{
    CatchUpWeights, SamplerStep, StageRule, catchup_loss, interpolate, rk_step, sampler_update,
};

/// A batch of CIFAR images, and 64 MiB a tensor, where the caches do not help.
const SIZES: [[usize; 4]; 2] = [[128, 3, 32, 32], [256, 64, 32, 32]];
const SLOPES: [&str; 4] = ["k1", "k2", "k3", "k4"];
const PREDICTIONS: [&str; 3] = ["p1", "p2", "p3"];
const TARGETS: [&str; 3] = ["u1", "u2", "u3"];
const STEP: SamplerStep = SamplerStep {
    h: 0.0625,
    t: 0.5,
    clamp: Some((-1.0, 1.0)),
};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for dims in &SIZES {
        cases.push(interpolated(dims));
        cases.extend((1..=4).map(|order| states(dims, order)));
        cases.extend([1, 3].map(|heads| loss(dims, heads)));
        cases.push(sampled(dims));
    }
    cases
}

fn times(name: &'static str, dims: &[usize]) -> Argument {
    Argument::fixed(name, &dims[..1]).with(Values::Uniform(0.0, 1.0))
}

/// x_t and g of data and noise.
fn interpolated(dims: &[usize]) -> Case {
    let elements = count(dims);
    let forward = Work::passes(elements, 4, 4);
    Case {
        kernel: "interpolate",
        size: text(dims),
        arguments: vec![
            Argument::learned("x", dims),
            Argument::learned("z", dims),
            times("t", dims),
        ],
        options: json!({}),
        modes: DIFFERENTIABLE,
        forward,
        // Of x_t alone: its gradient is read, two are written.
        training: forward.and(Work::passes(elements, 3, 2)),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(|a| Ok(interpolate(&a[0], &a[1], &a[2])?.0)),
    }
}

/// Slope weights of each state and how many steps it lies away, by the published rule.
fn rule(order: usize) -> (Vec<Vec<f64>>, Vec<f64>) {
    let slope: &[f64] = match order {
        1 => &[1.0],
        2 => &[0.5, 0.5],
        3 => &[5.0 / 12.0, 8.0 / 12.0, -1.0 / 12.0],
        _ => {
            return (
                vec![vec![1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0]],
                vec![1.0],
            );
        }
    };
    (
        vec![slope.to_vec(); order],
        (1..=order).map(|step| step as f64).collect(),
    )
}

/// All states of a step; the last is compared.
fn states(dims: &[usize], order: usize) -> Case {
    let (weights, steps) = rule(order);
    let states = steps.len();
    let slopes = SLOPES[..order]
        .iter()
        .map(|name| Argument::fixed(name, dims));
    let mut arguments = vec![Argument::fixed("x", dims)];
    arguments.extend(slopes);
    arguments.push(times("dt", dims));
    let work = Work::passes(count(dims), 1 + order + states, 2 * states * (order + 1));
    let call = move |a: &[Tensor]| {
        let slopes: Vec<&Tensor> = a[1..=order].iter().collect();
        let mut states = rk_step(&a[0], &slopes, &a[order + 1], StageRule::Paper)?;
        Ok(states.swap_remove(states.len() - 1))
    };
    Case {
        kernel: "rk_step",
        size: format!("{} order {order}", text(dims)),
        arguments,
        options: json!({"order": order, "weights": weights, "steps": steps}),
        modes: FORWARD,
        forward: work,
        training: work,
        tolerance: Tolerance::ROUNDING,
        call: Box::new(call),
    }
}

/// Every head against its target and the true velocity; every second sample masked.
fn loss(dims: &[usize], heads: usize) -> Case {
    let mut arguments: Vec<_> = PREDICTIONS[..heads]
        .iter()
        .map(|name| Argument::learned(name, dims))
        .collect();
    arguments.extend(
        TARGETS[..heads]
            .iter()
            .map(|name| Argument::fixed(name, dims)),
    );
    arguments.push(Argument::fixed("velocity", dims));
    arguments.push(Argument::fixed("mask", &dims[..1]).with(Values::Counting(2)));
    let elements = count(dims);
    // Targets of masked samples, one half, are not read.
    let read = Work {
        bytes: 4.0 * elements as f64 * (1.5 * heads as f64 + 1.0),
        flops: (8 * elements * heads) as f64,
    };
    let call = move |a: &[Tensor]| {
        let (predictions, rest) = a.split_at(heads);
        let mask = rest[heads + 1].to_dtype(DType::U8)?;
        let ones = [1.0; 3];
        let weights = CatchUpWeights {
            catch_up: &ones[..heads],
            truth: &ones[..heads],
            samples: None,
        };
        catchup_loss(
            &predictions.iter().collect::<Vec<_>>(),
            &rest[..heads].iter().collect::<Vec<_>>(),
            &rest[heads],
            Some(&mask),
            &weights,
        )
    };
    Case {
        kernel: "catchup_loss",
        size: format!("{} heads {heads}", text(dims)),
        arguments,
        options: json!({"heads": heads}),
        modes: FUSED,
        forward: read,
        training: read.and(Work::passes(elements * heads, 1, 3)),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(call),
    }
}

/// Euler's rule with the estimate of the data clamped.
fn sampled(dims: &[usize]) -> Case {
    let work = Work::passes(count(dims), 3, 8);
    Case {
        kernel: "sampler_update",
        size: format!("{} clamped", text(dims)),
        arguments: vec![Argument::fixed("x", dims), Argument::fixed("v", dims)],
        options: json!({"h": STEP.h, "t": STEP.t}),
        modes: FORWARD,
        forward: work,
        training: work,
        tolerance: Tolerance::ROUNDING,
        call: Box::new(|a| sampler_update(&a[0], &a[1], None, &STEP)),
    }
}
