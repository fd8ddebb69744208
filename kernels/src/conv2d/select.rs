//! Which kernel computes a pass in f32.

use super::geometry::Problem;
use super::transfer::{PlaneSink, PlaneSource, written};
use super::{blocked, cpu, depthwise, direct, winograd};
use crate::simd::Level;
use crate::threads::Shared;
use std::sync::atomic::{AtomicBool, Ordering};

static EXACT: AtomicBool = AtomicBool::new(false);

/// Chooses, for all later calls, whether f32 convolutions keep to direct sums.
///
/// Winograd's F(4×4, 3×3) (the default for 3×3 kernels of stride 1) is about twice as fast and
/// has about five times the rounding error of a direct sum: 1e-6 of the result's root mean square.
pub fn set_exact(exact: bool) {
    EXACT.store(exact, Ordering::Relaxed);
}

/// Do f32 convolutions keep to direct sums?
pub fn exact() -> bool {
    EXACT.load(Ordering::Relaxed)
}

/// The kernels there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Plain loops.
    Plain,
    Winograd,
    Depthwise,
    Blocked,
    Direct,
}

impl Method {
    /// The fastest method for `problem`, of those that are exact enough.
    pub(super) fn choose(problem: &Problem) -> Self {
        if problem.input_len() == 0 || problem.weight_len() == 0 {
            Self::Plain
        } else if !exact() && winograd::suits(problem) {
            Self::Winograd
        } else if depthwise::suits(problem) {
            Self::Depthwise
        } else if blocked::suits(problem) {
            Self::Blocked
        } else {
            Self::Direct
        }
    }

    pub(super) fn forward(
        self,
        level: Level,
        p: &Problem,
        x: &[f32],
        w: &[f32],
        bias: Option<&[f32]>,
    ) -> Vec<f32> {
        let source = inputs(p, x);
        // SAFETY: the kernels write every output.
        let through_sink = |run: &dyn Fn(&[f32], &PlaneSink)| unsafe {
            written(p.output_len(), |values| {
                run(bias.unwrap_or(&[]), &outputs_at(p, values));
            })
        };
        match self {
            Self::Plain => cpu::forward(p, x, w, bias),
            Self::Winograd => {
                through_sink(&|bias, sink| winograd::forward(level, p, &source, w, bias, sink))
            }
            Self::Depthwise => {
                through_sink(&|bias, sink| depthwise::forward(level, p, &source, w, bias, sink))
            }
            // Reading every second pixel is cheaper than turning all of them.
            Self::Blocked if p.taps() == 1 => direct::forward(level, p, x, w, bias),
            Self::Blocked => {
                through_sink(&|bias, sink| blocked::forward(level, p, &source, w, bias, sink))
            }
            Self::Direct => direct::forward(level, p, x, w, bias),
        }
    }

    pub(super) fn input_gradient(
        self,
        level: Level,
        p: &Problem,
        dy: &[f32],
        w: &[f32],
    ) -> Vec<f32> {
        let source = outputs(p, dy);
        // SAFETY: the kernels write every element of the input's gradient.
        let through_sink = |run: &dyn Fn(&PlaneSink)| unsafe {
            written(p.input_len(), |values| run(&inputs_at(p, values)))
        };
        match self {
            Self::Plain => cpu::input_gradient(p, dy, w),
            Self::Winograd => {
                through_sink(&|sink| winograd::input_gradient(level, p, &source, w, sink))
            }
            Self::Depthwise => {
                through_sink(&|sink| depthwise::input_gradient(level, p, &source, w, sink))
            }
            Self::Blocked => {
                through_sink(&|sink| blocked::input_gradient(level, p, &source, w, sink))
            }
            Self::Direct => direct::input_gradient(level, p, dy, w),
        }
    }

    pub(super) fn weight_gradient(
        self,
        level: Level,
        p: &Problem,
        x: &[f32],
        dy: &[f32],
    ) -> Vec<f32> {
        match self {
            Self::Plain => cpu::weight_gradient(p, x, dy),
            Self::Winograd => winograd::weight_gradient(level, p, &inputs(p, x), &outputs(p, dy)),
            Self::Depthwise => depthwise::weight_gradient(level, p, &inputs(p, x), &outputs(p, dy)),
            Self::Blocked | Self::Direct => direct::weight_gradient(level, p, x, dy),
        }
    }
}

/// The input's planes, to be read.
fn inputs<'a>(problem: &Problem, values: &'a [f32]) -> PlaneSource<'a> {
    PlaneSource {
        values,
        channels: problem.in_channels,
        pixels: problem.input_pixels(),
    }
}

/// The output's planes, to be read.
fn outputs<'a>(problem: &Problem, values: &'a [f32]) -> PlaneSource<'a> {
    PlaneSource {
        values,
        channels: problem.out_channels,
        pixels: problem.output_pixels(),
    }
}

/// The input's planes, to be written.
fn inputs_at(problem: &Problem, values: Shared<f32>) -> PlaneSink {
    PlaneSink {
        values,
        channels: problem.in_channels,
        pixels: problem.input_pixels(),
    }
}

/// The output's planes, to be written.
fn outputs_at(problem: &Problem, values: Shared<f32>) -> PlaneSink {
    PlaneSink {
        values,
        channels: problem.out_channels,
        pixels: problem.output_pixels(),
    }
}
