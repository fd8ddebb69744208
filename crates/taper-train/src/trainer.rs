//! The loop that every method uses.

use crate::checkpoint::CheckpointFolder;
use crate::checkpoint_writer::CheckpointWriter;
use crate::config::TrainConfig;
use crate::error::{Result, TrainError};
use crate::last_epoch::LastEpoch;
use crate::metrics::{EpochRecord, Metrics, MetricsLog, Record, Summary, finite, read_epochs};
use crate::objective::{BatchSource, Objective};
use crate::plot::training_plots;
use crate::position::Position;
use crate::progress::Progress;
use crate::report::report;
use crate::run_directory::{
    CHECKPOINT_FOLDER, METRICS_FILE, MODEL_FILE, PLOTS_FOLDER, REPORT_FILE, RunDirectory,
};
use crate::state::{TrainingState, difference, settings_text};
use crate::step::{LOSS, OBSERVATION, TERM};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use taper_layers::ParameterStore;

/// Pictures are drawn anew at most this often while training.
const PLOT_EVERY: Duration = Duration::from_secs(10);

/// How a training ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Every epoch is done.
    Finished(Summary),
    /// `stop` was set: a checkpoint was written, and training goes on from it another time.
    Interrupted {
        /// Where it stopped.
        position: Position,
        /// The checkpoint.
        checkpoint: PathBuf,
    },
}

/// Trains the parameters of `store` as `config` says, from the newest checkpoint in `run` or from
/// the store's present values, until every epoch is done or `stop` is set.
///
/// Killed at any instant and called again with the same arguments, it ends on the CPU with the
/// same bytes in `model.safetensors`, and with the same lines in `metrics.jsonl` up to `seconds`.
/// Called again on a finished run it writes the results once more.
///
/// Run it inside [`run_on_big_stack`](crate::run_on_big_stack).
///
/// # Errors
/// [`TrainError`]; checkpoints already written stay loadable whatever happens.
pub fn train<O, S>(
    config: &TrainConfig,
    store: &ParameterStore,
    objective: &mut O,
    source: &mut S,
    run: &RunDirectory,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Result<Outcome>
where
    O: Objective,
    S: BatchSource<Batch = O::Batch>,
{
    config.validate()?;
    let batches = source.batches_per_epoch();
    if batches == 0 {
        return Err(TrainError::NoBatches);
    }
    let state = TrainingState::new(config, store, batches)?;
    let mut trainer = Trainer::begin(state, objective, run, progress, stop)?;
    while !trainer.state.position.finished() {
        if !trainer.epoch_steps(source)? {
            return trainer.interrupt();
        }
        trainer.end_epoch()?;
    }
    trainer.finish()
}

struct Trainer<'a, O> {
    state: TrainingState<'a>,
    objective: &'a mut O,
    run: &'a RunDirectory,
    progress: &'a mut Progress,
    stop: &'a AtomicBool,
    metrics: MetricsLog,
    checkpoints: CheckpointWriter,
    plotted: Instant,
}

impl<'a, O: Objective> Trainer<'a, O> {
    /// From the newest checkpoint, if there is one.
    fn begin(
        mut state: TrainingState<'a>,
        objective: &'a mut O,
        run: &'a RunDirectory,
        progress: &'a mut Progress,
        stop: &'a AtomicBool,
    ) -> Result<Self> {
        let checkpoints = CheckpointFolder::open(run.file(CHECKPOINT_FOLDER))?;
        let mut metrics_bytes = 0;
        if let Some((path, checkpoint, damaged)) = checkpoints.newest()? {
            for error in damaged {
                progress.notice(&format!("{error}; using the checkpoint before it"));
            }
            refuse_changes(
                &state,
                &path,
                &checkpoint.header.settings,
                checkpoint.header.position,
            )?;
            metrics_bytes = checkpoint.header.metrics_bytes;
            let own = state.restore(checkpoint)?;
            objective.restore(&own)?;
            let Position {
                epoch,
                step_in_epoch,
                ..
            } = state.position;
            progress.notice(&format!(
                "going on after {epoch} epochs and {step_in_epoch} steps, from {}",
                path.display()
            ));
        }
        let averages = state.ema.as_ref().map(|ema| ema.averages().clone());
        objective.begin(&averages.unwrap_or_default())?;
        let (metrics, complete) = MetricsLog::open(run.file(METRICS_FILE), metrics_bytes)?;
        if !complete {
            progress.notice(&format!(
                "{} is shorter than when the checkpoint was written: lines are missing",
                run.file(METRICS_FILE).display()
            ));
        }
        progress.begin(state.position.steps_total(), state.position.step());
        Ok(Self {
            state,
            objective,
            run,
            progress,
            stop,
            metrics,
            checkpoints: CheckpointWriter::start(checkpoints)?,
            plotted: Instant::now(),
        })
    }

    /// The steps that the current epoch still has; false if `stop` ended them.
    fn epoch_steps<S: BatchSource<Batch = O::Batch>>(&mut self, source: &mut S) -> Result<bool> {
        if self.state.position.epoch_complete() {
            return Ok(!self.stop.load(Ordering::Relaxed));
        }
        let Position {
            epoch,
            step_in_epoch,
            ..
        } = self.state.position;
        let mut batches = source.epoch(epoch, step_in_epoch)?;
        while !self.state.position.epoch_complete() {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let asked = Instant::now();
            let batch = batches.next().ok_or(TrainError::ShortEpoch {
                epoch: epoch + 1,
                found: self.state.position.step_in_epoch,
                expected: self.state.position.steps_per_epoch,
            })??;
            self.step(&batch, asked.elapsed())?;
        }
        Ok(!self.stop.load(Ordering::Relaxed))
    }

    fn step(&mut self, batch: &O::Batch, waited: Duration) -> Result<()> {
        self.checkpoints.check()?;
        let began = Instant::now();
        let losses = self.objective.losses(batch, &self.state.position)?;
        let samples = losses.samples;
        let record = self.state.step(losses)?;
        let took = began.elapsed();
        self.state.clock.step(waited, took, samples);
        let config = self.state.config;
        self.progress
            .step(&record, config.epochs, samples, waited + took);
        let due = |every: Option<u64>| every.is_some_and(|n| record.step.is_multiple_of(n));
        let checkpoint = due(config.checkpoint_every_steps);
        if due(config.log_every_steps) {
            self.metrics.append(&Record::Step(record))?;
        }
        // The end of an epoch has a checkpoint of its own, after the evaluation.
        if checkpoint && !self.state.position.epoch_complete() {
            self.write_checkpoint()?;
        }
        Ok(())
    }

    fn end_epoch(&mut self) -> Result<()> {
        let position = self.state.position;
        let epoch = position.epoch + 1;
        let every = self.state.config.evaluate_every_epochs;
        let began = Instant::now();
        let test = if epoch.is_multiple_of(every) || epoch == position.epochs {
            let objective = &mut *self.objective;
            finite(self.state.with_average(|| objective.evaluate(&position))?)
        } else {
            Metrics::new()
        };
        let evaluation = began.elapsed();
        self.state.clock.evaluation(evaluation);
        self.progress.spend(evaluation);

        let record = self.epoch_record(test, evaluation);
        self.metrics.append(&Record::Epoch(record.clone()))?;
        self.progress.epoch(&record);
        self.state.last_epoch = LastEpoch::of(&record);
        self.state.position.next_epoch();
        self.state.meters.clear();
        self.state.clock.next_epoch();
        self.write_checkpoint()?;
        if epoch == 1 && !self.state.untouched().is_empty() {
            let names = self.state.untouched().join(", ");
            self.progress
                .notice(&format!("no gradient reached these parameters: {names}"));
        }
        if self.plotted.elapsed() > PLOT_EVERY {
            self.plot(&read_epochs(&self.run.file(METRICS_FILE))?)?;
        }
        Ok(())
    }

    fn epoch_record(&self, test: Metrics, evaluation: Duration) -> EpochRecord {
        let means = self.state.meters.means();
        let with_prefix = |prefix: &str| -> BTreeMap<String, f64> {
            let own = |(name, value): (&String, &f64)| {
                Some((name.strip_prefix(prefix)?.to_string(), *value))
            };
            means.iter().filter_map(own).collect()
        };
        EpochRecord {
            epoch: self.state.position.epoch + 1,
            step: self.state.position.step(),
            learning_rate: self.state.learning_rate,
            loss: means.get(LOSS).copied().unwrap_or_default(),
            terms: with_prefix(TERM),
            train: finite(with_prefix(OBSERVATION)),
            test,
            seconds: self.state.clock.epoch(evaluation),
        }
    }

    fn write_checkpoint(&mut self) -> Result<()> {
        let mut checkpoint = self.state.checkpoint(self.objective.state()?)?;
        checkpoint.header.metrics_bytes = self.metrics.length();
        self.checkpoints.submit(&checkpoint, self.metrics.handle()?)
    }

    fn interrupt(mut self) -> Result<Outcome> {
        self.write_checkpoint()?;
        let checkpoint = self.checkpoints.flush()?.unwrap_or_default();
        self.plot(&read_epochs(&self.run.file(METRICS_FILE))?)?;
        self.progress.end();
        Ok(Outcome::Interrupted {
            position: self.state.position,
            checkpoint,
        })
    }

    /// Writes the network, the result line, the pictures and the report.
    fn finish(mut self) -> Result<Outcome> {
        self.checkpoints.flush()?;
        let model = self.objective.finished_model(self.state.model())?;
        self.run
            .write_tensors(MODEL_FILE, &model, &self.objective.metadata())?;
        let path = self.run.file(METRICS_FILE);
        let epochs = read_epochs(&path)?;
        let last = self.state.last_epoch.clone();
        let summary = Summary {
            epochs: self.state.position.epoch,
            steps: self.state.position.step(),
            loss: last.loss,
            train: last.train,
            test: last.test,
            seconds: self.state.clock.total(),
        };
        self.metrics.append(&Record::Result(summary.clone()))?;
        self.metrics.sync()?;
        let plots = self.plot(&epochs)?;
        let settings = toml::to_string(self.state.config)
            .map_err(|error| TrainError::serialise("the settings", error))?;
        let page = report(
            &settings,
            &epochs,
            &summary,
            &self.state.untouched(),
            &plots,
        );
        self.run.write_view(REPORT_FILE, page.as_bytes())?;
        self.progress.end();
        Ok(Outcome::Finished(summary))
    }

    /// Draws the curves so far; returns the file names. A picture that cannot be drawn stops nothing.
    fn plot(&mut self, epochs: &[EpochRecord]) -> Result<Vec<String>> {
        self.plotted = Instant::now();
        let pictures = match training_plots(epochs) {
            Ok(pictures) => pictures,
            Err(error) => {
                self.progress.notice(&error.to_string());
                BTreeMap::new()
            }
        };
        for (name, svg) in &pictures {
            let file = PathBuf::from(PLOTS_FOLDER).join(name);
            self.run.write_view(file, svg.as_bytes())?;
        }
        Ok(pictures.into_keys().collect())
    }
}

/// A checkpoint of other settings would end in a mixture of both.
fn refuse_changes(
    state: &TrainingState<'_>,
    path: &std::path::Path,
    settings: &str,
    position: Position,
) -> Result<()> {
    let now = settings_text(state.config)?;
    let batches = (position.steps_per_epoch, state.position.steps_per_epoch);
    let changed = difference(settings, &now).or_else(|| {
        let (found, expected) = batches;
        let name = || "batches per epoch".to_string();
        (found != expected).then(|| (name(), found.to_string(), expected.to_string()))
    });
    match changed {
        Some((field, found, expected)) => Err(TrainError::SettingsChanged {
            path: path.to_path_buf(),
            field,
            found,
            expected,
        }),
        None => Ok(()),
    }
}
