//! One process a run directory.

use crate::error::{Result, TrainError};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

pub(crate) const LOCK_FILE: &str = "run.lock";

/// Held while a process works in a run directory; the system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct RunLock {
    _file: File,
}

impl RunLock {
    /// Takes the lock of `directory` and writes this process's id into its file.
    ///
    /// # Errors
    /// [`TrainError::InUse`] with the holder's id; [`TrainError::Io`].
    pub fn take(directory: &Path) -> Result<Self> {
        let path = directory.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(TrainError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok();
                return Err(TrainError::InUse {
                    path: directory.to_path_buf(),
                    pid: pid.and_then(|_| text.trim().parse().ok()),
                });
            }
            Err(TryLockError::Error(error)) => return Err(TrainError::io("lock", &path)(error)),
        }
        let mut write = || {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write().map_err(TrainError::io("write", &path))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let lock = RunLock::take(folder.path()).unwrap();
        match RunLock::take(folder.path()) {
            Err(error @ TrainError::InUse { pid, .. }) => {
                assert_eq!(pid, Some(std::process::id()));
                let text = error.to_string();
                let name = folder.path().display().to_string();
                assert!(text.contains(&name) && text.contains("in use by another process"));
            }
            other => panic!("{other:?}"),
        }
        drop(lock);
        RunLock::take(folder.path()).unwrap();
    }
}
