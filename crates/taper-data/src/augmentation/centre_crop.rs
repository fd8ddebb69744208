//! The middle of an image.

use crate::planar_image::{Image, ImageView};

/// Writes the central `size` = `[height, width]` of `image` to `output`; a smaller image is
/// padded with zeros. Odd differences are rounded as in torchvision.
pub fn centre_crop(image: ImageView<'_>, size: [usize; 2], output: &mut Image) {
    let offset = |from: usize, to: usize| match from >= to {
        // round half to even, as Python's round()
        true => ((from - to) as f64 / 2.0).round_ties_even() as i64,
        false => -(((to - from) / 2) as i64),
    };
    let (top, left) = (
        offset(image.height(), size[0]),
        offset(image.width(), size[1]),
    );
    output.reset(image.channels(), size[0], size[1]);
    let (height, width) = (image.height() as i64, image.width() as i64);
    let targets = output
        .pixels_mut()
        .chunks_exact_mut((size[0] * size[1]).max(1));
    for (source, target) in image.planes().zip(targets) {
        for y in 0..size[0] as i64 {
            let row = y + top;
            let (start, end) = ((-left).max(0), (width - left).min(size[1] as i64));
            if !(0..height).contains(&row) || start >= end {
                continue;
            }
            let from = (row * width + start + left) as usize;
            let to = (y * size[1] as i64 + start) as usize;
            let length = (end - start) as usize;
            target[to..to + length].copy_from_slice(&source[from..from + length]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_kept_and_small_images_are_padded() {
        let image = Image::new(1, 4, 4, (0..16).collect()).unwrap();
        let mut output = Image::default();
        centre_crop(image.view(), [2, 2], &mut output);
        assert_eq!(output.pixels(), [5, 6, 9, 10]);
        centre_crop(image.view(), [2, 6], &mut output);
        assert_eq!(output.pixels(), [0, 4, 5, 6, 7, 0, 0, 8, 9, 10, 11, 0]);
        centre_crop(image.view(), [4, 4], &mut output);
        assert_eq!(output, image);
    }
}
