//! Random resized crop, as in Inception's training and torchvision's `RandomResizedCrop`.

use rand::Rng;

use crate::error::Result;
use crate::planar_image::{Image, ImageView};
use crate::resize::{Rectangle, resize_rectangle};

/// How often a rectangle is drawn before the central crop is taken instead (torchvision).
const ATTEMPTS: usize = 10;

/// Writes a random rectangle of `image`, resized to `size` = `[height, width]`, to `output`. Its
/// area is uniform in `scale` times the image's, the logarithm of its aspect (width by height)
/// uniform in that of `ratio`.
///
/// # Errors
/// [`crate::DataError::Setting`] when a side is 0.
pub fn random_resized_crop(
    image: ImageView<'_>,
    size: [usize; 2],
    scale: [f64; 2],
    ratio: [f64; 2],
    random: &mut impl Rng,
    output: &mut Image,
) -> Result<()> {
    let rectangle = draw(image.size(), scale, ratio, random);
    resize_rectangle(image, rectangle, size, output)
}

fn draw(
    [height, width]: [usize; 2],
    scale: [f64; 2],
    ratio: [f64; 2],
    random: &mut impl Rng,
) -> Rectangle {
    let area = (height * width) as f64;
    let (low, high) = (ratio[0].ln(), ratio[1].ln());
    for _ in 0..ATTEMPTS {
        let target = area * random.random_range(scale[0]..=scale[1]);
        let aspect = random.random_range(low..=high).exp();
        let w = (target * aspect).sqrt().round() as usize;
        let h = (target / aspect).sqrt().round() as usize;
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            return Rectangle {
                top: random.random_range(0..=(height - h) as u64) as usize,
                left: random.random_range(0..=(width - w) as u64) as usize,
                height: h,
                width: w,
            };
        }
    }
    central([height, width], ratio)
}

/// The largest central rectangle whose aspect is in `ratio`.
fn central([height, width]: [usize; 2], ratio: [f64; 2]) -> Rectangle {
    let aspect = width as f64 / height as f64;
    let (h, w) = if aspect < ratio[0] {
        ((width as f64 / ratio[0]).round() as usize, width)
    } else if aspect > ratio[1] {
        (height, (height as f64 * ratio[1]).round() as usize)
    } else {
        (height, width)
    };
    let (h, w) = (h.clamp(1, height), w.clamp(1, width));
    Rectangle {
        top: (height - h) / 2,
        left: (width - w) / 2,
        height: h,
        width: w,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use taper_kernels::random::stream;

    #[test]
    fn rectangles_keep_to_scale_and_ratio() {
        for index in 0..500 {
            let r = draw(
                [60, 80],
                [0.25, 1.0],
                [0.75, 4.0 / 3.0],
                &mut stream(0, "test", index),
            );
            assert!(r.top + r.height <= 60 && r.left + r.width <= 80);
            let area = (r.height * r.width) as f64 / 4800.0;
            let aspect = r.width as f64 / r.height as f64;
            assert!((0.24..=1.0).contains(&area), "{area}");
            assert!((0.72..=1.39).contains(&aspect), "{aspect}");
        }
    }

    #[test]
    fn a_strip_gives_its_middle() {
        let r = draw(
            [10, 1000],
            [1.0, 1.0],
            [0.75, 4.0 / 3.0],
            &mut stream(0, "test", 0),
        );
        assert_eq!((r.height, r.width, r.left), (10, 13, 493));
    }

    #[test]
    fn the_whole_image_is_a_plain_resize() {
        let image = Image::new(1, 4, 4, (0..16).map(|i| i * 10).collect()).unwrap();
        let mut output = Image::default();
        let mut random = stream(0, "test", 0);
        random_resized_crop(
            image.view(),
            [2, 2],
            [1.0, 1.0],
            [1.0, 1.0],
            &mut random,
            &mut output,
        )
        .unwrap();
        assert_eq!(output, crate::resize(image.view(), [2, 2]).unwrap());
    }
}
