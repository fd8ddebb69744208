//! Tensors in blocks of 16 channels, pixel-major: `[image][channel block][pixel][16]`.
//!
//! Between the convolutions of a run nothing is turned: kernels read and write whole vectors of
//! channels, and what is done per channel (batch norm) is the same for all lanes of a vector.
//! Channels that fill up the last block hold zeros throughout.

use crate::conv2d::transfer::{PlaneSink, PlaneSource, Sink, Source};
use crate::scratch::Scratch;
use crate::simd::{BLOCK, Kernel, Level, Simd};
use crate::threads::{Shared, for_each};
use std::ops::Range;

/// The sizes of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub batch: usize,
    pub channels: usize,
    /// Height and width.
    pub size: (usize, usize),
}

impl Shape {
    /// Channels with those that fill up the last block.
    pub(super) fn padded(&self) -> usize {
        self.channels.next_multiple_of(BLOCK)
    }

    pub(super) fn pixels(&self) -> usize {
        self.size.0 * self.size.1
    }

    /// Values of one channel.
    pub(super) fn count(&self) -> usize {
        self.batch * self.pixels()
    }

    fn len(&self) -> usize {
        self.batch * self.padded() * self.pixels()
    }

    /// Where the block of 16 channels from `channel` on of `image` begins.
    pub(super) fn plane(&self, image: usize, channel: usize) -> usize {
        (image * self.padded() + channel) * self.pixels()
    }

    /// The channels of a block that are not mere filling.
    pub(super) fn present(&self, channel: usize) -> Range<usize> {
        channel..(channel + BLOCK).min(self.channels)
    }
}

/// A tensor.
pub(super) struct Blocks {
    values: Scratch,
    pub shape: Shape,
}

impl Blocks {
    /// A tensor of arbitrary contents, all of which must be written before they are read.
    pub(super) fn new(shape: Shape) -> Self {
        Self {
            values: Scratch::take(shape.len()),
            shape,
        }
    }

    /// The block of 16 channels from `channel` on of `image`, `[pixel][16]`.
    pub(super) fn plane(&self, image: usize, channel: usize) -> &[f32] {
        let start = self.shape.plane(image, channel);
        &self.values[start..start + self.shape.pixels() * BLOCK]
    }

    /// The elements, for tasks that write some each.
    pub(super) fn shared(&mut self) -> Target {
        Target {
            values: Shared(self.values.as_mut_ptr()),
            shape: self.shape,
        }
    }
}

/// A tensor being written by many tasks.
pub(super) struct Target {
    values: Shared<f32>,
    pub shape: Shape,
}

impl Target {
    /// Pixel 0 of the block of 16 channels from `channel` on of `image`.
    pub(super) fn plane(&self, image: usize, channel: usize) -> *mut f32 {
        assert!(image < self.shape.batch && channel < self.shape.padded());
        // SAFETY: the plane lies inside the tensor, as asserted.
        unsafe { self.values.at(self.shape.plane(image, channel)) }
    }
}

/// Something to do with each image and block of 16 channels.
pub(super) trait PlaneKernel: Sync {
    /// Implementations are `#[inline(always)]`.
    ///
    /// # Safety
    /// The machine has `S`; each plane is worked on once at a time.
    unsafe fn run<S: Simd>(&self, image: usize, channel: usize);
}

/// Runs `kernel` on all planes of a tensor of `shape`.
pub(super) fn for_each_plane(shape: &Shape, kernel: &impl PlaneKernel) {
    let blocks = shape.padded() / BLOCK;
    let level = Level::best();
    for_each(shape.batch * blocks, |task| {
        let (image, channel) = (task / blocks, task % blocks * BLOCK);
        // SAFETY: the level is available, and each plane has one task.
        unsafe {
            level.call(Plane {
                kernel,
                image,
                channel,
            });
        }
    });
}

struct Plane<'a, K> {
    kernel: &'a K,
    image: usize,
    channel: usize,
}

impl<K: PlaneKernel> Kernel for Plane<'_, K> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: required of the caller.
        unsafe { self.kernel.run::<S>(self.image, self.channel) }
    }
}

/// Offsets of pixels that follow each other.
pub(super) fn in_order(pixels: usize) -> Vec<u32> {
    (0..pixels).map(|pixel| (pixel * BLOCK) as u32).collect()
}

/// Turns planes into blocks and hands each to `sink`.
pub(super) struct FromPlanes<'a, To> {
    pub planes: PlaneSource<'a>,
    pub offsets: &'a [u32],
    pub shape: Shape,
    pub sink: &'a To,
}

impl<To: Sink> PlaneKernel for FromPlanes<'_, To> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, image: usize, channel: usize) {
        let channels = self.shape.present(channel);
        let pixels = 0..self.shape.pixels();
        if let Some(window) = self.sink.window(image, channel) {
            let offsets = self.offsets.as_ptr();
            // SAFETY: the window is a plane; the rest is required of the caller.
            unsafe {
                self.planes
                    .load::<S>(image, channels.clone(), pixels.clone(), window, offsets);
                self.sink.finish::<S>(image, 0, channels, pixels);
            }
        }
    }
}

/// Turns blocks into planes.
pub(super) struct ToPlanes<'a> {
    pub blocks: &'a Blocks,
    pub offsets: &'a [u32],
    pub planes: PlaneSink,
}

impl PlaneKernel for ToPlanes<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, image: usize, channel: usize) {
        let shape = &self.blocks.shape;
        let from = self.blocks.plane(image, channel).as_ptr();
        // SAFETY: the planes have the channels and pixels of the blocks.
        unsafe {
            self.planes.store::<S>(
                image,
                shape.present(channel),
                0..shape.pixels(),
                from,
                self.offsets.as_ptr(),
            );
        }
    }
}
