//! Where a training is.

use serde::{Deserialize, Serialize};

/// The place of one step in a whole training. Epochs and steps count from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The epoch.
    pub epoch: u64,
    /// Steps done in this epoch.
    pub step_in_epoch: usize,
    /// Steps of one epoch.
    pub steps_per_epoch: usize,
    /// Epochs of the whole training.
    pub epochs: u64,
}

impl Position {
    /// Before the first step.
    pub fn start(epochs: u64, steps_per_epoch: usize) -> Self {
        Self {
            epoch: 0,
            step_in_epoch: 0,
            steps_per_epoch,
            epochs,
        }
    }

    /// Steps done in the whole training.
    pub fn step(&self) -> u64 {
        self.epoch * self.steps_per_epoch as u64 + self.step_in_epoch as u64
    }

    /// Steps of the whole training.
    pub fn steps_total(&self) -> u64 {
        self.epochs * self.steps_per_epoch as u64
    }

    /// Share of the training that is done, 0 to 1.
    pub fn fraction(&self) -> f64 {
        match self.steps_total() {
            0 => 1.0,
            total => self.step() as f64 / total as f64,
        }
    }

    /// Epochs done, with the part of the current one.
    pub fn epochs_done(&self) -> f64 {
        self.epoch as f64 + self.step_in_epoch as f64 / self.steps_per_epoch.max(1) as f64
    }

    /// Whether every epoch is done.
    pub fn finished(&self) -> bool {
        self.epoch >= self.epochs
    }

    /// Whether the steps of this epoch are done (its evaluation may be still to come).
    pub fn epoch_complete(&self) -> bool {
        self.step_in_epoch >= self.steps_per_epoch
    }

    pub(crate) fn next_epoch(&mut self) {
        self.epoch += 1;
        self.step_in_epoch = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::Position;

    #[test]
    fn counts() {
        let mut position = Position::start(4, 5);
        assert_eq!((position.step(), position.steps_total()), (0, 20));
        position.step_in_epoch = 5;
        assert!(position.epoch_complete() && !position.finished());
        assert_eq!(position.fraction(), 0.25);
        position.next_epoch();
        assert_eq!((position.step(), position.epoch), (5, 1));
        position.epoch = 4;
        assert!(position.finished());
        assert_eq!(position.fraction(), 1.0);
        assert_eq!(Position::start(0, 5).fraction(), 1.0);
    }
}
