//! Cutout (DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with
//! Cutout", 2017, arXiv:1708.04552): a square is erased after normalisation.

use rand::Rng;

use crate::resize::Rectangle;

/// A square with side `length` whose centre is any pixel of an image of `size` = `[height, width]`,
/// cut off at the border (so the erased area varies, as in the paper, section 3.1).
pub fn cutout(size: [usize; 2], length: u32, random: &mut impl Rng) -> Rectangle {
    let mut side = |extent: usize| {
        let centre = random.random_range(0..extent.max(1) as u64) as usize;
        let half = (length / 2) as usize;
        let start = centre.saturating_sub(half);
        let end = (centre + length as usize - half).min(extent);
        (start, end - start)
    };
    let (top, height) = side(size[0]);
    let (left, width) = side(size[1]);
    Rectangle {
        top,
        left,
        height,
        width,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taper_kernels::random::stream;

    #[test]
    fn squares_lie_in_the_image_and_are_whole_away_from_the_border() {
        let mut whole = 0;
        for index in 0..2000 {
            let hole = cutout([32, 32], 16, &mut stream(0, "test", index));
            assert!(hole.top + hole.height <= 32 && hole.left + hole.width <= 32);
            assert!((8..=16).contains(&hole.height) && (8..=16).contains(&hole.width));
            whole += usize::from(hole.height == 16 && hole.width == 16);
        }
        // 17 of 32 centres a side leave the square whole: 0.282 of the images
        assert!((480..650).contains(&whole), "{whole}");
    }
}
