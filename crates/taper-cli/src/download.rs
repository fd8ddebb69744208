//! From a name of weights to a file on this machine, with a bar while it is fetched.

use crate::output::Output;
use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use taper::weights::hub::{Event, HubSettings, resolve_with};

/// Between two plain lines off a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// What the bar shows; the remaining time is last.
const TEMPLATE: &str = "{msg} {bar:24} {bytes}/{total_bytes} {binary_bytes_per_sec}, {eta} left";

/// The file that `--weights` means: a path, an address, `OWNER/NAME[@REVISION][/FILE]` of the hub,
/// or a file that `taper weights list` names.
pub fn weights(spec: &Path, output: &Output) -> anyhow::Result<PathBuf> {
    resolve(spec, output).with_context(|| format!("--weights {}", spec.display()))
}

/// As [`weights`], for commands whose argument is the checkpoint itself.
pub fn resolve(spec: &Path, output: &Output) -> anyhow::Result<PathBuf> {
    let mut bar = DownloadBar::new(output, HubSettings::from_environment().progress_bars);
    Ok(resolve_with(spec, &mut |event| bar.tell(event))?)
}

/// A bar with the remaining time on a terminal, else a line every ten seconds; all on stderr.
pub struct DownloadBar {
    output: Output,
    bar: Option<ProgressBar>,
    /// Whether the numbers are wanted at all; notes are told in any case.
    numbers: bool,
    file: String,
    total: Option<u64>,
    last: Instant,
}

impl DownloadBar {
    /// `numbers`: whether the environment allows bars.
    pub fn new(output: &Output, numbers: bool) -> Self {
        Self {
            output: *output,
            bar: None,
            numbers: numbers && !output.quiet,
            file: String::new(),
            total: None,
            last: Instant::now(),
        }
    }

    /// Shows one piece of news.
    pub fn tell(&mut self, event: Event) {
        match event {
            Event::Start { file, have, total } => self.start(file, have, total),
            Event::Bytes { done } => self.advance(done),
            Event::Done => self.finish(),
            Event::Note(text) => match &self.bar {
                Some(bar) if !self.output.quiet => bar.println(text),
                _ => self.output.remark(&text),
            },
            _ => {}
        }
    }

    fn start(&mut self, file: String, have: u64, total: Option<u64>) {
        (self.file, self.total, self.last) = (file, total, Instant::now());
        let terminal = std::io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|name| name != "dumb");
        if !self.numbers || !terminal {
            return;
        }
        let target = ProgressDrawTarget::stderr_with_hz(10);
        let bar = match total {
            Some(total) => ProgressBar::with_draw_target(Some(total), target),
            None => ProgressBar::with_draw_target(None, target),
        };
        // The template is a constant; should it ever be refused, the default serves.
        let style = ProgressStyle::with_template(TEMPLATE);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(self.file.clone());
        bar.set_position(have);
        bar.reset_eta();
        self.bar = Some(bar);
    }

    fn advance(&mut self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if self.numbers && self.last.elapsed() >= LINE_EVERY {
            self.last = Instant::now();
            let of = self
                .total
                .map_or(String::new(), |total| format!(" of {}", megabytes(total)));
            self.output
                .remark(&format!("{}: {}{of}", self.file, megabytes(done)));
        }
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// `1.1 MB`.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
