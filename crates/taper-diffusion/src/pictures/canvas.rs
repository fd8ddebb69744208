//! A raster of 8-bit colours to draw on.

use super::glyphs::{self, GLYPH_HEIGHT, GLYPH_WIDTH};
use crate::error::{DiffusionError, Result};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// Red, green, blue.
pub(super) type Colour = [u8; 3];
pub(super) const PAPER: Colour = [255, 255, 255];
pub(super) const INK: Colour = [51, 51, 51];

/// `height` rows of `width` pixels.
#[derive(Debug, Clone)]
pub struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    /// Paper of this size.
    pub fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            pixels: PAPER.repeat(width * height),
        }
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// The colour at a place; nothing outside.
    pub fn pixel(&self, x: usize, y: usize) -> Option<[u8; 3]> {
        let start = (x < self.width && y < self.height).then(|| 3 * (y * self.width + x))?;
        let pixel = self.pixels.get(start..start + 3)?;
        pixel.try_into().ok()
    }

    /// Lays `colour` over a pixel with an opacity of 0 … 1; outside nothing happens.
    pub(super) fn blend(&mut self, x: i64, y: i64, colour: Colour, opacity: f64) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else {
            return;
        };
        if x >= self.width || y >= self.height {
            return;
        }
        let start = 3 * (y * self.width + x);
        for (pixel, colour) in self.pixels[start..start + 3].iter_mut().zip(colour) {
            let mixed = f64::from(*pixel) * (1.0 - opacity) + f64::from(colour) * opacity;
            *pixel = mixed.round() as u8;
        }
    }

    /// A line by equal small steps.
    pub(super) fn line(&mut self, from: [f64; 2], to: [f64; 2], colour: Colour, opacity: f64) {
        let length = (to[0] - from[0]).abs().max((to[1] - from[1]).abs());
        let steps = length.ceil().clamp(1.0, 1e4) as usize;
        for step in 0..steps {
            let share = step as f64 / steps as f64;
            let at = |axis: usize| (from[axis] + share * (to[axis] - from[axis])).round() as i64;
            self.blend(at(0), at(1), colour, opacity);
        }
    }

    /// A square of 2 × 2 pixels.
    pub(super) fn dot(&mut self, at: [f64; 2], colour: Colour, opacity: f64) {
        let (x, y) = (at[0].floor() as i64, at[1].floor() as i64);
        for (x, y) in [(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)] {
            self.blend(x, y, colour, opacity);
        }
    }

    /// Text with its upper left corner at (x, y); each dot of a letter is `scale` pixels wide.
    pub(super) fn text(&mut self, text: &str, x: usize, y: usize, scale: usize) {
        for (index, letter) in text.chars().enumerate() {
            let left = x + index * (GLYPH_WIDTH + 1) * scale;
            for (row, dots) in glyphs::rows(letter).into_iter().enumerate() {
                for column in (0..GLYPH_WIDTH).filter(|c| (dots >> (GLYPH_WIDTH - 1 - c)) & 1 == 1)
                {
                    for dot in 0..scale * scale {
                        let (dx, dy) = (dot % scale, dot / scale);
                        let (x, y) = (left + column * scale + dx, y + row * scale + dy);
                        self.blend(x as i64, y as i64, INK, 1.0);
                    }
                }
            }
        }
    }
}

/// Width and height of a text in pixels.
pub(super) fn text_size(text: &str, scale: usize) -> (usize, usize) {
    let letters = text.chars().count();
    let width = (letters * (GLYPH_WIDTH + 1)).saturating_sub(1) * scale;
    (width, GLYPH_HEIGHT * scale)
}

/// The file's content.
///
/// # Errors
/// If the encoder fails, as for a canvas without pixels.
pub fn png(canvas: &Canvas) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(
            &canvas.pixels,
            canvas.width as u32,
            canvas.height as u32,
            ExtendedColorType::Rgb8,
        )
        .map_err(|error| DiffusionError::measure("picture", error, "at least one sample"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_is_read_back() {
        let mut canvas = Canvas::new(20, 10);
        canvas.blend(3, 4, [10, 20, 30], 1.0);
        canvas.blend(-1, 4, [0, 0, 0], 1.0);
        canvas.blend(20, 9, [0, 0, 0], 1.0);
        canvas.text("1", 8, 1, 1);
        assert_eq!(canvas.pixel(3, 4), Some([10, 20, 30]));
        assert_eq!(canvas.pixel(20, 9), None);
        let dark = (8..14).flat_map(|x| (0..10).map(move |y| (x, y)));
        let dark = dark
            .filter(|&(x, y)| canvas.pixel(x, y) == Some(INK))
            .count();
        assert!(dark > 5, "{dark}");
        let bytes = png(&canvas).unwrap();
        let read = image::load_from_memory(&bytes).unwrap().to_rgb8();
        assert_eq!(read.dimensions(), (20, 10));
        assert_eq!(read.get_pixel(3, 4).0, [10, 20, 30]);
        assert!(png(&Canvas::new(0, 0)).is_err());
    }
}
