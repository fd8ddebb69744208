//! What a waiting person or program sees: a bar, plain lines, JSON events, or nothing.

use crate::metrics::{EpochRecord, Record, SCHEMA, StepRecord};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two plain lines or two JSON progress events.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Between two changes of the bar's text.
const BAR_EVERY: Duration = Duration::from_millis(100);
/// Weight of the newest step in the smoothed throughput.
const NEWEST: f64 = 0.05;

/// Shows how far one or several trainings are. A writer that fails is no reason to stop a training:
/// such failures are ignored.
pub struct Progress {
    sink: Sink,
    label: Option<String>,
    total: u64,
    /// Steps of the trainings that ended.
    before: u64,
    /// Steps of the training now running.
    current_total: u64,
    position: u64,
    /// Steps done by this process, and the time they took.
    measured: u64,
    spent: Duration,
    samples_per_second: Option<f64>,
    /// The latest metrics on held-out data of the training now running.
    test: String,
    last: Option<Instant>,
}

enum Sink {
    Bar(ProgressBar),
    Lines(Box<dyn Write + Send>),
    Json(Box<dyn Write + Send>),
    Quiet,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Progress({} of {} steps)", self.position, self.total)
    }
}

impl Progress {
    fn new(sink: Sink) -> Self {
        Self {
            sink,
            label: None,
            total: 0,
            before: 0,
            current_total: 0,
            position: 0,
            measured: 0,
            spent: Duration::ZERO,
            samples_per_second: None,
            test: String::new(),
            last: None,
        }
    }

    /// A bar on stderr where that is a terminal, otherwise plain lines to stderr.
    pub fn automatic() -> Self {
        if std::io::stderr().is_terminal() {
            Self::bar()
        } else {
            Self::lines(Box::new(std::io::stderr()))
        }
    }

    /// A bar on stderr.
    pub fn bar() -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        // The template is a constant; should indicatif ever refuse it, its default serves.
        let style = ProgressStyle::with_template("{bar:24} {percent:>3}% {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        Self::new(Sink::Bar(bar))
    }

    /// A plain line at most every ten seconds.
    pub fn lines(writer: Box<dyn Write + Send>) -> Self {
        Self::new(Sink::Lines(writer))
    }

    /// Every event as a line of JSON.
    pub fn json(writer: Box<dyn Write + Send>) -> Self {
        Self::new(Sink::Json(writer))
    }

    /// Nothing.
    pub fn quiet() -> Self {
        Self::new(Sink::Quiet)
    }

    /// Announces the steps of all trainings to come, so that the remaining time is that of the whole.
    pub fn plan(&mut self, steps: u64) {
        self.total = steps;
    }

    /// Names the training to come (`norm/seed0`).
    pub fn label(&mut self, label: impl Into<String>) {
        self.label = Some(label.into());
    }

    /// Tells something that a person should know.
    pub fn notice(&mut self, message: &str) {
        let line = match &self.label {
            Some(label) => format!("{label}: {message}"),
            None => message.to_string(),
        };
        match &mut self.sink {
            Sink::Bar(bar) => bar.println(line),
            Sink::Lines(writer) => {
                let _ = writeln!(writer, "{line}");
            }
            Sink::Json(_) => self.event(json!({"event": "notice", "message": message})),
            Sink::Quiet => {}
        }
    }

    /// Writes an object as a JSON event, with `schema` and, where a label is set, `run`. Other modes ignore it.
    pub fn event(&mut self, mut event: serde_json::Value) {
        let Sink::Json(writer) = &mut self.sink else {
            return;
        };
        if let Some(object) = event.as_object_mut() {
            object.insert("schema".into(), SCHEMA.into());
            if let Some(label) = &self.label {
                object.insert("run".into(), label.as_str().into());
            }
        }
        let _ = writeln!(writer, "{event}").and_then(|()| writer.flush());
    }

    /// Takes the bar away; call it before printing results.
    pub fn clear(&mut self) {
        if let Sink::Bar(bar) = &self.sink {
            bar.finish_and_clear();
        }
    }

    pub(crate) fn begin(&mut self, steps: u64, done: u64) {
        self.current_total = steps;
        self.total = self.total.max(self.before + steps);
        self.position = self.before + done;
        self.test.clear();
        if let Sink::Bar(bar) = &self.sink {
            bar.set_length(self.total);
            bar.set_position(self.position);
        }
    }

    pub(crate) fn end(&mut self) {
        self.before += self.current_total;
        self.position = self.before;
    }

    pub(crate) fn step(
        &mut self,
        record: &StepRecord,
        epochs: u64,
        samples: usize,
        took: Duration,
    ) {
        self.position += 1;
        self.measured += 1;
        self.spent += took;
        let rate = samples as f64 / took.as_secs_f64().max(1e-9);
        self.samples_per_second = Some(match self.samples_per_second {
            Some(old) => old + NEWEST * (rate - old),
            None => rate,
        });
        let pause = match &self.sink {
            Sink::Bar(bar) => {
                bar.set_position(self.position);
                BAR_EVERY
            }
            Sink::Lines(_) | Sink::Json(_) => LINE_EVERY,
            Sink::Quiet => return,
        };
        if self.last.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        self.last = Some(Instant::now());
        self.show_step(record, epochs);
    }

    fn show_step(&mut self, record: &StepRecord, epochs: u64) {
        let eta = self.remaining();
        let rate = self.samples_per_second.unwrap_or_default();
        let text = self.step_text(record, epochs, eta);
        match &mut self.sink {
            Sink::Bar(bar) => bar.set_message(text),
            Sink::Lines(writer) => {
                let percent = 100 * self.position / self.total.max(1);
                let _ = writeln!(writer, "{percent:>3}% {text}");
            }
            Sink::Json(_) => self.event(json!({
                "event": "progress", "epoch": record.epoch, "step": record.step,
                "loss": record.loss, "samples_per_second": rate, "eta_seconds": eta.as_secs_f64(),
            })),
            Sink::Quiet => {}
        }
    }

    fn step_text(&self, record: &StepRecord, epochs: u64, eta: Duration) -> String {
        let mut text = String::new();
        if let Some(label) = &self.label {
            text += &format!("{label}  ");
        }
        text += &format!("epoch {}/{epochs}  loss {:.4}", record.epoch, record.loss);
        if record.terms.len() > 1 {
            let terms: Vec<_> = record
                .terms
                .iter()
                .map(|(name, value)| format!("{name} {value:.4}"))
                .collect();
            text += &format!(" ({})", terms.join(", "));
        }
        text += &self.test;
        let rate = self.samples_per_second.unwrap_or_default();
        text + &format!("  {rate:.0} samples/s  {} left", duration(eta))
    }

    pub(crate) fn epoch(&mut self, record: &EpochRecord) {
        if !record.test.is_empty() {
            let metric = |(name, value): (&String, &Option<f64>)| {
                Some(format!("  test {name} {:.2}", (*value)?))
            };
            self.test = record.test.iter().filter_map(metric).collect();
        }
        if let Sink::Json(_) = &self.sink {
            let json = Record::Epoch(record.clone()).to_json().unwrap_or_default();
            if let Ok(value) = serde_json::from_str(&json) {
                self.event(value);
            }
        }
    }

    /// How long what is left of everything takes at the pace so far.
    fn remaining(&self) -> Duration {
        let left = self.total.saturating_sub(self.position) as f64;
        self.spent.mul_f64(left / self.measured.max(1) as f64)
    }

    /// Counts time that is not a step's (an evaluation) into the pace.
    pub(crate) fn spend(&mut self, took: Duration) {
        self.spent += took;
    }
}

/// `2 h 05 min`, `3 min 20 s`, `8 s`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn step(progress: &mut Progress) {
        let record = StepRecord {
            epoch: 2,
            step: 11,
            learning_rate: 0.1,
            loss: 1.5,
            terms: BTreeMap::from([("ce".into(), 1.0), ("kd".into(), 0.5)]),
        };
        progress.step(&record, 4, 64, Duration::from_millis(500));
    }

    #[test]
    fn plain_lines_are_rare_and_count_the_whole_plan() {
        let shared = Shared::default();
        let mut progress = Progress::lines(Box::new(shared.clone()));
        progress.plan(100);
        progress.label("kd/seed1");
        progress.begin(40, 0);
        progress.end();
        progress.begin(40, 9);
        for _ in 0..5 {
            step(&mut progress);
        }
        let text = shared.text();
        assert_eq!(
            text,
            " 50% kd/seed1  epoch 2/4  loss 1.5000 (ce 1.0000, kd 0.5000)  128 samples/s  25 s left\n"
        );
    }

    #[test]
    fn json_lines_have_schema_event_and_run() {
        let shared = Shared::default();
        let mut progress = Progress::json(Box::new(shared.clone()));
        progress.label("norm/seed0");
        progress.begin(20, 0);
        step(&mut progress);
        progress.notice("so it is");
        let events: Vec<serde_json::Value> = shared
            .text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let names: Vec<_> = events.iter().map(|event| &event["event"]).collect();
        assert_eq!(names, ["progress", "notice"]);
        assert!(
            events
                .iter()
                .all(|e| e["schema"] == 1 && e["run"] == "norm/seed0")
        );
        assert_eq!(events[0]["eta_seconds"], 9.5);
    }

    #[test]
    fn durations() {
        let text = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!((text(8), text(200)), ("8 s".into(), "3 min 20 s".into()));
        assert_eq!(text(7500), "2 h 05 min");
    }
}
