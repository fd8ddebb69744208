//! Where results and errors go: stdout carries results, stderr progress and errors.

use crate::args::Global;
use serde::Serialize;
use std::io::Write;

/// Version of the JSON objects' layout.
const SCHEMA: u32 = 1;
/// An error is at most this many lines.
const ERROR_LINES: usize = 6;

/// The output mode of this run.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// JSON on stdout.
    pub json: bool,
    /// No progress, no remarks.
    pub quiet: bool,
}

impl Output {
    /// By `--json` and `--quiet`.
    pub fn new(global: &Global) -> Self {
        Self {
            json: global.json,
            quiet: global.quiet,
        }
    }

    /// The answer: one JSON object with `"schema"`, or `text`.
    pub fn answer(
        &self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            self.json_line(value)
        } else {
            self.line(&text())
        }
    }

    /// One JSON object on a line of its own.
    pub fn json_line(&self, value: &impl Serialize) -> anyhow::Result<()> {
        let mut object = serde_json::Map::new();
        object.insert("schema".into(), SCHEMA.into());
        if let serde_json::Value::Object(fields) = serde_json::to_value(value)? {
            object.extend(fields);
        }
        self.line(&serde_json::to_string(&object)?)
    }

    /// A line of plain text on stdout.
    pub fn line(&self, text: &str) -> anyhow::Result<()> {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{text}")?;
        stdout.flush()?;
        Ok(())
    }

    /// A remark on stderr, for people.
    pub fn remark(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(anstream::stderr(), "{text}");
        }
    }
}

/// `error: …`, at most six lines, no backtrace.
pub fn print_error(error: &anyhow::Error) {
    let mut lines: Vec<String> = Vec::new();
    for cause in error.chain() {
        // Candle appends a backtrace to its messages when RUST_BACKTRACE is set.
        let text = cause.to_string();
        let text = text.split("\n   0:").next().unwrap_or_default().trim_end();
        if !lines.iter().any(|line| line.contains(text)) {
            lines.extend(text.lines().map(str::to_string));
        }
    }
    lines.truncate(ERROR_LINES);
    let _ = writeln!(anstream::stderr(), "error: {}", lines.join("\n  "));
}

/// A reader that went away (`taper models list | head`) is no failure.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1234567, "1,234,567"),
        ] {
            assert_eq!(super::grouped(number), text);
        }
    }
}
