//! Horizontal mirror.

use crate::planar_image::Image;

/// Mirrors every row in place.
pub fn horizontal_flip(image: &mut Image) {
    let width = image.width().max(1);
    for row in image.pixels_mut().chunks_exact_mut(width) {
        row.reverse();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_mirrored_and_twice_is_nothing() {
        let image = Image::new(2, 1, 3, (0..6).collect()).unwrap();
        let mut flipped = image.clone();
        horizontal_flip(&mut flipped);
        assert_eq!(flipped.pixels(), [2, 1, 0, 5, 4, 3]);
        horizontal_flip(&mut flipped);
        assert_eq!(flipped, image);
    }
}
