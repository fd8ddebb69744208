//! Tensors that are computed while they are read.

use super::blocks::Blocks;
use super::norm::{Affine, GradientAffine};
use crate::conv2d::transfer::Source;
use crate::simd::{BLOCK, Simd};
use std::ops::Range;

/// What a pass reads.
#[derive(Clone, Copy)]
pub(super) enum Form<'a> {
    /// A tensor as it lies in memory.
    Plain(&'a Blocks),
    /// A batch norm of a tensor, and its activation.
    Normed {
        raw: &'a Blocks,
        affine: &'a Affine,
        relu: bool,
    },
    /// The gradient in front of a batch norm, from the one behind it.
    NormGradient {
        gradient: &'a Blocks,
        raw: &'a Blocks,
        affine: &'a GradientAffine,
    },
}

/// One vector of channels of a form.
pub(super) trait Lanes<S: Simd>: Copy {
    /// The value `at` floats behind the first pixel of the plane.
    ///
    /// # Safety
    /// The pixel exists; the machine has `S`.
    unsafe fn value(self, at: usize) -> S::Vector;
}

#[derive(Clone, Copy)]
pub(super) struct PlainLanes(*const f32);

impl PlainLanes {
    pub(super) fn new(plane: *const f32) -> Self {
        Self(plane)
    }
}

impl<S: Simd> Lanes<S> for PlainLanes {
    #[inline(always)]
    unsafe fn value(self, at: usize) -> S::Vector {
        // SAFETY: required of the caller.
        unsafe { S::load(self.0.add(at)) }
    }
}

#[derive(Clone, Copy)]
pub(super) struct NormedLanes<S: Simd> {
    raw: *const f32,
    mean: S::Vector,
    scale: S::Vector,
    offset: S::Vector,
}

impl<S: Simd> NormedLanes<S> {
    #[inline(always)]
    pub(super) unsafe fn new(raw: *const f32, affine: &Affine, channel: usize) -> Self {
        // SAFETY: parameters have whole blocks of channels.
        unsafe {
            Self {
                raw,
                mean: S::load(affine.mean[channel..].as_ptr()),
                scale: S::load(affine.scale[channel..].as_ptr()),
                offset: S::load(affine.offset[channel..].as_ptr()),
            }
        }
    }
}

impl<S: Simd> Lanes<S> for NormedLanes<S> {
    #[inline(always)]
    unsafe fn value(self, at: usize) -> S::Vector {
        // SAFETY: required of the caller.
        unsafe {
            let distance = S::sub(S::load(self.raw.add(at)), self.mean);
            S::mul_add(distance, self.scale, self.offset)
        }
    }
}

/// The positive part of other lanes.
#[derive(Clone, Copy)]
pub(super) struct Rectified<L>(pub L);

impl<S: Simd, L: Lanes<S>> Lanes<S> for Rectified<L> {
    #[inline(always)]
    unsafe fn value(self, at: usize) -> S::Vector {
        // SAFETY: required of the caller.
        unsafe {
            let value = self.0.value(at);
            S::keep_positive(value, value)
        }
    }
}

#[derive(Clone, Copy)]
struct NormGradientLanes<S: Simd> {
    gradient: *const f32,
    raw: *const f32,
    mean: S::Vector,
    p: S::Vector,
    q: S::Vector,
    r: S::Vector,
}

impl<S: Simd> Lanes<S> for NormGradientLanes<S> {
    #[inline(always)]
    unsafe fn value(self, at: usize) -> S::Vector {
        // SAFETY: required of the caller.
        unsafe {
            let distance = S::sub(S::load(self.raw.add(at)), self.mean);
            let rest = S::mul_add(self.q, distance, self.r);
            S::mul_add(self.p, S::load(self.gradient.add(at)), rest)
        }
    }
}

/// Something to do with the lanes of a form, whichever it is.
pub(super) trait WithLanes<S: Simd> {
    /// Implementations are `#[inline(always)]`.
    ///
    /// # Safety
    /// Stated by the implementation.
    unsafe fn run(&mut self, lane: usize, lanes: impl Lanes<S>);
}

impl Form<'_> {
    /// Calls `body` with each vector of the 16 channels from `channel` on of `image`.
    ///
    /// # Safety
    /// The plane exists; the machine has `S`; what `body` requires holds.
    #[inline(always)]
    pub(super) unsafe fn with_lanes<S: Simd>(
        &self,
        image: usize,
        channel: usize,
        body: &mut impl WithLanes<S>,
    ) {
        for lane in (0..BLOCK).step_by(S::LANES) {
            // SAFETY: required of the caller; parameters have whole blocks of channels.
            unsafe {
                let plane = |blocks: &Blocks| blocks.plane(image, channel).as_ptr().add(lane);
                let first = channel + lane;
                match *self {
                    Form::Plain(blocks) => body.run(lane, PlainLanes(plane(blocks))),
                    Form::Normed { raw, affine, relu } => {
                        let lanes = NormedLanes::<S>::new(plane(raw), affine, first);
                        match relu {
                            true => body.run(lane, Rectified(lanes)),
                            false => body.run(lane, lanes),
                        }
                    }
                    Form::NormGradient {
                        gradient,
                        raw,
                        affine,
                    } => {
                        let lanes = NormGradientLanes::<S> {
                            gradient: plane(gradient),
                            raw: plane(raw),
                            mean: S::load(affine.mean[first..].as_ptr()),
                            p: S::load(affine.p[first..].as_ptr()),
                            q: S::load(affine.q[first..].as_ptr()),
                            r: S::load(affine.r[first..].as_ptr()),
                        };
                        body.run(lane, lanes);
                    }
                }
            }
        }
    }
}

/// Copies pixels to where a convolution wants them.
struct Gather {
    pixels: Range<usize>,
    to: *mut f32,
    offsets: *const u32,
}

impl<S: Simd> WithLanes<S> for Gather {
    #[inline(always)]
    unsafe fn run(&mut self, lane: usize, lanes: impl Lanes<S>) {
        for (index, pixel) in self.pixels.clone().enumerate() {
            // SAFETY: required of the caller of `load`.
            unsafe {
                let to = self.to.add(*self.offsets.add(index) as usize + lane);
                S::store(to, lanes.value(pixel * BLOCK));
            }
        }
    }
}

impl Source for Form<'_> {
    #[inline(always)]
    unsafe fn load<S: Simd>(
        &self,
        image: usize,
        channels: Range<usize>,
        pixels: Range<usize>,
        to: *mut f32,
        offsets: *const u32,
    ) {
        debug_assert!(channels.start.is_multiple_of(BLOCK));
        let mut copy = Gather {
            pixels,
            to,
            offsets,
        };
        // SAFETY: required of the caller. Channels beyond the last lie in the block, as zeros.
        unsafe { self.with_lanes::<S>(image, channels.start, &mut copy) }
    }
}
