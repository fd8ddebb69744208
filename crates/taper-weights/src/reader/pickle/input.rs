//! The bytes of a pickle, read through a window.

use crate::WeightsError;
use crate::reader::source::Region;

const WINDOW: u64 = 64 << 10;

pub(super) struct Input {
    region: Region,
    position: u64,
    window: Vec<u8>,
    window_start: u64,
}

impl Input {
    pub(super) fn new(region: Region, position: u64) -> Self {
        Self {
            region,
            position,
            window: Vec::new(),
            window_start: 0,
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn format(&self, reason: String) -> WeightsError {
        self.region.source.format(reason)
    }

    pub(super) fn limit(&self, what: String, limit: &'static str) -> WeightsError {
        self.region.source.limit(what, limit)
    }

    fn truncated(&self) -> WeightsError {
        self.format(format!(
            "the pickle ends in the middle of an opcode at position {}: truncated or damaged",
            self.position
        ))
    }

    pub(super) fn byte(&mut self) -> Result<u8, WeightsError> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], WeightsError> {
        let mut bytes = [0; N];
        self.fill(N as u64)?;
        let at = (self.position - self.window_start) as usize;
        bytes.copy_from_slice(&self.window[at..at + N]);
        self.position += N as u64;
        Ok(bytes)
    }

    /// Makes the window hold `count` bytes from the position; `count` is at most its size.
    fn fill(&mut self, count: u64) -> Result<(), WeightsError> {
        let held = self.window_start + self.window.len() as u64;
        if self.position >= self.window_start && self.position + count <= held {
            return Ok(());
        }
        let left = self.region.length.saturating_sub(self.position);
        if left < count {
            return Err(self.truncated());
        }
        self.window.resize(left.min(WINDOW) as usize, 0);
        self.window_start = self.position;
        self.region.read_at(&mut self.window, self.position)
    }

    /// An error unless `length` more bytes are there.
    pub(super) fn require(&self, length: u64) -> Result<(), WeightsError> {
        if length > self.region.length.saturating_sub(self.position) {
            return Err(self.truncated());
        }
        Ok(())
    }

    /// The next `length` bytes, unread.
    pub(super) fn region(&mut self, length: u64) -> Result<Region, WeightsError> {
        let region = self
            .region
            .part(self.position, length)
            .ok_or_else(|| self.truncated())?;
        self.position += length;
        Ok(region)
    }

    /// The next `length` bytes; the caller has charged for them.
    pub(super) fn take(&mut self, length: u64) -> Result<Vec<u8>, WeightsError> {
        if length > WINDOW {
            return self.region(length)?.bytes();
        }
        self.fill(length)?;
        let at = (self.position - self.window_start) as usize;
        self.position += length;
        Ok(self.window[at..at + length as usize].to_vec())
    }

    /// Up to the next line feed, which is taken off; Latin-1, as protocol 0 writes.
    pub(super) fn line(&mut self, most: usize) -> Result<String, WeightsError> {
        let start = self.position;
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => break,
                byte => line.push(byte),
            }
            if line.len() > most {
                return Err(self.format(format!(
                    "the pickle has a line of more than {most} bytes at position {start}"
                )));
            }
        }
        Ok(line.into_iter().map(char::from).collect())
    }
}
