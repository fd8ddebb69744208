//! Batches made ahead by workers and handed out in order.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::Batch;
use crate::error::Result;

/// What workers and consumer share.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// The number after the last batch.
    end: usize,
    /// How many batches may be in the making or ready at once.
    depth: usize,
}

#[derive(Debug)]
struct State {
    /// The next batch that a worker takes up.
    claimed: usize,
    /// The next batch that the consumer gets.
    wanted: usize,
    ready: BTreeMap<usize, Result<Batch>>,
    is_stopped: bool,
}

impl Queue {
    pub(super) fn new(first: usize, end: usize, depth: usize) -> Self {
        Self {
            state: Mutex::new(State {
                claimed: first,
                wanted: first,
                ready: BTreeMap::new(),
                is_stopped: false,
            }),
            changed: Condvar::new(),
            end,
            depth,
        }
    }

    // Workers catch their panics, so a poisoned lock still guards a sound state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the batch that the calling worker shall make; waits while enough are made
    /// ahead. `None`: no more.
    pub(super) fn claim(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.is_stopped || state.claimed >= self.end {
                return None;
            }
            if state.claimed < state.wanted + self.depth {
                state.claimed += 1;
                return Some(state.claimed - 1);
            }
            state = self.wait(state);
        }
    }

    /// Hands in batch `number`.
    pub(super) fn complete(&self, number: usize, batch: Result<Batch>) {
        self.lock().ready.insert(number, batch);
        self.changed.notify_all();
    }

    /// The next batch in order; waits for it. To be called only while batches are left and
    /// workers live.
    pub(super) fn next(&self) -> Result<Batch> {
        let mut state = self.lock();
        loop {
            let wanted = state.wanted;
            if let Some(batch) = state.ready.remove(&wanted) {
                state.wanted += 1;
                drop(state);
                self.changed.notify_all();
                return batch;
            }
            state = self.wait(state);
        }
    }

    /// Ends the work: workers finish what they have and take up nothing.
    pub(super) fn stop(&self) {
        self.lock().is_stopped = true;
        self.changed.notify_all();
    }
}
