//! A run of stored numbers that one or more tensors view, plain or compressed.

use super::Limits;
use super::source::{Region, Source};
use crate::WeightsError;
use flate2::Crc;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Bytes moved at a time.
pub(crate) const PIECE: usize = 1 << 20;

/// Up to this size a member is checked whole even when only a part of it is wanted.
const CHECKED_WHOLE: u64 = 64 << 20;

pub(crate) type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), WeightsError> + 'a;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Storage {
    /// As the file names it, for messages.
    pub(crate) name: String,
    /// The bytes in the file.
    region: Region,
    /// Set when the region is a DEFLATE stream: bytes after decompression.
    inflated: Option<u64>,
    /// CRC-32 of the content, where the container has one.
    crc: Option<u32>,
    verified: AtomicBool,
    pub(crate) big_endian: bool,
    inflated_limit: u64,
    cache: InflatedCache,
}

/// The last member of an archive that was decompressed into memory, by its position.
pub(crate) type InflatedCache = Arc<Mutex<Option<(u64, Region)>>>;

impl Storage {
    pub(crate) fn plain(name: impl Into<String>, region: Region) -> Self {
        Self {
            name: name.into(),
            region,
            inflated: None,
            crc: None,
            verified: AtomicBool::new(false),
            big_endian: false,
            inflated_limit: 0,
            cache: InflatedCache::default(),
        }
    }

    pub(crate) fn deflated(
        name: impl Into<String>,
        region: Region,
        size: u64,
        limits: &Limits,
        cache: &InflatedCache,
    ) -> Self {
        Self {
            inflated: Some(size),
            cache: cache.clone(),
            inflated_limit: limits.inflated_bytes,
            ..Self::plain(name, region)
        }
    }

    pub(crate) fn with_crc(self, crc: u32) -> Self {
        Self {
            crc: Some(crc),
            ..self
        }
    }

    pub(crate) fn with_byte_order(self, big_endian: bool) -> Self {
        Self { big_endian, ..self }
    }

    /// Bytes of content.
    pub(crate) fn length(&self) -> u64 {
        self.inflated.unwrap_or(self.region.length)
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.inflated.is_some()
    }

    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.region.source
    }

    /// Gives `length` bytes from `offset` to `sink` in pieces of at most [`PIECE`].
    pub(crate) fn stream(
        &self,
        offset: u64,
        length: u64,
        sink: &mut Sink<'_>,
    ) -> Result<(), WeightsError> {
        let whole = offset == 0 && length == self.length();
        if self.inflated.is_some() {
            return self.inflate(offset, length, sink);
        }
        if !whole {
            self.verify()?;
        }
        let mut crc = Crc::new();
        let mut buffer = vec![0; length.min(PIECE as u64) as usize];
        let mut position = 0;
        while position < length {
            let count = (length - position).min(buffer.len() as u64) as usize;
            let piece = &mut buffer[..count];
            self.region.read_at(piece, offset + position)?;
            if whole && self.crc.is_some() {
                crc.update(piece);
            }
            sink(piece)?;
            position += count as u64;
        }
        if whole { self.compare(&crc) } else { Ok(()) }
    }

    /// Decompresses from the start, and to the end if that is near, so that the checksum counts.
    fn inflate(&self, offset: u64, length: u64, sink: &mut Sink<'_>) -> Result<(), WeightsError> {
        let size = self.length();
        let wanted_end = offset.saturating_add(length).min(size);
        let to_the_end = size - wanted_end <= CHECKED_WHOLE;
        let end = if to_the_end { size } else { wanted_end };
        let mut decoder = flate2::bufread::DeflateDecoder::new(std::io::BufReader::with_capacity(
            64 << 10,
            self.region.cursor(),
        ));
        let mut crc = Crc::new();
        let mut buffer = vec![0; PIECE.min(size.max(1) as usize)];
        let mut position = 0;
        while position < end {
            let count = (end - position).min(buffer.len() as u64) as usize;
            let count = decoder
                .read(&mut buffer[..count])
                .map_err(|error| self.damaged(&format!("cannot be decompressed: {error}")))?;
            if count == 0 {
                let reason = format!("decompresses to {position} bytes, {size} were announced");
                return Err(self.damaged(&reason));
            }
            crc.update(&buffer[..count]);
            let from = offset.saturating_sub(position).min(count as u64) as usize;
            let to = wanted_end.saturating_sub(position).min(count as u64) as usize;
            if from < to {
                sink(&buffer[from..to])?;
            }
            position += count as u64;
        }
        if to_the_end {
            if !matches!(decoder.read(&mut [0; 1]), Ok(0)) {
                return Err(self.damaged(&format!("decompresses to more than {size} bytes")));
            }
            self.compare(&crc)?;
        }
        Ok(())
    }

    /// The plain bytes: those of the file, or the member decompressed into memory.
    pub(crate) fn random_access(&self) -> Result<Region, WeightsError> {
        let Some(size) = self.inflated else {
            self.verify()?;
            return Ok(self.region.clone());
        };
        let mut cache = match self.cache.lock() {
            Ok(cache) => cache,
            Err(poisoned) => poisoned.into_inner(),
        };
        match &*cache {
            Some((start, region)) if *start == self.region.start => return Ok(region.clone()),
            _ => *cache = None,
        }
        let region = Region::out_of(self.source(), self.to_vec(size)?);
        *cache = Some((self.region.start, region.clone()));
        Ok(region)
    }

    /// The whole content, if it is below the cap for compressed members.
    fn to_vec(&self, size: u64) -> Result<Vec<u8>, WeightsError> {
        if size > self.inflated_limit {
            let what = format!(
                "{}: {size} bytes must be decompressed into memory",
                self.name
            );
            return Err(self.source().limit(what, "inflated_bytes"));
        }
        let mut bytes = Vec::new();
        self.inflate(0, size, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Compares the checksum of a small member once; a large one is checked when read whole.
    fn verify(&self) -> Result<(), WeightsError> {
        if self.crc.is_none()
            || self.length() > CHECKED_WHOLE
            || self.verified.load(Ordering::Relaxed)
        {
            return Ok(());
        }
        self.stream(0, self.length(), &mut |_| Ok(()))
    }

    fn compare(&self, crc: &Crc) -> Result<(), WeightsError> {
        match self.crc {
            Some(expected) if expected != crc.sum() => Err(self.damaged(&format!(
                "CRC-32 is {:08x}, the archive says {expected:08x}: the file is damaged",
                crc.sum()
            ))),
            _ => {
                self.verified.store(true, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    fn damaged(&self, reason: &str) -> WeightsError {
        self.source().format(format!("{}: {reason}", self.name))
    }
}
