//! How passes read and write their tensors: sixteen channels at a time, pixel by pixel.
//!
//! All kernels but the shifted planes work on pixels of 16 channels. Where these come from and go
//! to is a [`Source`] and a [`Sink`]: planes of a `[batch, channels, height, width]` tensor, which
//! are turned on the way, or blocks that lie pixel-major already (`block_run`).

use crate::simd::{Simd, runs};
use crate::threads::Shared;
use std::ops::Range;

/// Something to read pixels from.
pub(crate) trait Source: Sync {
    /// Copies `pixels` of at most 16 `channels` of `image` to 16 floats each; the first goes to
    /// `to + offsets[0]`. Missing channels are zeros.
    ///
    /// # Safety
    /// The machine has `S`; image, channels and pixels exist; there is room at every offset.
    unsafe fn load<S: Simd>(
        &self,
        image: usize,
        channels: Range<usize>,
        pixels: Range<usize>,
        to: *mut f32,
        offsets: *const u32,
    );
}

/// Something to write pixels to.
pub(crate) trait Sink: Sync {
    /// Where 16 channels from `channel` on of `image` lie `[pixel][16]`, if a pass may write them there itself.
    fn window(&self, image: usize, channel: usize) -> Option<*mut f32>;

    /// Takes `pixels` of at most 16 `channels` of `image` from 16 floats each; the first lies at `from + offsets[0]`.
    ///
    /// # Safety
    /// The machine has `S`; image, channels and pixels exist, and no other thread uses them; the
    /// pixels are there.
    unsafe fn store<S: Simd>(
        &self,
        image: usize,
        channels: Range<usize>,
        pixels: Range<usize>,
        from: *const f32,
        offsets: *const u32,
    );

    /// Called once for `pixels` of `channels` when they have all been written; `strip` numbers the
    /// runs of pixels that a pass cuts the image into.
    ///
    /// # Safety
    /// As for `store`.
    unsafe fn finish<S: Simd>(
        &self,
        _image: usize,
        _strip: usize,
        _channels: Range<usize>,
        _pixels: Range<usize>,
    ) {
    }
}

/// A `[batch, channels, pixels]` tensor to read.
pub(crate) struct PlaneSource<'a> {
    pub values: &'a [f32],
    pub channels: usize,
    pub pixels: usize,
}

impl Source for PlaneSource<'_> {
    #[inline(always)]
    unsafe fn load<S: Simd>(
        &self,
        image: usize,
        channels: Range<usize>,
        pixels: Range<usize>,
        to: *mut f32,
        offsets: *const u32,
    ) {
        let first = (image * self.channels + channels.start) * self.pixels;
        let planes = &self.values[first..first + channels.len() * self.pixels];
        let rows: [usize; crate::simd::BLOCK] = std::array::from_fn(|i| i * self.pixels);
        for (pixel, columns) in runs(planes.as_ptr(), self.pixels, pixels.start, pixels.end) {
            // SAFETY: the pixels lie inside the planes; the rest is required of the caller.
            unsafe {
                S::gather_pixels(
                    planes.as_ptr().add(pixel),
                    &rows[..channels.len()],
                    columns,
                    to,
                    offsets.add(pixel - pixels.start),
                );
            }
        }
    }
}

/// A `[batch, channels, pixels]` tensor to write.
pub(crate) struct PlaneSink {
    pub values: Shared<f32>,
    pub channels: usize,
    pub pixels: usize,
}

impl Sink for PlaneSink {
    fn window(&self, _: usize, _: usize) -> Option<*mut f32> {
        None
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
        // SAFETY: required of the caller.
        unsafe {
            let planes = self
                .values
                .at((image * self.channels + channels.start) * self.pixels);
            for (pixel, columns) in runs(planes, self.pixels, pixels.start, pixels.end) {
                S::scatter_pixels(
                    from,
                    offsets.add(pixel - pixels.start),
                    planes.add(pixel),
                    self.pixels,
                    channels.len(),
                    columns,
                );
            }
        }
    }
}

/// A vector of `len` floats that `write` fills as a whole.
///
/// # Safety
/// `write` must write every element.
pub(super) unsafe fn written(len: usize, write: impl FnOnce(Shared<f32>)) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    write(Shared(values.as_mut_ptr()));
    // SAFETY: the capacity is `len`, and the caller promises that all elements were written.
    unsafe { values.set_len(len) };
    values
}
