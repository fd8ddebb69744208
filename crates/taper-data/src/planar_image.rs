//! One image: 8-bit pixels in planes.

use crate::error::{DataError, Result};

/// An owned image, u8, planar `[channels, height, width]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    channels: usize,
    height: usize,
    width: usize,
    pixels: Vec<u8>,
}

/// A borrowed image, u8, planar `[channels, height, width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageView<'a> {
    channels: usize,
    height: usize,
    width: usize,
    pixels: &'a [u8],
}

impl Image {
    /// An image of `pixels` in planes.
    ///
    /// # Errors
    /// [`DataError::Setting`] when the number of pixels is not `channels * height * width`.
    pub fn new(channels: usize, height: usize, width: usize, pixels: Vec<u8>) -> Result<Self> {
        check_length(channels, height, width, pixels.len())?;
        Ok(Self {
            channels,
            height,
            width,
            pixels,
        })
    }

    /// The image, borrowed.
    pub fn view(&self) -> ImageView<'_> {
        ImageView {
            channels: self.channels,
            height: self.height,
            width: self.width,
            pixels: &self.pixels,
        }
    }

    /// How many planes.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Rows of a plane.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Pixels of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All planes, one after another.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The pixels, to be changed in place.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// The pixels, without the shape.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }

    /// Takes the shape given, keeping the allocation; every pixel is 0 afterwards.
    pub(crate) fn reset(&mut self, channels: usize, height: usize, width: usize) {
        self.channels = channels;
        self.height = height;
        self.width = width;
        self.pixels.clear();
        self.pixels.resize(channels * height * width, 0);
    }

    /// Becomes a copy of `other`, keeping the allocation.
    pub(crate) fn copy_from(&mut self, other: ImageView<'_>) {
        self.channels = other.channels;
        self.height = other.height;
        self.width = other.width;
        self.pixels.clear();
        self.pixels.extend_from_slice(other.pixels);
    }
}

impl<'a> ImageView<'a> {
    /// A view of `pixels` in planes.
    ///
    /// # Errors
    /// [`DataError::Setting`] when the number of pixels is not `channels * height * width`.
    pub fn new(channels: usize, height: usize, width: usize, pixels: &'a [u8]) -> Result<Self> {
        check_length(channels, height, width, pixels.len())?;
        Ok(Self {
            channels,
            height,
            width,
            pixels,
        })
    }

    /// How many planes.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Rows of a plane.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Pixels of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// `[height, width]`.
    pub fn size(&self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// All planes, one after another.
    pub fn pixels(&self) -> &'a [u8] {
        self.pixels
    }

    /// The planes one by one, each `height * width` long.
    pub fn planes(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.pixels.chunks_exact((self.height * self.width).max(1))
    }

    /// An owned copy.
    pub fn to_image(&self) -> Image {
        Image {
            channels: self.channels,
            height: self.height,
            width: self.width,
            pixels: self.pixels.to_vec(),
        }
    }
}

fn check_length(channels: usize, height: usize, width: usize, found: usize) -> Result<()> {
    let expected = channels
        .checked_mul(height)
        .and_then(|n| n.checked_mul(width));
    if expected == Some(found) {
        return Ok(());
    }
    Err(DataError::setting(
        "pixels",
        format!("{found} bytes"),
        format!("{channels} x {height} x {width} bytes"),
    ))
}
