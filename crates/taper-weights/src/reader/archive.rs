//! ZIP archives as a list of members at known positions; nothing is unpacked to disk.

use super::Limits;
use super::source::Region;
use super::storage::{InflatedCache, Storage};
use crate::WeightsError;
use std::collections::BTreeMap;
use zip::CompressionMethod;

/// First bytes of an archive with members, and of one without.
pub(crate) const MAGICS: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];

#[derive(Debug, Clone)]
struct Member {
    region: Region,
    size: u64,
    deflated: bool,
    crc: u32,
}

/// The members by name.
#[derive(Debug)]
pub(crate) struct Archive {
    file: Region,
    members: BTreeMap<String, Member>,
    /// In the archive's order.
    names: Vec<String>,
    cache: InflatedCache,
}

impl Archive {
    pub(crate) fn open(file: &Region) -> Result<Self, WeightsError> {
        let format = |reason: String| file.source.format(reason);
        let damaged = |error: zip::result::ZipError| {
            format(format!("ZIP archive: {error}: truncated or damaged"))
        };
        let reader = std::io::BufReader::new(file.cursor());
        let mut zip = zip::ZipArchive::new(reader).map_err(damaged)?;
        if zip.has_duplicate_names() {
            return Err(format("ZIP archive: two members have the same name".into()));
        }
        let mut archive = Self {
            file: file.clone(),
            members: BTreeMap::new(),
            names: Vec::new(),
            cache: InflatedCache::default(),
        };
        for index in 0..zip.len() {
            let entry = zip.by_index_raw(index).map_err(damaged)?;
            let name = entry.name().map_err(damaged)?.into_owned();
            if leaves_folder(&name) {
                return Err(format(format!(
                    "ZIP archive: member {name:?} has a path that leaves the archive; refused"
                )));
            }
            if entry.is_dir() {
                continue;
            }
            if entry.encrypted() {
                return Err(format(format!("ZIP archive: member {name:?} is encrypted")));
            }
            let deflated = match entry.compression() {
                CompressionMethod::Stored => false,
                CompressionMethod::Deflated => true,
                other => {
                    return Err(format(format!(
                        "ZIP archive: member {name:?} is compressed with {other}; expected stored or deflated"
                    )));
                }
            };
            let region = entry
                .data_start()
                .and_then(|start| file.part(start, entry.compressed_size()))
                .ok_or_else(|| {
                    format(format!(
                        "ZIP archive: member {name:?} lies outside of the file"
                    ))
                })?;
            if !deflated && entry.size() != entry.compressed_size() {
                return Err(format(format!(
                    "ZIP archive: stored member {name:?} has two sizes"
                )));
            }
            let member = Member {
                region,
                size: entry.size(),
                deflated,
                crc: entry.crc32(),
            };
            archive.names.push(name.clone());
            archive.members.insert(name, member);
        }
        Ok(archive)
    }

    pub(crate) fn file(&self) -> &Region {
        &self.file
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// A member as a storage of numbers.
    pub(crate) fn storage(&self, name: &str, limits: &Limits) -> Option<Storage> {
        let member = self.members.get(name)?;
        let storage = if member.deflated {
            Storage::deflated(
                name,
                member.region.clone(),
                member.size,
                limits,
                &self.cache,
            )
        } else {
            Storage::plain(name, member.region.clone())
        };
        Some(storage.with_crc(member.crc))
    }

    /// A member's content with its checksum compared: in the file if stored, else in memory.
    pub(crate) fn content(
        &self,
        name: &str,
        most: u64,
        limits: &Limits,
    ) -> Result<Region, WeightsError> {
        let storage = self.storage(name, limits).ok_or_else(|| {
            self.file
                .source
                .format(format!("ZIP archive: has no member {name:?}"))
        })?;
        if storage.length() > most {
            let what = format!("member {name:?} has {} bytes", storage.length());
            return Err(self.file.source.limit(what, "pickle_bytes"));
        }
        let mut bytes = Vec::new();
        storage.stream(0, storage.length(), &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(Region::out_of(&self.file.source, bytes))
    }
}

/// Whether extracting a member of this name would write outside of a folder.
fn leaves_folder(name: &str) -> bool {
    name.starts_with('/') || name.contains('\\') || name.split('/').any(|part| part == "..")
}
