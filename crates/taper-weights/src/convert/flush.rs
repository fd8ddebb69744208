//! Lets the disk write while the rest is still read: without it all waits for the last `sync`.

use crate::WeightsError;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

/// Bytes written between two requests; smaller files ask for none.
const EVERY: usize = 64 << 20;

/// A file whose content is sent to the disk from time to time, on a thread of its own.
pub(crate) struct Flushing<'scope> {
    file: File,
    written: usize,
    requests: SyncSender<()>,
    thread: ScopedJoinHandle<'scope, std::io::Result<()>>,
}

impl<'scope> Flushing<'scope> {
    /// # Errors
    /// The file cannot be shared with the thread.
    pub(crate) fn new(file: &File, scope: &'scope Scope<'scope, '_>) -> std::io::Result<Self> {
        let (file, shared) = (file.try_clone()?, file.try_clone()?);
        let (requests, received) = sync_channel(1);
        let thread = scope.spawn(move || {
            for () in received {
                shared.sync_data()?;
            }
            Ok(())
        });
        Ok(Self {
            file,
            written: 0,
            requests,
            thread,
        })
    }

    /// Waits for the thread. A failure of the disk is told once only: it must not be lost here.
    pub(crate) fn finish(self, path: &Path) -> Result<(), WeightsError> {
        drop(self.requests);
        let synced = self.thread.join().unwrap_or(Ok(()));
        synced.map_err(|source| WeightsError::Write {
            path: path.to_path_buf(),
            source,
        })
    }
}

impl Write for Flushing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.written += count;
        if self.written >= EVERY {
            self.written = 0;
            // A request that is still waiting covers these bytes too.
            let _ = self.requests.try_send(());
        }
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
