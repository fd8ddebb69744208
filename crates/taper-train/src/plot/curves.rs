//! Curves over the epochs of a training.

use super::{FONT, GRID, INK, Labels, SIZE, TEXT, TITLE, colour, failed, number, range};
use crate::error::Result;
use crate::metrics::EpochRecord;
use plotters::prelude::*;
use std::collections::BTreeMap;

/// One line of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Name in the legend.
    pub name: String,
    /// Points from left to right; those that are not finite are left out.
    pub points: Vec<(f64, f64)>,
}

/// Draws curves and returns the picture as SVG.
///
/// # Errors
/// [`TrainError::Plot`](crate::TrainError::Plot).
pub fn curves(labels: &Labels, curves: &[Curve]) -> Result<String> {
    let mut svg = String::new();
    draw(&mut svg, labels, curves).map_err(|error| failed(&labels.title)(error.to_string()))?;
    Ok(svg)
}

fn draw(
    svg: &mut String,
    labels: &Labels,
    curves: &[Curve],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let (left, right) = range(points().map(|point| point.0));
    let (bottom, top) = range(points().map(|point| point.1));
    let mut chart = ChartBuilder::on(&area)
        .caption(&labels.title, (FONT, TITLE, &INK))
        .margin(14)
        .x_label_area_size(42)
        .y_label_area_size(62)
        .build_cartesian_2d(left..right, bottom..top)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_desc(&labels.x)
        .y_desc(&labels.y)
        .label_style((FONT, TEXT, &INK))
        .x_labels(10)
        .y_labels(8)
        .x_label_formatter(&|x| number(*x, (right - left).max(20.0)))
        .y_label_formatter(&|y| number(*y, top - bottom))
        .draw()?;
    for (index, curve) in curves.iter().enumerate() {
        let style = colour(index).stroke_width(2);
        let finite = curve.points.iter().copied().filter(|(_, y)| y.is_finite());
        // A single point has no line.
        let size = if curve.points.len() == 1 { 3 } else { 0 };
        chart
            .draw_series(LineSeries::new(finite, style).point_size(size))?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(legend_corner(curves))
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font((FONT, TEXT, &INK))
        .draw()?;
    area.present()?;
    Ok(())
}

/// Falling curves leave room at the upper right, rising ones below.
fn legend_corner(curves: &[Curve]) -> SeriesLabelPosition {
    let ends = |curve: &Curve| Some(curve.points.last()?.1 - curve.points.first()?.1);
    if curves.iter().filter_map(ends).sum::<f64>() > 0.0 {
        SeriesLabelPosition::LowerRight
    } else {
        SeriesLabelPosition::UpperRight
    }
}

/// The pictures of a training by file name: `loss.svg`, `accuracy.svg` (metrics named `top…` or
/// `accuracy…`, in percent) and one file for each other metric. None before the first epoch.
///
/// # Errors
/// [`TrainError::Plot`](crate::TrainError::Plot).
pub fn training_plots(epochs: &[EpochRecord]) -> Result<BTreeMap<String, String>> {
    let mut pictures: BTreeMap<String, Vec<Curve>> = BTreeMap::new();
    let mut add = |file: String, name: String, points: Vec<(f64, f64)>| {
        pictures
            .entry(file)
            .or_default()
            .push(Curve { name, points });
    };
    let over = |value: &dyn Fn(&EpochRecord) -> Option<f64>| -> Vec<(f64, f64)> {
        let point = |record| Some((EpochRecord::epoch_number(record), value(record)?));
        epochs.iter().filter_map(point).collect()
    };
    let Some(last) = epochs.last() else {
        return Ok(BTreeMap::new());
    };
    add("loss".into(), "train loss".into(), over(&|e| Some(e.loss)));
    if last.terms.len() > 1 {
        for term in last.terms.keys() {
            let points = over(&|e| e.terms.get(term).copied());
            add("loss".into(), format!("train {term}"), points);
        }
    }
    for metric in names(epochs, |e| &e.train) {
        let points = over(&|e| e.train.get(&metric).copied().flatten());
        add(file_of(&metric), format!("train {metric}"), points);
    }
    for metric in names(epochs, |e| &e.test) {
        let points = over(&|e| e.test.get(&metric).copied().flatten());
        add(file_of(&metric), format!("test {metric}"), points);
    }
    pictures
        .into_iter()
        .map(|(file, lines)| {
            let percent = if file == "accuracy" { " (%)" } else { "" };
            let labels = Labels {
                title: format!("{file} over the training"),
                x: "epoch".into(),
                y: format!("{file}{percent}"),
            };
            Ok((format!("{file}.svg"), curves(&labels, &lines)?))
        })
        .collect()
}

fn names(
    epochs: &[EpochRecord],
    metrics: impl Fn(&EpochRecord) -> &crate::metrics::Metrics,
) -> Vec<String> {
    let all = epochs
        .iter()
        .flat_map(|epoch| metrics(epoch).keys().cloned());
    all.collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// The picture a metric goes into; its name becomes a file name.
fn file_of(metric: &str) -> String {
    if metric.ends_with("loss") {
        return "loss".into();
    }
    if metric.starts_with("top") || metric.starts_with("accuracy") {
        return "accuracy".into();
    }
    metric
        .chars()
        .map(|c| if c.is_alphanumeric() { c } else { '-' })
        .collect()
}

impl EpochRecord {
    fn epoch_number(&self) -> f64 {
        self.epoch as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Seconds;

    fn record(epoch: u64) -> EpochRecord {
        EpochRecord {
            epoch,
            step: epoch,
            learning_rate: 0.1,
            loss: 1.0 / epoch as f64,
            terms: BTreeMap::from([("ce".into(), 0.5), ("kd".into(), 0.25)]),
            train: BTreeMap::from([("top1".into(), Some(70.0 + epoch as f64))]),
            test: BTreeMap::from([
                ("top1".into(), Some(60.0)),
                ("loss".into(), None),
                ("fid/50".into(), Some(3.0)),
            ]),
            seconds: Seconds::default(),
        }
    }

    #[test]
    fn pictures_of_a_training() {
        assert!(training_plots(&[]).unwrap().is_empty());
        let pictures = training_plots(&[record(1), record(2), record(3)]).unwrap();
        let files: Vec<_> = pictures.keys().map(String::as_str).collect();
        assert_eq!(files, ["accuracy.svg", "fid-50.svg", "loss.svg"]);
        let loss = &pictures["loss.svg"];
        for text in [
            "<svg",
            "loss over the training",
            "epoch",
            "train kd",
            "<polyline",
        ] {
            assert!(loss.contains(text), "{text}");
        }
        assert!(pictures["accuracy.svg"].contains("accuracy (%)"));
        training_plots(&[record(1)]).unwrap();
    }
}
