//! Puts checkpoints on the disk while training goes on.
//!
//! A sync of the disk can take longer than an epoch of a small network, so that a thread does it.
//! A checkpoint that still waits when a newer one comes is left out: the newer one replaces it.

use crate::checkpoint::{Checkpoint, CheckpointFolder};
use crate::error::{Result, TrainError};
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// The writing thread and what it has been given. Dropping it waits for the last checkpoint.
pub(crate) struct CheckpointWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Option<Job>,
    writing: bool,
    closed: bool,
    written: Option<PathBuf>,
    error: Option<TrainError>,
}

/// A checkpoint as bytes: the training may change its tensors meanwhile.
struct Job {
    step: u64,
    bytes: Vec<u8>,
    /// The metrics that the checkpoint speaks of must be on the disk before it.
    metrics: File,
    metrics_path: PathBuf,
}

impl CheckpointWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`TrainError::Io`] if it cannot be started.
    pub fn start(folder: CheckpointFolder) -> Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let own = shared.clone();
        let path = folder.directory().to_path_buf();
        let thread = std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || own.work(&folder))
            .map_err(TrainError::io("start a thread for", &path))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Hands a checkpoint over, with the metrics file to sync before it.
    ///
    /// # Errors
    /// As [`check`](Self::check); [`TrainError::Io`].
    pub fn submit(&self, checkpoint: &Checkpoint, metrics: (File, PathBuf)) -> Result<()> {
        self.check()?;
        let job = Job {
            step: checkpoint.header.position.step(),
            bytes: checkpoint.to_bytes()?,
            metrics: metrics.0,
            metrics_path: metrics.1,
        };
        self.shared.lock().waiting = Some(job);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Whether every checkpoint so far could be written.
    ///
    /// # Errors
    /// The error of the one that could not.
    pub fn check(&self) -> Result<()> {
        match self.shared.lock().error.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Waits until the last checkpoint is on the disk and returns its path.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn flush(&self) -> Result<Option<PathBuf>> {
        let mut state = self.shared.lock();
        while state.waiting.is_some() || state.writing {
            state = self.shared.wait(state);
        }
        match state.error.take() {
            Some(error) => Err(error),
            None => Ok(state.written.clone()),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let waited = self.changed.wait(state);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread's life: take, write, tell; after closing, what still waits is written.
    fn work(&self, folder: &CheckpointFolder) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.waiting.take() {
                state.writing = true;
                drop(state);
                let result = job.write(folder);
                state = self.lock();
                state.writing = false;
                match result {
                    Ok(path) => state.written = Some(path),
                    Err(error) => state.error = Some(error),
                }
                self.changed.notify_all();
            } else if state.closed {
                return;
            } else {
                state = self.wait(state);
            }
        }
    }
}

impl Job {
    fn write(&self, folder: &CheckpointFolder) -> Result<PathBuf> {
        self.metrics
            .sync_data()
            .map_err(TrainError::io("write", &self.metrics_path))?;
        folder.write(self.step, &self.bytes)
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It cannot panic; and were it to, a drop is no place to say so.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Header;
    use crate::position::Position;
    use std::collections::BTreeMap;

    fn checkpoint(epoch: u64) -> Checkpoint {
        let position = Position {
            epoch,
            ..Position::start(9, 10)
        };
        Checkpoint {
            header: Header::new(position, String::new()),
            sections: BTreeMap::new(),
        }
    }

    #[test]
    fn the_last_is_written_and_failures_are_told() {
        let root = tempfile::tempdir().unwrap();
        let folder = CheckpointFolder::open(root.path().join("checkpoint")).unwrap();
        let metrics = || {
            let path = root.path().join("metrics.jsonl");
            (File::create(&path).unwrap(), path)
        };
        let writer = CheckpointWriter::start(folder.clone()).unwrap();
        assert_eq!(writer.flush().unwrap(), None);
        for epoch in 1..=5 {
            writer.submit(&checkpoint(epoch), metrics()).unwrap();
        }
        let path = writer.flush().unwrap().unwrap();
        assert!(path.ends_with("step-0000000050.safetensors"));
        writer.submit(&checkpoint(6), metrics()).unwrap();
        drop(writer);
        let (path, newest, _) = folder.newest().unwrap().unwrap();
        assert!(path.ends_with("step-0000000060.safetensors"));
        assert_eq!(newest.header.position.epoch, 6);

        let writer = CheckpointWriter::start(folder).unwrap();
        std::fs::remove_dir_all(root.path().join("checkpoint")).unwrap();
        writer.submit(&checkpoint(7), metrics()).unwrap();
        let error = writer.flush().unwrap_err().to_string();
        assert!(error.contains("step-0000000070.safetensors"), "{error}");
    }
}
