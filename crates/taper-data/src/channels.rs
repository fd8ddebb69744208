//! Grey to RGB and back.

use crate::error::{DataError, Result};
use crate::planar_image::{Image, ImageView};

/// Luma of an RGB pixel: ITU-R 601 in 16-bit fixed point, as Pillow's mode `L`.
pub(crate) fn luma(red: u8, green: u8, blue: u8) -> u8 {
    let weighted = u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471;
    ((weighted + 0x8000) >> 16) as u8
}

/// The image with `channels` planes: grey is repeated, RGB becomes luma, an equal number is copied.
///
/// # Errors
/// [`DataError::Setting`] for any other pair of numbers.
pub fn adapt_channels(image: ImageView<'_>, channels: usize) -> Result<Image> {
    let [height, width] = image.size();
    let pixels = match (image.channels(), channels) {
        (from, to) if from == to => image.pixels().to_vec(),
        (1, _) if channels > 0 => image.pixels().repeat(channels),
        (3, 1) => {
            let (red, rest) = image.pixels().split_at(height * width);
            let (green, blue) = rest.split_at(height * width);
            red.iter()
                .zip(green)
                .zip(blue)
                .map(|((&r, &g), &b)| luma(r, g, b))
                .collect()
        }
        (from, _) => {
            return Err(DataError::setting(
                "channels",
                format!("{channels} wanted of images with {from}"),
                "the same number, any number from grey (1), or 1 from RGB (3)",
            ));
        }
    };
    Image::new(channels, height, width, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_is_repeated_and_rgb_becomes_luma() {
        let grey = Image::new(1, 1, 2, vec![7, 9]).unwrap();
        let rgb = adapt_channels(grey.view(), 3).unwrap();
        assert_eq!(rgb.pixels(), [7, 9, 7, 9, 7, 9]);
        assert_eq!(adapt_channels(rgb.view(), 1).unwrap(), grey);
        // Pillow: Image.new("RGB", (1, 1), (200, 30, 90)).convert("L") is 88
        assert_eq!(luma(200, 30, 90), 88);
        assert!(adapt_channels(rgb.view(), 2).is_err());
        assert!(adapt_channels(grey.view(), 0).is_err());
    }
}
