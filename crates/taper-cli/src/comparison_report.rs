//! A finished comparison for people: a table, a picture, a page.

use comfy_table::{CellAlignment, Table, TableStyle, presets};
use taper::distill::{Comparison, DistillConfig, Method, Row};
use taper::train::plot::{Bar, Labels, bars_with_spread};
use taper::train::{PLOTS_FOLDER, REPORT_FILE, RunDirectory};

/// The picture's file in the run's folder of plots.
const PICTURE: &str = "comparison.svg";

/// Writes `report.md` and the picture into the run and returns the table for the terminal.
pub fn write(
    config: &DistillConfig,
    comparison: &Comparison,
    run: &RunDirectory,
) -> anyhow::Result<String> {
    let title = format!(
        "{} teaches {} on {}",
        config.teacher.model, config.student, config.data
    );
    let bars: Vec<Bar> = comparison
        .rows
        .iter()
        .map(|row| Bar {
            name: row.method.clone(),
            values: row.accuracies.clone(),
        })
        .collect();
    let labels = Labels {
        title: title.clone(),
        x: "method".into(),
        y: "test top-1, %".into(),
    };
    let picture = format!("{PLOTS_FOLDER}/{PICTURE}");
    run.write(&picture, bars_with_spread(&labels, &bars)?.as_bytes())?;
    let remarks: Vec<String> = comparison
        .remarks
        .iter()
        .map(|remark| format!("note: {remark}"))
        .collect();
    let settings = toml::to_string(config)?;
    let page = format!(
        "# {title}\n\n{}\n\n![comparison]({picture})\n\n{}\n\n## Settings\n\n```toml\n{settings}```\n",
        table(comparison, presets::ASCII_MARKDOWN),
        remarks.join("\n\n"),
    );
    run.write(REPORT_FILE, page.as_bytes())?;
    let mut text = format!(
        "{title}: top-1 on the test images after the last epoch, %\n\n{}",
        table(comparison, presets::UTF8_HORIZONTAL_ONLY)
    );
    for remark in remarks {
        text += &format!("\n{remark}");
    }
    text += &format!("\npicture: {}", run.file(&picture).display());
    Ok(text)
}

fn table(comparison: &Comparison, style: TableStyle) -> String {
    let mut table = Table::new();
    table
        .load_style(style)
        .set_header(["", "mean", "sd", "a seed each"]);
    for row in &comparison.rows {
        let accuracies: Vec<_> = row.accuracies.iter().map(|a| format!("{a:.2}")).collect();
        let sd = match row.accuracies.len() {
            0 | 1 => "–".to_string(),
            _ => format!("{:.2}", row.sd),
        };
        table.add_row([
            label(row),
            format!("{:.2}", row.mean),
            sd,
            accuracies.join("  "),
        ]);
    }
    for column in [1, 2] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

fn label(row: &Row) -> String {
    match row.method.parse::<Method>() {
        Ok(method) => method.description().to_string(),
        Err(_) => row.method.clone(),
    }
}
