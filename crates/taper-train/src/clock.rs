//! Where the time of an epoch goes. Kept apart from everything that must be equal between runs.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Wall-clock in whole microseconds, which survive a checkpoint exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Clock {
    /// This epoch: waiting for batches.
    pub loader: u64,
    /// This epoch: steps.
    pub steps: u64,
    /// The samples of those steps.
    pub samples: u64,
    /// Whole training: waiting for batches.
    pub total_loader: u64,
    /// Whole training: steps.
    pub total_steps: u64,
    /// Whole training: evaluations.
    pub total_evaluation: u64,
    /// Whole training: samples.
    pub total_samples: u64,
}

/// Wall-clock figures of a record; runs that are equal otherwise differ here.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Seconds {
    /// Everything: waiting, steps, evaluation.
    pub total: f64,
    /// Waiting for the data source.
    pub loader: f64,
    /// Evaluation.
    pub evaluation: f64,
    /// Waiting for the data source, as a share of waiting and steps (0 to 1).
    pub loader_share: f64,
    /// Samples learnt from, per second of waiting and steps.
    pub samples_per_second: f64,
}

impl Clock {
    pub fn step(&mut self, loader: Duration, step: Duration, samples: usize) {
        let micros = |duration: Duration| duration.as_micros() as u64;
        self.loader += micros(loader);
        self.steps += micros(step);
        self.samples += samples as u64;
        self.total_loader += micros(loader);
        self.total_steps += micros(step);
        self.total_samples += samples as u64;
    }

    pub fn evaluation(&mut self, duration: Duration) {
        self.total_evaluation += duration.as_micros() as u64;
    }

    pub fn next_epoch(&mut self) {
        (self.loader, self.steps, self.samples) = (0, 0, 0);
    }

    /// Of the epoch so far, with its evaluation.
    pub fn epoch(&self, evaluation: Duration) -> Seconds {
        let evaluation = evaluation.as_micros() as u64;
        Seconds::of(self.loader, self.steps, evaluation, self.samples)
    }

    /// Of the whole training so far.
    pub fn total(&self) -> Seconds {
        let (loader, steps) = (self.total_loader, self.total_steps);
        Seconds::of(loader, steps, self.total_evaluation, self.total_samples)
    }
}

impl Seconds {
    fn of(loader: u64, steps: u64, evaluation: u64, samples: u64) -> Self {
        let seconds = |micros: u64| micros as f64 / 1e6;
        let training = seconds(loader + steps).max(1e-6);
        Self {
            total: seconds(loader + steps + evaluation),
            loader: seconds(loader),
            evaluation: seconds(evaluation),
            loader_share: seconds(loader) / training,
            samples_per_second: samples as f64 / training,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        let mut clock = Clock::default();
        for _ in 0..2 {
            clock.step(Duration::from_millis(100), Duration::from_millis(900), 50);
            clock.evaluation(Duration::from_secs(1));
            let epoch = clock.epoch(Duration::from_secs(1));
            assert_eq!((epoch.total, epoch.loader_share), (2.0, 0.1));
            assert_eq!(epoch.samples_per_second, 50.0);
            clock.next_epoch();
        }
        assert_eq!((clock.total().total, clock.total().loader), (4.0, 0.2));
    }
}
