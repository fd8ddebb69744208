//! The iterator over an epoch's batches and the threads behind it.

use std::any::Any;
use std::iter::FusedIterator;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::Batch;
use super::prepare::Preparation;
use super::queue::Queue;
use crate::augmentation::Sample;
use crate::error::{DataError, Result};

/// Batches ready or in the making, for each worker: one in the making, one ready.
const AHEAD: usize = 2;

/// The batches of one epoch, in order. After an error there are no more.
#[derive(Debug)]
pub struct EpochIterator {
    work: Arc<Work>,
    /// Used when there are no workers.
    sample: Sample,
    next: usize,
    end: usize,
    wait: Duration,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads share.
#[derive(Debug)]
struct Work {
    preparation: Arc<Preparation>,
    order: Vec<u32>,
    epoch: u64,
    queue: Queue,
}

impl Work {
    /// Makes one batch; a panic becomes an error.
    fn make(&self, number: usize, sample: &mut Sample) -> Result<Batch> {
        let prepare = || {
            self.preparation
                .batch(&self.order, self.epoch, number, sample)
        };
        catch_unwind(AssertUnwindSafe(prepare)).unwrap_or_else(|panic| {
            Err(DataError::Worker {
                batch: number,
                message: message(&*panic),
            })
        })
    }

    fn run(&self) {
        let mut sample = Sample::default();
        while let Some(number) = self.queue.claim() {
            self.queue.complete(number, self.make(number, &mut sample));
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without message".to_owned()
    }
}

impl EpochIterator {
    pub(super) fn start(
        preparation: Arc<Preparation>,
        epoch: u64,
        first: usize,
        end: usize,
        workers: usize,
    ) -> Self {
        let first = first.min(end);
        let workers = workers.min(end - first);
        let work = Arc::new(Work {
            order: preparation.order(epoch),
            preparation,
            epoch,
            queue: Queue::new(first, end, AHEAD * workers),
        });
        // Where the system gives no thread, the others (or the consumer itself) do the work.
        let threads = (0..workers)
            .map_while(|number| {
                let work = Arc::clone(&work);
                thread::Builder::new()
                    .name(format!("loader {number}"))
                    .spawn(move || work.run())
                    .ok()
            })
            .collect();
        Self {
            work,
            sample: Sample::default(),
            next: first,
            end,
            wait: Duration::ZERO,
            threads,
        }
    }

    /// How long [`Iterator::next`] has taken so far in all: the loader's share of the steps.
    pub fn wait(&self) -> Duration {
        self.wait
    }
}

impl Iterator for EpochIterator {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let start = Instant::now();
        let batch = match self.threads.is_empty() {
            true => self.work.make(self.next, &mut self.sample),
            false => self.work.queue.next(),
        };
        self.wait += start.elapsed();
        self.next += 1;
        if batch.is_err() {
            self.next = self.end;
            self.work.queue.stop();
        }
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // an error ends the epoch early
        let left = self.end - self.next;
        (left.min(1), Some(left))
    }
}

impl FusedIterator for EpochIterator {}

impl Drop for EpochIterator {
    fn drop(&mut self) {
        self.work.queue.stop();
        for thread in self.threads.drain(..) {
            // Workers catch their panics, so there is nothing left to report.
            let _ = thread.join();
        }
    }
}
