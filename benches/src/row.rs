//! One measured number, as a line of a table.

use crate::case::{Mode, Work};
use crate::clock::Quantiles;
use crate::roofs::Roofs;
use serde::Serialize;

/// The name of our own rows.
pub(crate) const TAPER: &str = "taper";

/// What one provider took for one mode of one case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The operator.
    pub kernel: String,
    /// `taper`, `pytorch`, `torch.compile`, `triton`, `liger`.
    pub provider: String,
    /// What was timed.
    pub mode: Mode,
    /// Shape and settings.
    pub size: String,
    /// Of the times of single calls, in `unit`.
    pub median: f64,
    /// A fifth of the calls took less.
    pub p20: f64,
    /// Four fifths of the calls took less.
    pub p80: f64,
    /// `ms`.
    pub unit: &'static str,
    /// Bytes that must be moved, by the median, in 10⁹ a second.
    pub gb_s: f64,
    /// Operations that must be done, by the median, in 10⁹ a second.
    pub gflop_s: f64,
    /// The least time by the machine's measured roofs over the median.
    pub fraction_of_peak: f64,
    /// `memory` or `compute`: the roof that is lower for this work.
    pub bound: &'static str,
    /// Taper's median over this one's; 1 in our own rows.
    pub ratio: Option<f64>,
    /// The processor or GPU.
    pub device: String,
    /// Threads in use.
    pub threads: usize,
    /// The provider's.
    pub version: String,
    /// How many calls were timed.
    pub calls: usize,
    /// Bytes that must be moved.
    pub bytes: f64,
    /// Operations that must be done.
    pub flops: f64,
}

/// What is the same in all rows of a run.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The processor or GPU.
    pub device: String,
    /// Threads in use.
    pub threads: usize,
}

impl Machine {
    /// A row of our own.
    pub(crate) fn row(
        &self,
        kernel: &str,
        mode: Mode,
        size: String,
        work: Work,
        times: Quantiles,
        roofs: &Roofs,
    ) -> Row {
        let (least, memory) = roofs.least_seconds(work);
        Row {
            kernel: kernel.to_owned(),
            provider: TAPER.to_owned(),
            mode,
            size,
            median: 1e3 * times.median,
            p20: 1e3 * times.p20,
            p80: 1e3 * times.p80,
            unit: "ms",
            gb_s: work.bytes / times.median / 1e9,
            gflop_s: work.flops / times.median / 1e9,
            fraction_of_peak: least / times.median,
            bound: if memory { "memory" } else { "compute" },
            ratio: Some(1.0),
            device: self.device.clone(),
            threads: self.threads,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            calls: times.count,
            bytes: work.bytes,
            flops: work.flops,
        }
    }
}

/// The rows as comma-separated values with a heading.
pub fn csv(rows: &[Row]) -> String {
    let mut text = String::from(
        "kernel,provider,mode,size,median,p20,p80,unit,gb_s,gflop_s,fraction_of_peak,bound,ratio,device,threads,version,calls,bytes,flops\n",
    );
    for row in rows {
        let ratio = row
            .ratio
            .map_or_else(String::new, |ratio| format!("{ratio:.4}"));
        text += &format!(
            "{},{},{},{},{:.6},{:.6},{:.6},{},{:.3},{:.3},{:.4},{},{},{},{},{},{},{},{}\n",
            field(&row.kernel),
            field(&row.provider),
            row.mode.name(),
            field(&row.size),
            row.median,
            row.p20,
            row.p80,
            row.unit,
            row.gb_s,
            row.gflop_s,
            row.fraction_of_peak,
            row.bound,
            ratio,
            field(&row.device),
            row.threads,
            field(&row.version),
            row.calls,
            row.bytes,
            row.flops,
        );
    }
    text
}

/// A text in quotes where it has a comma or quotes of its own.
fn field(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
