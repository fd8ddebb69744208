//! Forward pass and input gradient as one thing: a few outputs, each a set of shifted reads.
//!
//! An output is a lattice of positions; tap `t` of position (y, x) reads the source at
//! (y·step + shift). The forward pass has one output, the whole plane. The input gradient of
//! a convolution of stride s has s·s, one for each remainder of the input's coordinates by s:
//! each is a convolution of stride 1 of the output's gradient, with the taps that reach it.

use super::geometry::Problem;

/// One tap: where it reads, and its place in the kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tap {
    pub shift: (isize, isize),
    pub index: usize,
}

/// Positions `first + stride · (y, x)` of the target, for (y, x) below `size`.
#[derive(Debug, Clone)]
pub(super) struct Output {
    pub size: (usize, usize),
    pub first: (usize, usize),
    pub taps: Vec<Tap>,
}

/// A pass over planes of `source` pixels that writes planes of `target` pixels.
#[derive(Debug, Clone)]
pub(super) struct Pass {
    pub source: (usize, usize),
    pub target: (usize, usize),
    /// Source pixels from one position to the next.
    pub step: (usize, usize),
    /// Target pixels from one position of an output to the next.
    pub stride: (usize, usize),
    pub outputs: Vec<Output>,
}

impl Pass {
    pub(super) fn forward(problem: &Problem) -> Self {
        let g = &problem.geometry;
        let shift = |tap: usize, dilation: usize, padding: usize| {
            (tap * dilation) as isize - padding as isize
        };
        let mut taps = Vec::with_capacity(problem.taps());
        for kx in 0..problem.kernel.1 {
            for ky in 0..problem.kernel.0 {
                taps.push(Tap {
                    shift: (
                        shift(ky, g.dilation.0, g.padding.0),
                        shift(kx, g.dilation.1, g.padding.1),
                    ),
                    index: ky * problem.kernel.1 + kx,
                });
            }
        }
        Self {
            source: problem.input,
            target: problem.output,
            step: g.stride,
            stride: (1, 1),
            outputs: vec![Output {
                size: problem.output,
                first: (0, 0),
                taps,
            }],
        }
    }

    pub(super) fn input_gradient(problem: &Problem) -> Self {
        let g = &problem.geometry;
        // Position·stride + remainder = y·stride + tap·dilation − padding, solved for y.
        let shift =
            |remainder: usize, tap: usize, stride: usize, dilation: usize, padding: usize| {
                let difference = (remainder + padding) as isize - (tap * dilation) as isize;
                (difference % stride as isize == 0).then(|| difference / stride as isize)
            };
        let mut outputs = Vec::new();
        for first_y in 0..g.stride.0.min(problem.input.0) {
            for first_x in 0..g.stride.1.min(problem.input.1) {
                let mut taps = Vec::new();
                for kx in 0..problem.kernel.1 {
                    for ky in 0..problem.kernel.0 {
                        let dy = shift(first_y, ky, g.stride.0, g.dilation.0, g.padding.0);
                        let dx = shift(first_x, kx, g.stride.1, g.dilation.1, g.padding.1);
                        if let (Some(dy), Some(dx)) = (dy, dx) {
                            taps.push(Tap {
                                shift: (dy, dx),
                                index: ky * problem.kernel.1 + kx,
                            });
                        }
                    }
                }
                let size = (
                    (problem.input.0 - first_y).div_ceil(g.stride.0),
                    (problem.input.1 - first_x).div_ceil(g.stride.1),
                );
                outputs.push(Output {
                    size,
                    first: (first_y, first_x),
                    taps,
                });
            }
        }
        Self {
            source: problem.output,
            target: problem.input,
            step: (1, 1),
            stride: g.stride,
            outputs,
        }
    }

    /// Rows and columns that hold every output.
    pub(super) fn lattice(&self) -> (usize, usize) {
        let most = |pick: fn(&Output) -> usize| self.outputs.iter().map(pick).max().unwrap_or(0);
        (most(|output| output.size.0), most(|output| output.size.1))
    }

    /// Does the single output lie in the target as it is?
    pub(super) fn writes_in_place(&self) -> bool {
        self.stride == (1, 1)
    }

    /// All taps of all outputs.
    pub(super) fn taps(&self) -> impl Iterator<Item = &Tap> + Clone {
        self.outputs.iter().flat_map(|output| &output.taps)
    }
}

/// Shifts along one axis, cut into remainder by the step and whole steps.
#[derive(Debug, Clone)]
pub(super) struct Phases {
    step: isize,
    /// The remainders that occur, in order.
    pub remainders: Vec<isize>,
    /// The smallest number of whole steps, and how many more the largest has.
    pub least: isize,
    pub extra: usize,
}

impl Phases {
    pub(super) fn new(shifts: impl Iterator<Item = isize> + Clone, step: usize) -> Self {
        let step = step as isize;
        let mut remainders: Vec<isize> =
            shifts.clone().map(|shift| shift.rem_euclid(step)).collect();
        remainders.sort_unstable();
        remainders.dedup();
        let whole = shifts.map(|shift| shift.div_euclid(step));
        let least = whole.clone().min().unwrap_or(0);
        let extra = (whole.max().unwrap_or(0) - least) as usize;
        Self {
            step,
            remainders,
            least,
            extra,
        }
    }

    /// Which remainder `shift` has, and how many whole steps it lies beyond the least.
    pub(super) fn place(&self, shift: isize) -> (usize, usize) {
        let remainder = shift.rem_euclid(self.step);
        let phase = self.remainders.partition_point(|&other| other < remainder);
        (phase, (shift.div_euclid(self.step) - self.least) as usize)
    }

    /// The source coordinate of place 0 of a phase.
    pub(super) fn start(&self, phase: usize) -> isize {
        self.least * self.step + self.remainders[phase]
    }
}

/// The positions, of `count`, whose source coordinate `position · step + start` lies below `size`.
pub(super) fn reach(start: isize, step: usize, size: usize, count: usize) -> (usize, usize) {
    let up = |value: isize| value.max(0) as usize;
    let end = up(size as isize - start).div_ceil(step).min(count);
    (up(-start).div_ceil(step).min(end), end)
}

/// Which channels a pass reads and writes, and how the weight is laid out for it; per group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Channels {
    pub groups: usize,
    pub source: usize,
    pub target: usize,
    /// Floats of the weight from one target channel to the next, and from one source channel to the next.
    pub target_stride: usize,
    pub source_stride: usize,
}

impl Channels {
    pub(super) fn forward(problem: &Problem) -> Self {
        Self {
            groups: problem.geometry.groups,
            source: problem.group_in(),
            target: problem.group_out(),
            target_stride: problem.group_in() * problem.taps(),
            source_stride: problem.taps(),
        }
    }

    pub(super) fn input_gradient(problem: &Problem) -> Self {
        Self {
            groups: problem.geometry.groups,
            source: problem.group_out(),
            target: problem.group_in(),
            target_stride: problem.taps(),
            source_stride: problem.group_in() * problem.taps(),
        }
    }
}
