//! Losses, with the gradient in the forward pass.

use super::{DIFFERENTIABLE, FUSED, text};
use crate::case::{Argument, Case, Tolerance, Values, Work};
use candle_core::{D, Tensor};
use serde_json::json;
use taper_kernels::{
    CtcOptions, CtcReduction, cross_entropy, ctc_loss, log_softmax, segment_match,
};

/// Slices of the student's expanded feature for each of the teacher's.
const SLICES: usize = 8;

pub(super) fn cases() -> Vec<Case> {
    // The taps of the published pairs at batch 64: channels and side of the teacher's map.
    let taps = [
        (64, 8),
        (128, 8),
        (256, 8),
        (512, 2),
        (512, 4),
        (2048, 2),
        (2048, 4),
        (256, 4),
        (128, 4),
    ];
    let mut cases = Vec::from(taps.map(matched));
    for dims in [[64, 100], [64, 1000], [2048, 1024]] {
        cases.push(log_probabilities(dims));
        cases.push(entropy(dims));
    }
    cases.push(alignments());
    cases
}

/// CTC behind a log-softmax: an utterance batch of a small recogniser.
fn alignments() -> Case {
    let (frames, batch, classes, labels) = (200, 16, 500, 30);
    let dims = [frames, batch, classes];
    let elements = frames * batch * classes;
    let (frames, labels) = (vec![frames; batch], vec![labels; batch]);
    let options = json!({"input_lengths": frames, "target_lengths": labels});
    let targets = [batch, labels[0]];
    let call = move |a: &[Tensor]| {
        // Label 0 is the blank.
        let targets = a[1].broadcast_add(&Tensor::new(1u32, a[1].device())?)?;
        let settings = CtcOptions {
            reduction: CtcReduction::Sum,
            ..CtcOptions::default()
        };
        ctc_loss(
            &log_softmax(&a[0], D::Minus1)?,
            &targets,
            &frames,
            &labels,
            &settings,
        )
    };
    Case {
        kernel: "ctc_loss",
        size: text(&dims),
        arguments: vec![
            Argument::learned("logits", &dims),
            Argument::fixed("targets", &targets).with(Values::Counting(classes as u32 - 1)),
        ],
        options,
        modes: DIFFERENTIABLE,
        // The log-softmax's passes; the sums over alignments are small beside them.
        forward: Work::passes(elements, 3, 14),
        training: Work::passes(elements, 7, 28),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(call),
    }
}

/// NORM's feature loss: reads E and the teacher, and writes E's gradient in training.
fn matched((channels, side): (usize, usize)) -> Case {
    let teacher = [64, channels, side, side];
    let expanded = [64, SLICES * channels, side, side];
    let elements: usize = teacher.iter().product();
    let forward = Work {
        bytes: (4 * elements * (SLICES + 1)) as f64,
        flops: (3 * elements * SLICES) as f64,
    };
    Case {
        kernel: "segment_match",
        size: text(&expanded),
        arguments: vec![
            Argument::learned("expanded", &expanded),
            Argument::fixed("teacher", &teacher),
        ],
        options: json!({"slices": SLICES}),
        modes: FUSED,
        forward,
        training: forward.and(Work::passes(elements * SLICES, 1, 1)),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(|a| segment_match(&a[0], &a[1], SLICES)),
    }
}

fn log_probabilities(dims: [usize; 2]) -> Case {
    let elements = dims[0] * dims[1];
    Case {
        kernel: "log_softmax",
        size: text(&dims),
        arguments: vec![Argument::learned("x", &dims)],
        options: json!({}),
        modes: DIFFERENTIABLE,
        // An exponential counts as ten.
        forward: Work::passes(elements, 2, 14),
        training: Work::passes(elements, 5, 28),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(|a| log_softmax(&a[0], D::Minus1)),
    }
}

fn entropy(dims: [usize; 2]) -> Case {
    let elements = dims[0] * dims[1];
    Case {
        kernel: "cross_entropy",
        size: text(&dims),
        arguments: vec![
            Argument::learned("logits", &dims),
            Argument::fixed("targets", &dims[..1]).with(Values::Counting(dims[1] as u32)),
        ],
        options: json!({"label_smoothing": 0.1}),
        modes: FUSED,
        forward: Work::passes(elements, 1, 14),
        training: Work::passes(elements, 2, 28),
        tolerance: Tolerance::ROUNDING,
        call: Box::new(|a| cross_entropy(&a[0], &a[1], 0.1)),
    }
}
