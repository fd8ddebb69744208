//! Pictures as SVG text: curves over epochs, and methods side by side with their spread.

mod bars;
mod curves;

pub use bars::{Bar, bars_with_spread};
pub use curves::{Curve, curves, training_plots};

use crate::error::TrainError;
use plotters::style::RGBColor;

/// Title and axis labels of a picture.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    /// Above the picture.
    pub title: String,
    /// Below the horizontal axis.
    pub x: String,
    /// Beside the vertical axis.
    pub y: String,
}

/// Width and height in pixels.
const SIZE: (u32, u32) = (760, 440);
const FONT: &str = "sans-serif";
/// Font sizes; plotters writes them to SVG divided by 1.24.
const TITLE: u32 = 25;
const TEXT: u32 = 17;
const INK: RGBColor = RGBColor(51, 51, 51);
const GRID: RGBColor = RGBColor(228, 228, 228);

/// Okabe and Ito's colours, told apart by colour-blind readers too; black and yellow left out.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

fn failed(title: &str) -> impl Fn(String) -> TrainError {
    let title = title.to_string();
    move |message| TrainError::Plot {
        title: title.clone(),
        message,
    }
}

/// The range of the finite values with a margin; never empty.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
    if low > high {
        return (0.0, 1.0);
    }
    let margin = match high - low {
        0.0 => (high.abs() * 0.05).max(0.5),
        width => width * 0.06,
    };
    (low - margin, high + margin)
}

/// As many decimals as a range of this width needs.
fn number(value: f64, width: f64) -> String {
    let decimals = (1.0 - width.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_never_empty() {
        assert_eq!(range([].into_iter()), (0.0, 1.0));
        assert_eq!(range([f64::NAN].into_iter()), (0.0, 1.0));
        let (low, high) = range([5.0, 5.0].into_iter());
        assert!(low < 5.0 && high > 5.0);
        let (low, high) = range([0.0, 100.0, f64::INFINITY].into_iter());
        assert!(low < 0.0 && (100.0..110.0).contains(&high));
    }

    #[test]
    fn decimals() {
        assert_eq!(number(93.0, 60.0), "93");
        assert_eq!(number(93.25, 3.0), "93.2");
        assert_eq!(number(0.0123, 0.05), "0.012");
    }
}
