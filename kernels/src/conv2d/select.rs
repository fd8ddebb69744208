//! Which kernel computes a pass in f32.

use super::geometry::Problem;
use super::{blocked, cpu, depthwise, direct, winograd};
use crate::simd::Level;
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
        match self {
            Self::Plain => cpu::forward(p, x, w, bias),
            Self::Winograd => winograd::forward(level, p, x, w, bias),
            Self::Depthwise => depthwise::forward(level, p, x, w, bias),
            // Reading every second pixel is cheaper than turning all of them.
            Self::Blocked if p.taps() == 1 => direct::forward(level, p, x, w, bias),
            Self::Blocked => blocked::forward(level, p, x, w, bias),
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
        match self {
            Self::Plain => cpu::input_gradient(p, dy, w),
            Self::Winograd => winograd::input_gradient(level, p, dy, w),
            Self::Depthwise => depthwise::input_gradient(level, p, dy, w),
            Self::Blocked => blocked::input_gradient(level, p, dy, w),
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
            Self::Winograd => winograd::weight_gradient(level, p, x, dy),
            Self::Depthwise => depthwise::weight_gradient(level, p, x, dy),
            Self::Blocked | Self::Direct => direct::weight_gradient(level, p, x, dy),
        }
    }
}
