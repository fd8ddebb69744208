//! The header of a safetensors file: strict, without duplicates, holes or overlaps.

use super::source::Region;
use super::storage::Storage;
use super::view::{View, byte_count};
use super::{ElementType, Found, Limits};
use crate::WeightsError;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

const PREFIX: u64 = 8;

pub(crate) fn read(file: &Region, limits: &Limits) -> Result<Found, WeightsError> {
    let source = &file.source;
    let mut prefix = [0; PREFIX as usize];
    file.read_at(&mut prefix, 0)?;
    let length = u64::from_le_bytes(prefix);
    let header = file.part(PREFIX, length).ok_or_else(|| {
        source.format(format!(
            "not a whole safetensors file: the header is announced with {length} bytes, the file has {}",
            file.length
        ))
    })?;
    if length > limits.header_bytes {
        return Err(source.limit(format!("a header of {length} bytes"), "header_bytes"));
    }
    let header: Header = serde_json::from_slice(&header.bytes()?)
        .map_err(|error| source.format(format!("safetensors header: {error}")))?;
    let content = file
        .from(PREFIX + length)
        .ok_or_else(|| source.format("ends early"))?;
    header
        .check_offsets(content.length)
        .map_err(|reason| source.format(reason))?;
    let mut found = Found {
        metadata: header.metadata,
        ..Found::default()
    };
    for (name, info) in header.tensors {
        let view = info
            .view(&name, &content)
            .map_err(|reason| source.format(reason))?;
        found.views.push((name, view));
    }
    Ok(found)
}

/// Whether the bytes can be the start of a safetensors file of `length` bytes.
pub(crate) fn looks_like(head: &[u8], length: u64) -> bool {
    let Some(prefix) = head.first_chunk::<8>() else {
        return false;
    };
    let announced = u64::from_le_bytes(*prefix);
    // A header of that many bytes would start so; what it announces is checked later.
    head.get(8) == Some(&b'{') || (announced >= 2 && announced <= length.saturating_sub(PREFIX))
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Info {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

impl Info {
    fn view(&self, name: &str, content: &Region) -> Result<View, String> {
        let dtype = ElementType::from_safetensors(&self.dtype)
            .ok_or_else(|| format!("tensor {name}: element type {} is not known", self.dtype))?;
        let (start, end) = self.data_offsets;
        let bytes = byte_count(&self.shape, dtype);
        if bytes != Some(end - start) {
            return Err(format!(
                "tensor {name}: shape {:?} of {dtype} does not fill the {} bytes that it has",
                self.shape,
                end - start
            ));
        }
        let region = content
            .part(start, end - start)
            .ok_or_else(|| format!("tensor {name}: bytes {start}..{end} are not in the file"))?;
        let storage = Arc::new(Storage::plain(format!("tensor {name}"), region));
        View::contiguous(storage, 0, dtype, self.shape.clone())
            .map_err(|reason| format!("tensor {name}: {reason}"))
    }
}

#[derive(Default)]
struct Header {
    /// In the file's order.
    tensors: Vec<(String, Info)>,
    metadata: BTreeMap<String, String>,
}

impl Header {
    /// Every byte of the content belongs to one tensor.
    fn check_offsets(&self, length: u64) -> Result<(), String> {
        let mut spans: Vec<(u64, u64, &str)> = self
            .tensors
            .iter()
            .map(|(name, info)| (info.data_offsets.0, info.data_offsets.1, name.as_str()))
            .collect();
        spans.sort_unstable();
        let mut position = 0;
        for (start, end, name) in spans {
            if end < start || end > length {
                return Err(format!(
                    "tensor {name}: bytes {start}..{end} lie outside of the {length} that the file has after its header: truncated or damaged"
                ));
            }
            if start != position {
                let what = if start < position {
                    "overlap another tensor"
                } else {
                    "leave a hole"
                };
                return Err(format!(
                    "tensor {name}: bytes {start}..{end} {what}; expected them at {position}"
                ));
            }
            position = end;
        }
        if position != length {
            return Err(format!(
                "the tensors have {position} bytes, the file {length} after its header"
            ));
        }
        Ok(())
    }
}

impl<'de> serde::Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header::default();
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format!("{name} is there twice")));
            }
            if name == "__metadata__" {
                header.metadata = map.next_value()?;
            } else {
                let info = map.next_value()?;
                header.tensors.push((name, info));
            }
        }
        Ok(header)
    }
}
