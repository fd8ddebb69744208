//! Several methods side by side: mean, standard deviation and every seed.

use super::{FONT, GRID, INK, Labels, SIZE, TEXT, TITLE, colour, failed, number, range};
use crate::error::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// One method's results.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Name below the axis.
    pub name: String,
    /// One value a seed.
    pub values: Vec<f64>,
}

impl Bar {
    /// The mean; NaN without values.
    pub fn mean(&self) -> f64 {
        self.values.iter().sum::<f64>() / self.values.len() as f64
    }

    /// The sample standard deviation (n - 1); 0 for fewer than two values.
    pub fn standard_deviation(&self) -> f64 {
        let count = self.values.len();
        if count < 2 {
            return 0.0;
        }
        let mean = self.mean();
        let squares: f64 = self.values.iter().map(|v| (v - mean).powi(2)).sum();
        (squares / (count - 1) as f64).sqrt()
    }
}

/// Draws each method's mean as a bar with its value, whiskers of one standard deviation and a dot
/// a seed, and returns the picture as SVG. The vertical axis begins near the smallest value, not
/// at 0: the picture compares.
///
/// # Errors
/// [`TrainError::Plot`](crate::TrainError::Plot), also where a bar has no value.
pub fn bars_with_spread(labels: &Labels, bars: &[Bar]) -> Result<String> {
    if let Some(empty) = bars.iter().find(|bar| bar.values.is_empty()) {
        return Err(failed(&labels.title)(format!(
            "{} has no value",
            empty.name
        )));
    }
    let mut svg = String::new();
    draw(&mut svg, labels, bars).map_err(|error| failed(&labels.title)(error.to_string()))?;
    Ok(svg)
}

fn draw(
    svg: &mut String,
    labels: &Labels,
    bars: &[Bar],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let extremes = |bar: &Bar| {
        let (mean, spread) = (bar.mean(), bar.standard_deviation());
        let mut values = bar.values.clone();
        values.extend([mean - spread, mean + spread]);
        values
    };
    let (bottom, top) = range(bars.iter().flat_map(extremes));
    // Room for the numbers above the whiskers.
    let top = top + 0.08 * (top - bottom);
    let count = bars.len().max(1) as f64;
    let mut chart = ChartBuilder::on(&area)
        .caption(&labels.title, (FONT, TITLE, &INK))
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..count, bottom..top)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_desc(&labels.x)
        .y_desc(&labels.y)
        .label_style((FONT, TEXT, &INK))
        .x_labels(0)
        .y_labels(8)
        .y_label_formatter(&|y| number(*y, top - bottom))
        .draw()?;
    let text = |vertical| {
        let font = (FONT, TEXT).into_font().color(&INK);
        font.pos(Pos::new(HPos::Center, vertical))
    };
    for (index, bar) in bars.iter().enumerate() {
        let middle = index as f64 + 0.5;
        let (mean, spread) = (bar.mean(), bar.standard_deviation());
        let paint = colour(index);
        let body = [(middle - 0.3, bottom), (middle + 0.3, mean)];
        chart.draw_series([Rectangle::new(body, paint.mix(0.35).filled())])?;
        let line =
            |from: (f64, f64), to: (f64, f64)| PathElement::new([from, to], INK.stroke_width(2));
        let (low, high) = (mean - spread, mean + spread);
        chart.draw_series([line((middle - 0.3, mean), (middle + 0.3, mean))])?;
        if spread > 0.0 {
            chart.draw_series([
                line((middle, low), (middle, high)),
                line((middle - 0.07, low), (middle + 0.07, low)),
                line((middle - 0.07, high), (middle + 0.07, high)),
            ])?;
        }
        // Seeds beside each other, so that equal ones can be told apart.
        let offset = |seed: usize| 0.36 * ((seed as f64 + 0.5) / bar.values.len() as f64 - 0.5);
        let dots = bar.values.iter().enumerate();
        chart.draw_series(dots.map(|(seed, value)| {
            Circle::new((middle + offset(seed), *value), 4, paint.filled())
        }))?;
        let highest = bar.values.iter().copied().fold(high, f64::max);
        let value = match bar.values.len() {
            1 => format!("{mean:.2}"),
            _ => format!("{mean:.2} ± {spread:.2}"),
        };
        let (x, y) = chart.backend_coord(&(middle, highest));
        area.draw(&Text::new(value, (x, y - 8), text(VPos::Bottom)))?;
        let (x, y) = chart.backend_coord(&(middle, bottom));
        area.draw(&Text::new(bar.name.clone(), (x, y + 8), text(VPos::Top)))?;
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_beside_each_other() {
        let bar = |name: &str, values: &[f64]| Bar {
            name: name.into(),
            values: values.to_vec(),
        };
        let bars = [
            bar("student", &[93.0, 94.0, 95.0]),
            bar("KD", &[95.5]),
            bar("NORM", &[96.0, 96.0, 97.5]),
        ];
        assert_eq!(bars[0].mean(), 94.0);
        assert_eq!(bars[0].standard_deviation(), 1.0);
        assert_eq!(bars[1].standard_deviation(), 0.0);
        let labels = Labels {
            title: "digits".into(),
            x: "method".into(),
            y: "top-1 (%)".into(),
        };
        let svg = bars_with_spread(&labels, &bars).unwrap();
        assert_eq!(svg.matches("<circle").count(), 7);
        for text in ["94.00 ± 1.00", "NORM", "top-1 (%)"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(bars_with_spread(&labels, &[bar("none", &[])]).is_err());
    }
}
