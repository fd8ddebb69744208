//! Random crop of a zero-padded image: the usual shift of CIFAR training.

use rand::Rng;

use crate::planar_image::{Image, ImageView};

/// Pads `image` with `padding` zeros on every side and writes a random crop of the old size to
/// `output` (torchvision's `RandomCrop(size, padding)`): every one of the `(2 padding + 1)^2`
/// positions is equally likely.
pub fn pad_crop(image: ImageView<'_>, padding: u32, random: &mut impl Rng, output: &mut Image) {
    let top = random.random_range(0..=2 * padding);
    let left = random.random_range(0..=2 * padding);
    let padding = i64::from(padding);
    shift(
        image,
        i64::from(top) - padding,
        i64::from(left) - padding,
        output,
    );
}

/// `output[y, x] = image[y + down, x + right]`, 0 outside the image.
pub(super) fn shift(image: ImageView<'_>, down: i64, right: i64, output: &mut Image) {
    let [height, width] = image.size();
    output.reset(image.channels(), height, width);
    let (Some(rows), Some(columns)) = (overlap(height, down), overlap(width, right)) else {
        return;
    };
    let length = columns.1 - columns.0;
    let source_column = (columns.0 as i64 + right) as usize;
    let targets = output.pixels_mut().chunks_exact_mut(height * width);
    for (source, target) in image.planes().zip(targets) {
        for y in rows.0..rows.1 {
            let from = (y as i64 + down) as usize * width + source_column;
            let to = y * width + columns.0;
            target[to..to + length].copy_from_slice(&source[from..from + length]);
        }
    }
}

/// The positions `i` of `0..length` for which `i + offset` lies there too.
fn overlap(length: usize, offset: i64) -> Option<(usize, usize)> {
    let length = length as i64;
    let (start, end) = ((-offset).max(0), (length - offset).min(length));
    (start < end).then_some((start as usize, end as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use taper_kernels::random::stream;

    #[test]
    fn shifts_move_rows_and_columns_and_fill_with_zero() {
        let image = Image::new(2, 2, 2, (1..9).collect()).unwrap();
        let mut output = Image::default();
        shift(image.view(), 1, 0, &mut output);
        assert_eq!(output.pixels(), [3, 4, 0, 0, 7, 8, 0, 0]);
        shift(image.view(), 0, -1, &mut output);
        assert_eq!(output.pixels(), [0, 1, 0, 3, 0, 5, 0, 7]);
        shift(image.view(), 2, -9, &mut output);
        assert_eq!(output.pixels(), [0; 8]);
    }

    #[test]
    fn every_position_is_equally_likely() {
        // the one bright pixel in the middle of 5x5 tells the position of the crop
        let mut pixels = vec![0; 25];
        pixels[12] = 1;
        let image = Image::new(1, 5, 5, pixels).unwrap();
        let (mut counts, mut output) = ([0u32; 25], Image::default());
        for index in 0..25_000 {
            pad_crop(image.view(), 2, &mut stream(0, "test", index), &mut output);
            let place = output.pixels().iter().position(|&p| p == 1).unwrap();
            counts[place] += 1;
        }
        // binomial(25000, 1/25): mean 1000, deviation 31
        assert!(counts.iter().all(|c| (850..1150).contains(c)), "{counts:?}");
    }

    #[test]
    fn no_padding_changes_nothing() {
        let image = Image::new(1, 1, 2, vec![3, 4]).unwrap();
        let mut output = Image::default();
        pad_crop(image.view(), 0, &mut stream(0, "test", 0), &mut output);
        assert_eq!(output, image);
    }
}
