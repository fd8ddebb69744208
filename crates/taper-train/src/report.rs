//! `report.md`: a finished training on a page.

use crate::metrics::{EpochRecord, Metrics, Summary};
use crate::progress::duration;
use std::collections::BTreeSet;
use std::time::Duration;

/// The page, in Markdown; `plots` are the names of the files in the plots folder.
pub(crate) fn report(
    settings: &str,
    epochs: &[EpochRecord],
    summary: &Summary,
    untouched: &[String],
    plots: &[String],
) -> String {
    let seconds = &summary.seconds;
    let mut page = format!(
        "# Training report\n\n\
         {} epochs, {} steps in {}: {:.0} samples/s, {:.1} % of the training time waiting for data.\n\n\
         ## Last epoch\n\n| | value |\n|---|---|\n| loss | {:.4} |\n",
        summary.epochs,
        summary.steps,
        duration(Duration::from_secs_f64(seconds.total.max(0.0))),
        seconds.samples_per_second,
        100.0 * seconds.loader_share,
        summary.loss,
    );
    for (part, metrics) in [("train", &summary.train), ("test", &summary.test)] {
        for (name, value) in metrics {
            page += &format!("| {part} {name} | {} |\n", cell(value));
        }
    }
    if let Some((epoch, value)) = best_top1(epochs) {
        page += &format!(
            "\nBest test top1: {value:.2} in epoch {epoch}; the saved network is that of the last epoch.\n"
        );
    }
    if !untouched.is_empty() {
        page += &format!(
            "\nNo gradient ever reached these parameters: {}.\n",
            untouched.join(", ")
        );
    }
    for plot in plots {
        page += &format!("\n![{plot}](plots/{plot})\n");
    }
    page + &epoch_table(epochs) + &format!("\n## Settings of the loop\n\n```toml\n{settings}```\n")
}

fn best_top1(epochs: &[EpochRecord]) -> Option<(u64, f64)> {
    let values = epochs.iter().filter_map(|epoch| {
        let value = (*epoch.test.get("top1")?)?;
        Some((epoch.epoch, value))
    });
    // The first of equals.
    values.reduce(|best, next| if next.1 > best.1 { next } else { best })
}

fn epoch_table(epochs: &[EpochRecord]) -> String {
    let keys = |metrics: fn(&EpochRecord) -> &Metrics| -> BTreeSet<&String> {
        epochs.iter().flat_map(|e| metrics(e).keys()).collect()
    };
    let (train, test) = (keys(|e| &e.train), keys(|e| &e.test));
    let mut table = String::from("\n## Epochs\n\n| epoch | learning rate | loss |");
    for name in &train {
        table += &format!(" train {name} |");
    }
    for name in &test {
        table += &format!(" test {name} |");
    }
    table += &format!(
        " seconds |\n|{}\n",
        "---|".repeat(4 + train.len() + test.len())
    );
    for epoch in epochs {
        table += &format!(
            "| {} | {:.3e} | {:.4} |",
            epoch.epoch, epoch.learning_rate, epoch.loss
        );
        for name in &train {
            table += &format!(" {} |", cell(epoch.train.get(*name).unwrap_or(&None)));
        }
        for name in &test {
            table += &format!(" {} |", cell(epoch.test.get(*name).unwrap_or(&None)));
        }
        table += &format!(" {:.1} |\n", epoch.seconds.total);
    }
    table
}

fn cell(value: &Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.4}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Seconds;
    use std::collections::BTreeMap;

    #[test]
    fn page() {
        let epoch = |number, top1: Option<f64>| EpochRecord {
            epoch: number,
            step: number * 5,
            learning_rate: 0.05,
            loss: 0.7,
            terms: BTreeMap::new(),
            train: Metrics::new(),
            test: BTreeMap::from([("top1".into(), top1)]),
            seconds: Seconds::default(),
        };
        let epochs = [
            epoch(1, Some(91.0)),
            epoch(2, Some(93.5)),
            epoch(3, Some(92.0)),
        ];
        let summary = Summary {
            epochs: 3,
            steps: 15,
            loss: 0.7,
            train: Metrics::new(),
            test: epochs[2].test.clone(),
            seconds: Seconds::default(),
        };
        let page = report(
            "epochs = 3\n",
            &epochs,
            &summary,
            &["a".into()],
            &["loss.svg".into()],
        );
        for text in [
            "| test top1 | 92.0000 |",
            "Best test top1: 93.50 in epoch 2",
            "reached these parameters: a.",
            "![loss.svg](plots/loss.svg)",
            "| epoch | learning rate | loss | test top1 | seconds |",
            "| 2 | 5.000e-2 | 0.7000 | 93.5000 | 0.0 |",
            "epochs = 3",
        ] {
            assert!(page.contains(text), "{text}\n{page}");
        }
    }
}
