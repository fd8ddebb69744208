//! Where bytes come from: positioned reads of a file, or memory.

use crate::WeightsError;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Bytes that can be read at any position, and the name that errors give them.
#[derive(Debug)]
pub(crate) struct Source {
    /// Shared by all that was taken out of the file.
    path: Arc<Path>,
    length: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    File(File),
    Memory(Vec<u8>),
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Arc<Self>, WeightsError> {
        let read = |source| WeightsError::Read {
            path: path.to_path_buf(),
            source,
        };
        let file = File::open(path).map_err(read)?;
        let metadata = file.metadata().map_err(read)?;
        if !metadata.is_file() {
            return Err(WeightsError::Format {
                path: path.to_path_buf(),
                reason: "not a regular file".into(),
            });
        }
        Ok(Arc::new(Self {
            path: path.into(),
            length: metadata.len(),
            content: Content::File(file),
        }))
    }

    fn memory(path: Arc<Path>, bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self {
            path,
            length: bytes.len() as u64,
            content: Content::Memory(bytes),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// An error about this file's content.
    pub(crate) fn format(&self, reason: impl Into<String>) -> WeightsError {
        WeightsError::Format {
            path: self.path.to_path_buf(),
            reason: reason.into(),
        }
    }

    /// An error about a cap.
    pub(crate) fn limit(&self, what: impl Into<String>, limit: &'static str) -> WeightsError {
        WeightsError::Limit {
            path: self.path.to_path_buf(),
            what: what.into(),
            limit,
        }
    }

    pub(crate) fn whole(self: &Arc<Self>) -> Region {
        Region {
            source: self.clone(),
            start: 0,
            length: self.length,
        }
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        match &self.content {
            Content::File(file) => file.read_exact_at(buffer, at),
            Content::Memory(bytes) => {
                let start = usize::try_from(at).unwrap_or(usize::MAX);
                let piece = start
                    .checked_add(buffer.len())
                    .and_then(|end| bytes.get(start..end))
                    .ok_or(io::ErrorKind::UnexpectedEof)?;
                buffer.copy_from_slice(piece);
                Ok(())
            }
        }
    }
}

/// A run of bytes of a source, inside its bounds when it was made.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    pub(crate) source: Arc<Source>,
    /// From the start of the source.
    pub(crate) start: u64,
    pub(crate) length: u64,
}

impl Region {
    pub(crate) fn memory(path: &Path, bytes: Vec<u8>) -> Self {
        Source::memory(path.into(), bytes).whole()
    }

    /// Bytes that were taken out of `source` and changed, for instance decompressed.
    pub(crate) fn out_of(source: &Source, bytes: Vec<u8>) -> Self {
        Source::memory(source.path.clone(), bytes).whole()
    }

    /// The part from `offset` of `length` bytes, `None` if it is not inside.
    pub(crate) fn part(&self, offset: u64, length: u64) -> Option<Self> {
        let end = offset.checked_add(length)?;
        (end <= self.length).then(|| Self {
            source: self.source.clone(),
            start: self.start + offset,
            length,
        })
    }

    /// The part from `offset` to the end.
    pub(crate) fn from(&self, offset: u64) -> Option<Self> {
        self.part(offset, self.length.checked_sub(offset)?)
    }

    pub(crate) fn read_at(&self, buffer: &mut [u8], at: u64) -> Result<(), WeightsError> {
        let inside = at
            .checked_add(buffer.len() as u64)
            .is_some_and(|end| end <= self.length);
        if !inside {
            return Err(self.source.format(format!(
                "ends too early: {} bytes wanted at position {}, {} are there",
                buffer.len(),
                self.start.saturating_add(at),
                self.length.saturating_sub(at)
            )));
        }
        self.source
            .read_exact_at(buffer, self.start + at)
            .map_err(|source| WeightsError::Read {
                path: self.source.path.to_path_buf(),
                source,
            })
    }

    /// Up to `count` bytes from the start.
    pub(crate) fn head(&self, count: usize) -> Result<Vec<u8>, WeightsError> {
        let count = self.length.min(count as u64) as usize;
        let mut bytes = vec![0; count];
        self.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// All bytes; the caller has checked that they are few.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, WeightsError> {
        self.head(usize::try_from(self.length).unwrap_or(usize::MAX))
    }

    pub(crate) fn cursor(&self) -> Cursor {
        Cursor {
            region: self.clone(),
            position: 0,
        }
    }
}

/// Reads a region from front to back, for the decoders that want `Read`.
#[derive(Debug, Clone)]
pub(crate) struct Cursor {
    region: Region,
    position: u64,
}

impl io::Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.region.length.saturating_sub(self.position);
        let count = left.min(buffer.len() as u64) as usize;
        self.region
            .source
            .read_exact_at(&mut buffer[..count], self.region.start + self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl io::Seek for Cursor {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let position = match to {
            io::SeekFrom::Start(position) => Some(position),
            io::SeekFrom::Current(by) => self.position.checked_add_signed(by),
            io::SeekFrom::End(by) => self.region.length.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
