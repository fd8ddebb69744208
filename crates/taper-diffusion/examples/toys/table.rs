//! Mean and deviation over the seeds, as Markdown, beside the figures of the method card.

use super::{STEPS, Scores};

/// The row of the data themselves.
pub const FLOOR: &str = "data against the reference";

/// Rows in their order, with the card's means at 1, 2, 4, 8, 16 steps and its straightness.
const CARD: [(&str, [f64; 5], f64); 17] = [
    (FLOOR, [0.124; 5], f64::NAN),
    ("RF", [1.585, 0.746, 0.405, 0.231, 0.160], 0.496),
    (
        "RF, 16,000 iterations",
        [1.591, 0.748, 0.403, 0.223, 0.147],
        0.506,
    ),
    ("RK12", [1.555, 0.658, 0.315, 0.162, 0.139], 0.485),
    ("RK23 head 1", [1.558, 0.657, 0.313, 0.160, 0.133], 0.483),
    ("RK23 head 2", [1.522, 0.617, 0.274, 0.142, 0.146], 0.473),
    ("RK34 head 1", [1.559, 0.653, 0.312, 0.158, 0.133], 0.482),
    ("RK34 head 2", [1.521, 0.611, 0.272, 0.140, 0.147], 0.471),
    ("RK34 head 3", [1.475, 0.568, 0.234, 0.136, 0.171], 0.457),
    (
        "RK12, w1 = 4 w2",
        [1.311, 0.408, 0.147, 0.230, 0.308],
        0.417,
    ),
    (
        "RK12, w1 = 15 w2",
        [0.545, 0.410, 0.644, 0.765, 0.825],
        0.212,
    ),
    (
        "RF + learned coupling",
        [1.509, 0.657, 0.337, 0.186, 0.141],
        0.435,
    ),
    (
        "RK12 + learned coupling",
        [1.447, 0.579, 0.260, 0.142, 0.148],
        0.416,
    ),
    (
        "RF, 4,000 iterations (teacher)",
        [1.523, 0.702, 0.400, 0.262, 0.210],
        f64::NAN,
    ),
    ("CD as executed", [0.953, 0.191, 0.347, 0.478, 0.542], 0.269),
    ("CD proper", [1.038, 0.271, 0.221, 0.326, 0.390], 0.282),
    ("PD", [0.214, 0.212, 0.211, 0.210, 0.210], f64::NAN),
];

/// The table; `!` marks a mean further from the card's than max(3 sd, 0.03).
pub fn table(results: &[Scores]) -> String {
    let mut names: Vec<&str> = CARD.iter().map(|row| row.0).collect();
    let others = results.iter().map(|scores| scores.row.as_str());
    for name in others {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut lines = vec![
        "| | 1 | 2 | 4 | 8 | 16 | straightness | seeds | seconds |".to_string(),
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |".to_string(),
    ];
    for name in names {
        let own: Vec<&Scores> = results.iter().filter(|scores| scores.row == name).collect();
        if !own.is_empty() {
            lines.push(line(name, &own));
        }
    }
    lines.join("\n")
}

fn line(name: &str, own: &[&Scores]) -> String {
    let card = CARD.iter().find(|row| row.0 == name);
    let mut cells = vec![name.to_string()];
    for (column, steps) in STEPS.iter().enumerate() {
        let values: Vec<f64> = own
            .iter()
            .filter_map(|s| s.w2.get(steps).copied())
            .collect();
        cells.push(cell(&values, card.map(|row| row.1[column])));
    }
    let values: Vec<f64> = own
        .iter()
        .filter_map(|scores| scores.straightness)
        .collect();
    cells.push(cell(&values, card.map(|row| row.2)));
    let seconds: Vec<f64> = own.iter().map(|scores| scores.seconds).collect();
    cells.push(own.len().to_string());
    cells.push(format!("{:.0}", mean(&seconds)));
    format!("| {} |", cells.join(" | "))
}

fn cell(values: &[f64], card: Option<f64>) -> String {
    if values.is_empty() {
        return String::new();
    }
    let (mean, sd) = (mean(values), deviation(values));
    let mut text = match values.len() {
        1 => format!("{mean:.3}"),
        _ => format!("{mean:.3} ± {sd:.3}"),
    };
    if let Some(card) = card.filter(|card| card.is_finite()) {
        let far = (mean - card).abs() > (3.0 * sd).max(0.03);
        text += &format!(" ({card:.3}{})", if far { " !" } else { "" });
    }
    text
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// With n − 1.
fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (values.len().max(2) - 1) as f64).sqrt()
}
