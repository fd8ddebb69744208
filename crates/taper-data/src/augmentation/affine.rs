//! Shear and rotation with nearest neighbours, pixel for pixel as Pillow's `Image.transform`.

use crate::planar_image::{Image, ImageView};

/// Maps an output position to an input position: `(a x + b y + c, d x + e y + f)`.
pub(super) type Matrix = [f64; 6];

/// Horizontal shear: `x + factor y`, about the corner.
pub(super) fn shear_x(factor: f64) -> Matrix {
    [1.0, factor, 0.0, 0.0, 1.0, 0.0]
}

/// Vertical shear: `y + factor x`, about the corner.
pub(super) fn shear_y(factor: f64) -> Matrix {
    [1.0, 0.0, 0.0, factor, 1.0, 0.0]
}

/// Rotation by `degrees` counter-clockwise about the middle of an image of `size` = `[height, width]`.
pub(super) fn rotation(degrees: f64, size: [usize; 2]) -> Matrix {
    let angle = -degrees.to_radians();
    let (sine, cosine) = (fifteen_digits(angle.sin()), fifteen_digits(angle.cos()));
    let (x, y) = (size[1] as f64 / 2.0, size[0] as f64 / 2.0);
    [
        cosine,
        sine,
        x - cosine * x - sine * y,
        -sine,
        cosine,
        y + sine * x - cosine * y,
    ]
}

/// Pillow rounds sine and cosine to 15 digits.
fn fifteen_digits(value: f64) -> f64 {
    (value * 1e15).round() / 1e15
}

/// Writes the transformed image to `output`, 0 where the input position lies outside. Positions
/// are those of pixel centres, in Pillow's 16-bit fixed point.
pub(super) fn transform(image: ImageView<'_>, matrix: Matrix, output: &mut Image) {
    let [a, b, c, d, e, f] = matrix;
    let fixed = |value: f64| (value * 65536.0 + 0.5).floor() as i64;
    let [height, width] = image.size();
    output.reset(image.channels(), height, width);
    let plane = (height * width).max(1);
    let start = (fixed(c + a * 0.5 + b * 0.5), fixed(f + d * 0.5 + e * 0.5));
    let (a, b, d, e) = (fixed(a), fixed(b), fixed(d), fixed(e));
    for (source, target) in image
        .planes()
        .zip(output.pixels_mut().chunks_exact_mut(plane))
    {
        let (mut row_x, mut row_y) = start;
        for row in target.chunks_exact_mut(width) {
            let (mut x, mut y) = (row_x, row_y);
            for pixel in row {
                let (column, line) = (x >> 16, y >> 16);
                if (0..width as i64).contains(&column) && (0..height as i64).contains(&line) {
                    *pixel = source[line as usize * width + column as usize];
                }
                x += a;
                y += d;
            }
            row_x += b;
            row_y += e;
        }
    }
}
