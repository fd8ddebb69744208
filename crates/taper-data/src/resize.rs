//! Bilinear resizing, plane by plane.

use fast_image_resize::images::{Image as Plane, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::error::{DataError, Result};
use crate::planar_image::{Image, ImageView};

/// A rectangle of an image in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rectangle {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// `image` resized to `size` = `[height, width]`: bilinear, with the support widened when it
/// shrinks (antialiased, as Pillow and torchvision do).
///
/// # Errors
/// [`DataError::Setting`] when a side is 0.
pub fn resize(image: ImageView<'_>, size: [usize; 2]) -> Result<Image> {
    let [height, width] = image.size();
    let all = Rectangle {
        top: 0,
        left: 0,
        height,
        width,
    };
    let mut output = Image::default();
    resize_rectangle(image, all, size, &mut output)?;
    Ok(output)
}

/// The `rectangle` of `image`, resized to `size` = `[height, width]`, written to `output`.
pub(crate) fn resize_rectangle(
    image: ImageView<'_>,
    rectangle: Rectangle,
    size: [usize; 2],
    output: &mut Image,
) -> Result<()> {
    let failed = |message: String| {
        DataError::setting(
            "size",
            format!(
                "{}x{} from {}x{} ({message})",
                size[0],
                size[1],
                image.height(),
                image.width()
            ),
            "sides of at least one pixel",
        )
    };
    if size.contains(&0) || image.size().contains(&0) {
        return Err(failed("a side is 0".into()));
    }
    output.reset(image.channels(), size[0], size[1]);
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .crop(
            rectangle.left as f64,
            rectangle.top as f64,
            rectangle.width as f64,
            rectangle.height as f64,
        );
    let mut resizer = Resizer::new();
    let planes = output.pixels_mut().chunks_exact_mut(size[0] * size[1]);
    for (source, target) in image.planes().zip(planes) {
        let (width, height) = (image.width() as u32, image.height() as u32);
        let source = ImageRef::new(width, height, source, PixelType::U8)
            .map_err(|e| failed(e.to_string()))?;
        let mut target =
            Plane::from_slice_u8(size[1] as u32, size[0] as u32, target, PixelType::U8)
                .map_err(|e| failed(e.to_string()))?;
        resizer
            .resize(&source, &mut target, &options)
            .map_err(|e| failed(e.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_image_stays_constant_and_planes_stay_apart() {
        let pixels = [[10; 6], [200; 6]].concat();
        let image = Image::new(2, 2, 3, pixels).unwrap();
        let large = resize(image.view(), [5, 4]).unwrap();
        assert_eq!(large.view().size(), [5, 4]);
        assert_eq!(large.pixels(), [[10; 20], [200; 20]].concat());
        assert!(resize(image.view(), [0, 4]).is_err());
    }

    #[test]
    fn doubling_interpolates_between_pixel_centres() {
        let image = Image::new(1, 1, 2, vec![0, 100]).unwrap();
        // centres of the four new pixels lie at -0.25, 0.25, 0.75, 1.25 of the old ones
        let wide = resize(image.view(), [1, 4]).unwrap();
        assert_eq!(wide.pixels(), [0, 25, 75, 100]);
    }
}
