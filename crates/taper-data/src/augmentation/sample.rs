//! One image on its way through a policy, in buffers that are used again for the next.

use crate::planar_image::{Image, ImageView};
use crate::resize::Rectangle;

/// The working memory of one thread.
#[derive(Debug, Default)]
pub struct Sample {
    pub(super) image: Image,
    pub(super) spare: Image,
    pub(super) erased: Vec<Rectangle>,
}

impl Sample {
    /// Starts with a copy of `image`.
    pub fn load(&mut self, image: ImageView<'_>) {
        self.image.copy_from(image);
        self.erased.clear();
    }

    /// Starts with `image`.
    pub fn set(&mut self, image: Image) {
        self.image = image;
        self.erased.clear();
    }

    /// The image as it is now.
    pub fn image(&self) -> ImageView<'_> {
        self.image.view()
    }

    /// Rectangles that Cutout erased: they are 0 *after* normalisation.
    pub fn erased(&self) -> &[Rectangle] {
        &self.erased
    }

    /// Makes the spare buffer the image.
    pub(super) fn swap(&mut self) {
        std::mem::swap(&mut self.image, &mut self.spare);
    }

    /// Writes `(pixel / 255 - mean) / std` of every pixel to `output`, f32
    /// `[channels, height, width]`, one table of 256 values a channel; erased rectangles become 0.
    pub(crate) fn normalise(&self, tables: &[[f32; 256]], output: &mut [f32]) {
        let plane = self.image.height() * self.image.width();
        let planes = self.image.pixels().chunks_exact(plane.max(1));
        let outputs = output.chunks_exact_mut(plane.max(1));
        for ((source, target), table) in planes.zip(outputs).zip(tables) {
            for (value, &pixel) in target.iter_mut().zip(source) {
                *value = table[usize::from(pixel)];
            }
            for hole in &self.erased {
                let rows = target.chunks_exact_mut(self.image.width());
                for row in rows.skip(hole.top).take(hole.height) {
                    row[hole.left..hole.left + hole.width].fill(0.0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_have_their_own_tables_and_holes_are_zero() {
        let mut sample = Sample::default();
        let image = Image::new(2, 1, 3, vec![0, 1, 2, 0, 1, 2]).unwrap();
        sample.load(image.view());
        sample.erased.push(Rectangle {
            top: 0,
            left: 2,
            height: 1,
            width: 1,
        });
        let tables = [[0.5; 256], std::array::from_fn(|i| i as f32 + 10.0)];
        let mut output = [9.0; 6];
        sample.normalise(&tables, &mut output);
        assert_eq!(output, [0.5, 0.5, 0.0, 10.0, 11.0, 0.0]);
    }
}
