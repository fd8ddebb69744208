//! Point clouds and the ways of points in the plane.

use super::canvas::{Canvas, Colour, text_size};
use crate::error::{DiffusionError, Result};
use candle_core::{DType, Tensor};

/// Side of a panel in pixels, and the space about it.
const PANEL: usize = 240;
const GAP: usize = 6;
const TEXT_SCALE: usize = 2;
/// Okabe and Ito's blue, vermilion and grey.
const POINT: Colour = [0, 114, 178];
const END: Colour = [213, 94, 0];
const WAY: Colour = [150, 150, 150];

/// Panels side by side, each a cloud of points `[count, 2]` in the square of half side `extent`, with a label above.
///
/// # Errors
/// If points are not in the plane.
pub fn point_panels(panels: &[(String, Tensor)], extent: f64) -> Result<Canvas> {
    let (_, letter) = text_size("0", TEXT_SCALE);
    let top = letter + 2 * GAP;
    let mut canvas = Canvas::new(panels.len() * (PANEL + GAP) + GAP, top + PANEL + GAP);
    for (index, (label, points)) in panels.iter().enumerate() {
        let left = GAP + index * (PANEL + GAP);
        canvas.text(label, left, GAP, TEXT_SCALE);
        for point in plane(points)? {
            // Points outside stay within their panel's border.
            let at = place(point, extent * 1.15);
            canvas.dot([left as f64 + at[0], top as f64 + at[1]], POINT, 0.6);
        }
    }
    Ok(canvas)
}

/// Lines through `states` (each `[count, 2]`, noise first), with the ends marked.
///
/// # Errors
/// If points are not in the plane or counts differ.
pub fn trajectory_panel(states: &[Tensor], extent: f64) -> Result<Canvas> {
    let ways: Vec<Vec<[f64; 2]>> = states.iter().map(plane).collect::<Result<_>>()?;
    let side = 2 * PANEL;
    let mut canvas = Canvas::new(side, side);
    let scaled = |point: [f64; 2]| place(point, extent).map(|v| 2.0 * v);
    for (from, to) in ways.iter().zip(ways.iter().skip(1)) {
        for (from, to) in from.iter().zip(to) {
            canvas.line(scaled(*from), scaled(*to), WAY, 0.5);
        }
    }
    for (ends, colour) in [(ways.first(), WAY), (ways.last(), END)] {
        for point in ends.into_iter().flatten() {
            canvas.dot(scaled(*point), colour, 1.0);
        }
    }
    Ok(canvas)
}

/// A point's place in a panel; up is up.
fn place(point: [f64; 2], extent: f64) -> [f64; 2] {
    let side = PANEL as f64;
    let along = |v: f64| (v / extent + 1.0) / 2.0 * (side - 2.0);
    [along(point[0]), along(-point[1])].map(|v| v.clamp(0.0, side - 2.0))
}

fn plane(points: &Tensor) -> Result<Vec<[f64; 2]>> {
    if points.rank() != 2 || points.dims()[1] != 2 {
        return Err(DiffusionError::measure(
            "picture",
            format!("{:?}", points.dims()),
            "points [count, 2]",
        ));
    }
    let rows = points.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    Ok(rows.into_iter().map(|row| [row[0], row[1]]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn points_lie_where_they_should() {
        assert_eq!(place([0.0, 0.0], 2.0), [119.0, 119.0]);
        assert_eq!(place([-2.0, 2.0], 2.0), [0.0, 0.0]);
        assert_eq!(place([9.0, -9.0], 2.0), [238.0, 238.0]);
        let start = Tensor::new(&[[-1f32, 0.0]], &Device::Cpu).unwrap();
        let end = Tensor::new(&[[1f32, 0.0]], &Device::Cpu).unwrap();
        let canvas = trajectory_panel(&[start.clone(), end], 2.0).unwrap();
        // The line crosses the middle, the end is marked.
        assert_ne!(canvas.pixel(240, 238), Some([255; 3]));
        assert_eq!(canvas.pixel(357, 238), Some(END));
        let panels = point_panels(&[("a".into(), start)], 2.0).unwrap();
        assert_eq!(panels.size().0, PANEL + 2 * GAP);
        let flat = Tensor::zeros((3, 1), DType::F32, &Device::Cpu).unwrap();
        assert!(point_panels(&[("a".into(), flat)], 2.0).is_err());
    }
}
