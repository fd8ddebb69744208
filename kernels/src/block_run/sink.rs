//! Where convolutions leave their results, and what is done to these while they lie in the cache.

use super::blocks::{Blocks, Target};
use super::form::{Lanes, NormedLanes, PlainLanes, WithLanes};
use super::norm::{Affine, PartialMoments, PartialSums};
use crate::conv2d::transfer::Sink;
use crate::simd::{BLOCK, Simd};
use std::ops::Range;

/// Vectors that a sum runs over at once, to hide the latency of an addition.
const AT_ONCE: usize = 4;

/// Receives a convolution's output, adds another tensor to it and measures its moments.
pub(super) struct RawSink<'a> {
    pub to: Target,
    pub add: Option<&'a Blocks>,
    pub moments: Option<&'a PartialMoments>,
}

impl Sink for RawSink<'_> {
    fn window(&self, image: usize, channel: usize) -> Option<*mut f32> {
        Some(self.to.plane(image, channel))
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(
        &self,
        image: usize,
        channels: Range<usize>,
        pixels: Range<usize>,
        from: *const f32,
        offsets: *const u32,
    ) {
        let to = self.to.plane(image, channels.start);
        // SAFETY: required of the caller.
        unsafe { copy::<S, false>(to, pixels, from, offsets) }
    }

    #[inline(always)]
    unsafe fn finish<S: Simd>(
        &self,
        image: usize,
        strip: usize,
        channels: Range<usize>,
        pixels: Range<usize>,
    ) {
        let channel = channels.start;
        let to = self.to.plane(image, channel);
        // SAFETY: the plane has the pixels, the slot four vectors.
        unsafe {
            if let Some(add) = self.add {
                let add = add.plane(image, channel);
                for at in (pixels.start * BLOCK..pixels.end * BLOCK).step_by(S::LANES) {
                    let sum = S::add(S::load(to.add(at)), S::load(add.as_ptr().add(at)));
                    S::store(to.add(at), sum);
                }
            }
            if let Some(moments) = self.moments {
                let slot = moments.slot(image, strip, channel);
                for lane in (0..BLOCK).step_by(S::LANES) {
                    moments_of::<S>(to.add(lane), pixels.clone(), slot.add(lane));
                }
            }
        }
    }
}

/// Copies pixels, or adds them to what is there.
#[inline(always)]
unsafe fn copy<S: Simd, const ADD: bool>(
    to: *mut f32,
    pixels: Range<usize>,
    from: *const f32,
    offsets: *const u32,
) {
    for (index, pixel) in pixels.enumerate() {
        // SAFETY: required of the caller.
        unsafe {
            let from = from.add(*offsets.add(index) as usize);
            let to = to.add(pixel * BLOCK);
            for lane in (0..BLOCK).step_by(S::LANES) {
                let value = S::load(from.add(lane));
                let value = match ADD {
                    true => S::add(S::load(to.add(lane)), value),
                    false => value,
                };
                S::store(to.add(lane), value);
            }
        }
    }
}

/// Centre, deviations, squares and count of one vector of channels.
#[inline(always)]
unsafe fn moments_of<S: Simd>(from: *const f32, pixels: Range<usize>, slot: *mut f32) {
    if pixels.is_empty() {
        return;
    }
    // SAFETY: required of the caller.
    unsafe {
        // Any value of the channel is a centre near enough to its mean.
        let centre = S::load(from.add(pixels.start * BLOCK));
        let (mut sums, mut squares) = ([S::zero(); AT_ONCE], [S::zero(); AT_ONCE]);
        let whole = pixels.start + pixels.len() / AT_ONCE * AT_ONCE;
        for pixel in (pixels.start..whole).step_by(AT_ONCE) {
            for (i, (sum, square)) in sums.iter_mut().zip(&mut squares).enumerate() {
                let deviation = S::sub(S::load(from.add((pixel + i) * BLOCK)), centre);
                *sum = S::add(*sum, deviation);
                *square = S::mul_add(deviation, deviation, *square);
            }
        }
        for pixel in whole..pixels.end {
            let deviation = S::sub(S::load(from.add(pixel * BLOCK)), centre);
            sums[0] = S::add(sums[0], deviation);
            squares[0] = S::mul_add(deviation, deviation, squares[0]);
        }
        S::store(slot, centre);
        S::store(slot.add(BLOCK), total::<S>(sums));
        S::store(slot.add(2 * BLOCK), total::<S>(squares));
        S::store(slot.add(3 * BLOCK), S::splat(pixels.len() as f32));
    }
}

#[inline(always)]
unsafe fn total<S: Simd>(v: [S::Vector; AT_ONCE]) -> S::Vector {
    // SAFETY: register operations; the caller has the instruction set.
    unsafe { S::add(S::add(v[0], v[1]), S::add(v[2], v[3])) }
}

/// What becomes of the gradient of a normed tensor when its last part has arrived.
pub(super) struct Settle<'a> {
    /// The tensor in front of the norm, and the norm.
    pub raw: &'a Blocks,
    pub affine: &'a Affine,
    /// How to tell where the activation was active, if there is one.
    pub sign: Option<Sign<'a>>,
    pub sums: &'a PartialSums,
}

/// Where the sign of a rectifier's input is found.
#[derive(Clone, Copy)]
pub(super) enum Sign<'a> {
    /// Its output was stored.
    Output(&'a Blocks),
    /// It is the norm itself, computed again.
    Norm,
}

impl Settle<'_> {
    /// Masks the gradient in place and sums it.
    ///
    /// # Safety
    /// The pixels of the plane exist and no other thread uses them.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd>(
        &self,
        gradient: *mut f32,
        (image, strip, channel): (usize, usize, usize),
        pixels: Range<usize>,
    ) {
        let raw = self.raw.plane(image, channel).as_ptr();
        let slot = self.sums.slot(image, strip, channel);
        for lane in (0..BLOCK).step_by(S::LANES) {
            // SAFETY: required of the caller.
            unsafe {
                let mut sums = Sums::<S> {
                    gradient: gradient.add(lane),
                    raw: raw.add(lane),
                    mean: S::load(self.affine.mean[channel + lane..].as_ptr()),
                    pixels: pixels.clone(),
                    slot: slot.add(lane),
                };
                match self.sign {
                    None => sums.over_pixels::<_, false>(PlainLanes::new(raw.add(lane))),
                    Some(Sign::Output(output)) => {
                        let output = output.plane(image, channel).as_ptr().add(lane);
                        sums.run(lane, PlainLanes::new(output));
                    }
                    Some(Sign::Norm) => {
                        let lanes = NormedLanes::new(raw.add(lane), self.affine, channel + lane);
                        sums.run(lane, lanes);
                    }
                }
            }
        }
    }
}

/// Σ g′ and Σ g′ (z − mean) of one vector of channels.
struct Sums<S: Simd> {
    gradient: *mut f32,
    raw: *const f32,
    mean: S::Vector,
    pixels: Range<usize>,
    slot: *mut f32,
}

impl<S: Simd> WithLanes<S> for Sums<S> {
    /// The lanes are positive where the gradient passes.
    #[inline(always)]
    unsafe fn run(&mut self, _: usize, sign: impl Lanes<S>) {
        // SAFETY: required of the caller.
        unsafe { self.over_pixels::<_, true>(sign) }
    }
}

impl<S: Simd> Sums<S> {
    #[inline(always)]
    unsafe fn over_pixels<L: Lanes<S>, const MASKED: bool>(&mut self, sign: L) {
        let pixels = self.pixels.clone();
        let even = pixels.start + pixels.len() / 2 * 2;
        // SAFETY: required of the caller.
        unsafe {
            let (mut first, mut second) = ([S::zero(); 2], [S::zero(); 2]);
            for pixel in (pixels.start..even).step_by(2) {
                first = self.pixel::<L, MASKED>(pixel, sign, first);
                second = self.pixel::<L, MASKED>(pixel + 1, sign, second);
            }
            if even < pixels.end {
                first = self.pixel::<L, MASKED>(even, sign, first);
            }
            S::store(self.slot, S::add(first[0], second[0]));
            S::store(self.slot.add(BLOCK), S::add(first[1], second[1]));
        }
    }

    #[inline(always)]
    unsafe fn pixel<L: Lanes<S>, const MASKED: bool>(
        &self,
        pixel: usize,
        sign: L,
        sums: [S::Vector; 2],
    ) -> [S::Vector; 2] {
        let at = pixel * BLOCK;
        // SAFETY: required of the caller.
        unsafe {
            let mut gradient = S::load(self.gradient.add(at));
            if MASKED {
                gradient = S::keep_positive(sign.value(at), gradient);
                S::store(self.gradient.add(at), gradient);
            }
            let distance = S::sub(S::load(self.raw.add(at)), self.mean);
            [
                S::add(sums[0], gradient),
                S::mul_add(gradient, distance, sums[1]),
            ]
        }
    }
}

/// Receives the gradient of a tensor, alone or added to what came before.
pub(super) struct GradientSink<'a> {
    pub to: Target,
    pub add: bool,
    /// Set if this is the last part.
    pub settle: Option<Settle<'a>>,
}

impl Sink for GradientSink<'_> {
    fn window(&self, image: usize, channel: usize) -> Option<*mut f32> {
        (!self.add).then(|| self.to.plane(image, channel))
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(
        &self,
        image: usize,
        channels: Range<usize>,
        pixels: Range<usize>,
        from: *const f32,
        offsets: *const u32,
    ) {
        let to = self.to.plane(image, channels.start);
        // SAFETY: required of the caller.
        unsafe {
            match self.add {
                true => copy::<S, true>(to, pixels, from, offsets),
                false => copy::<S, false>(to, pixels, from, offsets),
            }
        }
    }

    #[inline(always)]
    unsafe fn finish<S: Simd>(
        &self,
        image: usize,
        strip: usize,
        channels: Range<usize>,
        pixels: Range<usize>,
    ) {
        if let Some(settle) = &self.settle {
            let to = self.to.plane(image, channels.start);
            // SAFETY: required of the caller.
            unsafe { settle.run::<S>(to, (image, strip, channels.start), pixels) }
        }
    }
}
