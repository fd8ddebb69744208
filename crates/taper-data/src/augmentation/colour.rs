//! Changes of brightness, colour, contrast and sharpness and of single pixel values, value for
//! value as Pillow's `ImageEnhance` and `ImageOps`.

use crate::channels::luma;
use crate::planar_image::Image;

/// Pillow's `Image.blend` of one pixel: from `degenerate` (factor 0) to `pixel` (factor 1) and on.
fn blend(degenerate: u8, pixel: u8, factor: f32) -> u8 {
    let from = f32::from(degenerate);
    let value = from + factor * (f32::from(pixel) - from);
    value.clamp(0.0, 255.0) as u8
}

/// Towards black (factor below 1) or away from it.
pub(super) fn brightness(image: &mut Image, factor: f32) {
    for pixel in image.pixels_mut() {
        *pixel = blend(0, *pixel, factor);
    }
}

/// Towards the image's mean luma or away from it.
pub(super) fn contrast(image: &mut Image, factor: f32) {
    let lumas = lumas(image);
    let sum: u64 = lumas.iter().map(|&l| u64::from(l)).sum();
    let mean = (sum as f64 / lumas.len().max(1) as f64 + 0.5) as u8;
    for pixel in image.pixels_mut() {
        *pixel = blend(mean, *pixel, factor);
    }
}

/// Towards grey or away from it; a grey image stays.
pub(super) fn saturation(image: &mut Image, factor: f32) {
    let lumas = lumas(image);
    for plane in image.pixels_mut().chunks_exact_mut(lumas.len().max(1)) {
        for (pixel, &grey) in plane.iter_mut().zip(&lumas) {
            *pixel = blend(grey, *pixel, factor);
        }
    }
}

/// The luma of every pixel of an RGB image; the first plane of any other.
fn lumas(image: &Image) -> Vec<u8> {
    let plane = image.height() * image.width();
    let (first, rest) = image.pixels().split_at(plane);
    if image.channels() != 3 {
        return first.to_vec();
    }
    let (second, third) = rest.split_at(plane);
    let pairs = first.iter().zip(second).zip(third);
    pairs.map(|((&r, &g), &b)| luma(r, g, b)).collect()
}

/// Towards the smoothed image (Pillow's `SMOOTH`: 3x3 of ones, 5 in the middle, by 13; the border
/// stays) or away from it. `spare` is overwritten.
pub(super) fn sharpness(image: &mut Image, factor: f32, spare: &mut Image) {
    spare.copy_from(image.view());
    let (height, width) = (image.height(), image.width());
    let plane = (height * width).max(1);
    let sources = spare.pixels().chunks_exact(plane);
    for (target, source) in image.pixels_mut().chunks_exact_mut(plane).zip(sources) {
        for y in 1..height.saturating_sub(1) {
            for x in 1..width.saturating_sub(1) {
                let at = y * width + x;
                let smooth = smoothed(source, at, width);
                target[at] = blend(smooth, source[at], factor);
            }
        }
    }
}

fn smoothed(source: &[u8], at: usize, width: usize) -> u8 {
    let row = |start: usize| source[start - 1..=start + 1].iter().map(|&p| u32::from(p));
    let sum: u32 = row(at - width).chain(row(at)).chain(row(at + width)).sum();
    let sum = sum + 4 * u32::from(source[at]);
    // sum / 13 rounded: never a tie, as 13 is odd
    ((2 * sum + 13) / 26) as u8
}

/// Keeps the highest `bits` bits of every pixel.
pub(super) fn posterise(image: &mut Image, bits: u32) {
    let mask = !(0xffu32 >> bits.min(8)) as u8;
    for pixel in image.pixels_mut() {
        *pixel &= mask;
    }
}

/// Inverts every pixel that is not below `threshold`.
pub(super) fn solarise(image: &mut Image, threshold: f64) {
    for pixel in image.pixels_mut() {
        if f64::from(*pixel) >= threshold {
            *pixel = 255 - *pixel;
        }
    }
}

/// Stretches every channel to 0..255.
pub(super) fn autocontrast(image: &mut Image) {
    let plane = (image.height() * image.width()).max(1);
    for plane in image.pixels_mut().chunks_exact_mut(plane) {
        let low = plane.iter().copied().min().unwrap_or(0);
        let high = plane.iter().copied().max().unwrap_or(0);
        if high <= low {
            continue;
        }
        let scale = 255.0 / f64::from(high - low);
        let offset = -f64::from(low) * scale;
        for pixel in plane {
            *pixel = (f64::from(*pixel) * scale + offset).clamp(0.0, 255.0) as u8;
        }
    }
}

/// Makes every channel's histogram even.
pub(super) fn equalise(image: &mut Image) {
    let plane = (image.height() * image.width()).max(1);
    for plane in image.pixels_mut().chunks_exact_mut(plane) {
        let mut histogram = [0usize; 256];
        for &pixel in plane.iter() {
            histogram[usize::from(pixel)] += 1;
        }
        let last = histogram.iter().rev().find(|&&count| count > 0);
        let step = (plane.len() - last.copied().unwrap_or(0)) / 255;
        if step == 0 {
            continue;
        }
        let mut sum = step / 2;
        let table = histogram.map(|count| {
            let value = (sum / step).min(255) as u8;
            sum += count;
            value
        });
        for pixel in plane {
            *pixel = table[usize::from(*pixel)];
        }
    }
}
