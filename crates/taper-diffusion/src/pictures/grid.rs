//! Rows of images, each row with a label.

use super::canvas::{Canvas, text_size};
use crate::error::{DiffusionError, Result};
use candle_core::{DType, Tensor};

/// Pixels between images.
const GAP: usize = 2;
/// Size of labels.
const TEXT_SCALE: usize = 2;
/// Small images are enlarged to about this side.
const SIDE: usize = 32;

/// One row for each label and images `[count, channels, height, width]` in −1 … 1, with one or three channels.
///
/// # Errors
/// If there is no image, or shapes differ between rows or are no images.
pub fn image_rows(rows: &[(String, Tensor)]) -> Result<Canvas> {
    let shape = match rows.first().map(|(_, images)| images.dims()) {
        Some(&[_, channels @ (1 | 3), height, width]) => [channels, height, width],
        found => return Err(no_images(format!("{found:?}"))),
    };
    let [_, height, width] = shape;
    let scale = SIDE.div_ceil(height.max(width).max(1)).max(1);
    let (cell_width, cell_height) = (width * scale + GAP, height * scale + GAP);
    let labels = rows.iter().map(|(label, _)| text_size(label, TEXT_SCALE).0);
    let margin = labels.max().unwrap_or(0) + 3 * GAP;
    let columns = rows
        .iter()
        .map(|(_, images)| images.dims()[0])
        .max()
        .unwrap_or(0);
    let mut canvas = Canvas::new(
        margin + columns * cell_width,
        rows.len() * cell_height + GAP,
    );
    for (row, (label, images)) in rows.iter().enumerate() {
        if images.dims()[1..] != shape {
            return Err(no_images(format!("{:?} beside {shape:?}", images.dims())));
        }
        let top = GAP + row * cell_height;
        let (_, letter) = text_size(label, TEXT_SCALE);
        canvas.text(
            label,
            GAP,
            top + (height * scale).saturating_sub(letter) / 2,
            TEXT_SCALE,
        );
        for column in 0..images.dim(0)? {
            let left = margin + column * cell_width;
            draw(&mut canvas, &images.get(column)?, (left, top), scale)?;
        }
    }
    Ok(canvas)
}

/// One image `[channels, height, width]` in −1 … 1 alone.
///
/// # Errors
/// If it is no image.
pub fn sample_image(image: &Tensor) -> Result<Canvas> {
    let [1 | 3, height, width] = *image.dims() else {
        return Err(no_images(format!("{:?}", image.dims())));
    };
    let mut canvas = Canvas::new(width, height);
    draw(&mut canvas, image, (0, 0), 1)?;
    Ok(canvas)
}

fn no_images(found: String) -> DiffusionError {
    DiffusionError::measure(
        "picture",
        found,
        "images [count, channels, height, width] with 1 or 3 channels",
    )
}

fn draw(canvas: &mut Canvas, image: &Tensor, at: (usize, usize), scale: usize) -> Result<()> {
    let planes = image.to_dtype(DType::F32)?.to_vec3::<f32>()?;
    let byte = |v: f32| ((v.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8;
    for (y, row) in planes[0].iter().enumerate() {
        for (x, &first) in row.iter().enumerate() {
            // One channel is grey.
            let value = |channel: usize| planes.get(channel).map_or(first, |plane| plane[y][x]);
            let colour = std::array::from_fn(|channel| byte(value(channel)));
            for dot in 0..scale * scale {
                let (left, top) = (
                    at.0 + x * scale + dot % scale,
                    at.1 + y * scale + dot / scale,
                );
                canvas.blend(left as i64, top as i64, colour, 1.0);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn images_stand_in_their_cells() {
        let black = Tensor::full(-1f32, (2, 1, 8, 8), &Device::Cpu).unwrap();
        let grey = Tensor::zeros((1, 1, 8, 8), DType::F32, &Device::Cpu).unwrap();
        let canvas = image_rows(&[("1".into(), black.clone()), ("16".into(), grey)]).unwrap();
        let (width, height) = canvas.size();
        // Enlarged fourfold.
        let margin = width - 2 * (32 + GAP);
        assert_eq!(height, 2 * (32 + GAP) + GAP);
        assert_eq!(canvas.pixel(margin, GAP), Some([0; 3]));
        assert_eq!(canvas.pixel(margin + 31, GAP + 31), Some([0; 3]));
        assert_eq!(canvas.pixel(margin + 32, GAP), Some([255; 3]));
        assert_eq!(canvas.pixel(margin + 32 + GAP, GAP), Some([0; 3]));
        assert_eq!(canvas.pixel(margin, 2 * GAP + 32), Some([128; 3]));
        let red = Tensor::new(&[[[1f32]], [[-1.0]], [[-1.0]]], &Device::Cpu).unwrap();
        assert_eq!(sample_image(&red).unwrap().pixel(0, 0), Some([255, 0, 0]));
        assert!(image_rows(&[]).is_err());
        let points = Tensor::zeros((4, 2), DType::F32, &Device::Cpu).unwrap();
        assert!(image_rows(&[("x".into(), points)]).is_err());
        let other = Tensor::zeros((1, 3, 8, 8), DType::F32, &Device::Cpu).unwrap();
        assert!(image_rows(&[("1".into(), black), ("2".into(), other)]).is_err());
    }
}
