//! PNG, JPEG and WebP, told apart by their first bytes.

use std::io::Cursor;

use image::{DynamicImage, ImageReader, Limits};

use crate::error::{DataError, Result};
use crate::planar_image::Image;

/// The largest side of an image that is decoded: a bound against crafted headers.
const LARGEST_SIDE: u32 = 16_384;
/// The most memory one image may take while it is decoded, in bytes.
const LARGEST_ALLOCATION: u64 = 512 << 20;

/// Decodes an image into planes: one plane if the file is grey, three (RGB) otherwise.
///
/// Transparency is dropped, 16-bit samples are reduced to 8. `location` (a path, or a path and
/// row) goes into the error.
///
/// # Errors
/// [`DataError::Image`] when the bytes are no image of a known kind, damaged or unreasonably large.
pub fn decode(bytes: &[u8], location: &str) -> Result<Image> {
    let error = |message: String| DataError::Image {
        location: location.to_owned(),
        message,
    };
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| error(e.to_string()))?;
    if reader.format().is_none() {
        let found = match bytes {
            [] => "an empty file".to_owned(),
            _ => format!("bytes {:02x?}", &bytes[..bytes.len().min(8)]),
        };
        return Err(error(format!(
            "not an image: found {found}, expected PNG, JPEG or WebP"
        )));
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    limits.max_alloc = Some(LARGEST_ALLOCATION);
    reader.limits(limits);
    let decoded = reader
        .decode()
        .map_err(|e| error(format!("cannot be decoded: {e}")))?;
    planes(decoded)
}

fn planes(decoded: DynamicImage) -> Result<Image> {
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    if !decoded.color().has_color() {
        return Image::new(1, height, width, decoded.into_luma8().into_raw());
    }
    let interleaved = decoded.into_rgb8().into_raw();
    let mut pixels = vec![0; interleaved.len()];
    let (red, rest) = pixels.split_at_mut(height * width);
    let (green, blue) = rest.split_at_mut(height * width);
    for (i, pixel) in interleaved.chunks_exact(3).enumerate() {
        (red[i], green[i], blue[i]) = (pixel[0], pixel[1], pixel[2]);
    }
    Image::new(3, height, width, pixels)
}
