//! The official `.tar.gz` of CIFAR, read without unpacking it to disk.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use tar::{Archive, Entry};

use super::{Cifar, Rows, cifar_binary, cifar_python};
use crate::checksum::verify_file;
use crate::error::{DataError, Result};

/// The most bytes a member may have (the largest official one has 155,249,918).
const LARGEST_MEMBER: u64 = 512 << 20;

/// Reads the members called `names` (without their folder), in that order.
pub(crate) fn read(archive: &Path, names: &[&str], set: Cifar) -> Result<Rows> {
    verify_file(archive)?;
    let file = File::open(archive).map_err(DataError::io(archive))?;
    let damaged = |e: io::Error| {
        let found = format!("a damaged archive: {e}");
        DataError::format(archive, found, "a whole .tar.gz (wrong or truncated file)")
    };
    let mut parts: Vec<Option<Rows>> = names.iter().map(|_| None).collect();
    let mut tar = Archive::new(GzDecoder::new(BufReader::new(file)));
    for entry in tar.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let member = entry.path().map_err(damaged)?.into_owned();
        let name = member.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let wanted = names.iter().position(|n| *n == name);
        let Some(index) = wanted.filter(|_| entry.header().entry_type().is_file()) else {
            continue;
        };
        let inside = archive.join(&member);
        let bytes = read_member(&mut entry, &inside)?;
        parts[index] = Some(match name.ends_with(".bin") {
            true => cifar_binary::parse(&bytes, set, &inside)?,
            false => cifar_python::parse(&bytes, set, &inside)?,
        });
    }
    // The tar ends before the gzip does; only reading on to the end checks the gzip's checksum.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(damaged)?;
    let paths: Vec<PathBuf> = names.iter().map(|name| archive.join(name)).collect();
    let missing = parts.iter().position(Option::is_none);
    if let Some(path) = missing.and_then(|index| paths.get(index)) {
        return Err(DataError::MissingFile {
            path: path.clone(),
            belongs_to: archive.into(),
        });
    }
    Rows::concatenate(parts.into_iter().flatten().collect(), &paths)
}

fn read_member<R: Read>(entry: &mut Entry<'_, R>, inside: &Path) -> Result<Vec<u8>> {
    if entry.size() > LARGEST_MEMBER {
        return Err(DataError::format(
            inside,
            format!("{} bytes", entry.size()),
            format!("at most {LARGEST_MEMBER}"),
        ));
    }
    let mut bytes = Vec::new();
    entry
        .read_to_end(&mut bytes)
        .map_err(DataError::io(inside))?;
    Ok(bytes)
}
