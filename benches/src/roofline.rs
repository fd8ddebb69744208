//! The roofline: attained rate over arithmetic intensity, under what memory and arithmetic allow.

use crate::case::Mode;
use crate::roofs::Roofs;
use crate::row::{Row, TAPER};
use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::coord::combinators::LogCoord;
use plotters::prelude::*;
use std::collections::BTreeMap;

const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(51, 51, 51);
const GRID: RGBColor = RGBColor(228, 228, 228);
/// Okabe and Ito's colours, told apart by colour-blind readers too.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
];
/// Width of the picture, and of the list of operators at its right.
const WIDTH: u32 = 1180;
const LIST_WIDTH: u32 = 280;
const LINE_HEIGHT: u32 = 17;
const LEAST_HEIGHT: u32 = 620;

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<LogCoord<f64>, LogCoord<f64>>>;

/// One operator by one provider.
struct Point<'a> {
    kernel: &'a str,
    provider: &'a str,
    /// Operations a byte.
    intensity: f64,
    /// 10⁹ operations a second.
    rate: f64,
}

/// Draws one point for each operator and provider, of its largest case in `mode`, and returns the picture as SVG.
///
/// Operators are numbered; the list at the right names them.
///
/// # Errors
/// If drawing fails or there is nothing to draw.
pub fn roofline(rows: &[Row], roofs: &Roofs, mode: Mode) -> anyhow::Result<String> {
    let points = largest(rows, mode);
    if points.is_empty() {
        return Err(anyhow!(
            "roofline: no operator was measured in mode {}",
            mode.name()
        ));
    }
    let mut names: Vec<&str> = points.iter().map(|point| point.kernel).collect();
    names.dedup();
    let mut svg = String::new();
    let title = format!(
        "Roofline, {}, {} threads: {}",
        rows[0].device,
        rows[0].threads,
        mode.name().replace('_', " and ")
    );
    draw(&mut svg, &title, &points, &names, roofs).map_err(|error| anyhow!("roofline: {error}"))?;
    Ok(svg)
}

/// The rows with operations of the case of every kernel that does most, sorted by kernel.
fn largest(rows: &[Row], mode: Mode) -> Vec<Point<'_>> {
    let drawn = |row: &&Row| row.mode == mode && row.bytes > 0.0 && row.flops > 0.0;
    let mut sizes: BTreeMap<&str, (f64, &str)> = BTreeMap::new();
    for row in rows.iter().filter(drawn) {
        let work = row.bytes + row.flops;
        let most = sizes.entry(&row.kernel).or_insert((work, &row.size));
        if work > most.0 {
            *most = (work, &row.size);
        }
    }
    let mut points = Vec::new();
    for (kernel, (_, size)) in sizes {
        let of_case = rows
            .iter()
            .filter(drawn)
            .filter(|row| row.kernel == kernel && row.size == size);
        points.extend(of_case.map(|row| Point {
            kernel,
            provider: &row.provider,
            intensity: row.flops / row.bytes,
            rate: row.gflop_s,
        }));
    }
    points
}

fn draw(
    svg: &mut String,
    title: &str,
    points: &[Point],
    names: &[&str],
    roofs: &Roofs,
) -> Result<(), Box<dyn std::error::Error>> {
    let height = LEAST_HEIGHT.max(LINE_HEIGHT * (names.len() as u32 + 5));
    let area = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let (plot, list) = area.split_horizontally(WIDTH - LIST_WIDTH);
    let ridge = roofs.flops / roofs.bytes;
    let (left, right) = span(points.iter().map(|point| point.intensity).chain([ridge]));
    let (bottom, top) = span(
        points
            .iter()
            .map(|point| point.rate)
            .chain([roofs.flops / 1e9]),
    );
    let mut chart = ChartBuilder::on(&plot)
        .caption(title, (FONT, 22, &INK))
        .margin(14)
        .x_label_area_size(46)
        .y_label_area_size(66)
        .build_cartesian_2d((left..right).log_scale(), (bottom..top).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_desc("operations a byte that must be moved")
        .y_desc("10⁹ operations a second")
        .label_style((FONT, 16, &INK))
        .x_label_formatter(&|value| plain(*value))
        .y_label_formatter(&|value| plain(*value))
        .draw()?;
    roofs_of(&mut chart, roofs, (left, right))?;
    let mut providers: Vec<&str> = Vec::new();
    for point in points {
        if !providers.contains(&point.provider) {
            providers.push(point.provider);
        }
    }
    for (index, provider) in providers.iter().enumerate() {
        of_provider(
            &mut chart,
            points,
            names,
            provider,
            COLOURS[index % COLOURS.len()],
        )?;
    }
    key(&list, &providers, names)?;
    area.present()?;
    Ok(())
}

/// Bandwidth times intensity up to the rate of multiply-adds, and that rate.
fn roofs_of(
    chart: &mut Chart,
    roofs: &Roofs,
    (left, right): (f64, f64),
) -> Result<(), Box<dyn std::error::Error>> {
    let at = |intensity: f64| (intensity, (intensity * roofs.bytes).min(roofs.flops) / 1e9);
    let line = [at(left), at(roofs.flops / roofs.bytes), at(right)];
    chart.draw_series(LineSeries::new(line, INK.stroke_width(2)))?;
    let style = (FONT, 15, &INK).into_text_style(chart.plotting_area());
    let slope = format!("copy {:.0} GB/s", roofs.bytes / 1e9);
    let flat = format!("multiply-add {:.0} GFLOP/s", roofs.flops / 1e9);
    let (x, y) = at(left);
    chart.draw_series([
        Text::new(slope, (x * 1.05, y * 2.0), style.clone()),
        Text::new(flat, (left * 1.05, roofs.flops / 1e9 * 1.25), style),
    ])?;
    Ok(())
}

fn of_provider(
    chart: &mut Chart,
    points: &[Point],
    names: &[&str],
    provider: &str,
    colour: RGBColor,
) -> Result<(), Box<dyn std::error::Error>> {
    for point in points.iter().filter(|point| point.provider == provider) {
        let at = (point.intensity, point.rate);
        let number = names
            .iter()
            .position(|name| *name == point.kernel)
            .map_or(0, |index| index + 1);
        // Ours are discs, the peers' rings; the number stands left of ours and right of theirs.
        let (fill, shift) = if provider == TAPER {
            (colour.filled(), -18)
        } else {
            (colour.stroke_width(2), 7)
        };
        let mark = EmptyElement::at(at)
            + Circle::new((0, 0), 4, fill)
            + Text::new(
                number.to_string(),
                (shift, -6),
                (FONT, 12).into_font().color(&colour),
            );
        chart.draw_series([mark])?;
    }
    Ok(())
}

/// Providers and numbered operators.
fn key(
    list: &DrawingArea<SVGBackend, Shift>,
    providers: &[&str],
    names: &[&str],
) -> Result<(), Box<dyn std::error::Error>> {
    let mut line = 2;
    let mut next = || {
        line += 1;
        (line * LINE_HEIGHT) as i32
    };
    for (index, provider) in providers.iter().enumerate() {
        let (y, colour) = (next(), COLOURS[index % COLOURS.len()]);
        let fill = if *provider == TAPER {
            colour.filled()
        } else {
            colour.stroke_width(2)
        };
        list.draw(&Circle::new((8, y + 6), 4, fill))?;
        list.draw(&Text::new(
            (*provider).to_owned(),
            (20, y),
            (FONT, 15).into_font().color(&colour),
        ))?;
    }
    for (index, name) in names.iter().enumerate() {
        let text = format!("{:>2}  {name}", index + 1);
        list.draw(&Text::new(
            text,
            (4, next()),
            (FONT, 14).into_font().color(&INK),
        ))?;
    }
    Ok(())
}

/// The range of positive numbers with some room at both ends.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, 0f64), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    (low / 2.5, high * 2.5)
}

/// No more digits than a label of a logarithmic axis needs.
fn plain(value: f64) -> String {
    if value >= 1.0 {
        format!("{value:.0}")
    } else {
        format!("{value}")
    }
}

#[cfg(test)]
mod tests {
    use super::roofline;
    use crate::case::{Mode, Work};
    use crate::clock::Quantiles;
    use crate::roofs::Roofs;
    use crate::row::{Machine, Row};

    #[test]
    fn every_operator_and_provider_has_a_mark() {
        let roofs = Roofs {
            bytes: 5e10,
            flops: 2e11,
        };
        let machine = Machine {
            device: "test".into(),
            threads: 2,
        };
        let times = Quantiles::of(vec![1e-3]).unwrap();
        let row = |kernel: &str, elements: usize, provider: &str| Row {
            provider: provider.into(),
            ..machine.row(
                kernel,
                Mode::Forward,
                elements.to_string(),
                Work::passes(elements, 2, 3),
                times,
                &roofs,
            )
        };
        let rows = [
            row("relu", 10, "taper"),
            row("relu", 1000, "taper"),
            row("relu", 1000, "pytorch"),
            row("norm", 10, "taper"),
        ];
        let svg = roofline(&rows, &roofs, Mode::Forward).unwrap();
        // Three marks and two in the key; the smaller relu is left out.
        assert_eq!(svg.matches("<circle").count(), 5);
        for text in [
            "relu",
            "norm",
            "pytorch",
            "copy 50 GB/s",
            "multiply-add 200 GFLOP/s",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(roofline(&rows, &roofs, Mode::Backward).is_err());
    }
}
