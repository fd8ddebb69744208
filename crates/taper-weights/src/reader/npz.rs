//! `.npz`: a ZIP archive of `.npy` arrays.

use super::archive::Archive;
use super::{Found, Limits, numpy};
use crate::WeightsError;

pub(crate) fn read(archive: &Archive, limits: &Limits) -> Result<Found, WeightsError> {
    let mut found = Found::default();
    for member in archive.names() {
        let name = member.strip_suffix(".npy").unwrap_or(member);
        let format = |reason: String| {
            archive
                .file()
                .source
                .format(format!("array {name}: {reason}"))
        };
        let Some(storage) = archive.storage(member, limits) else {
            continue;
        };
        let length = storage.length();
        let mut head = |count: usize| {
            let mut bytes = Vec::new();
            storage.stream(0, length.min(count as u64), &mut |piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })?;
            Ok(bytes)
        };
        let header = numpy::parse(limits, length, &mut head)?.map_err(format)?;
        let expected = super::view::byte_count(&header.shape, header.dtype);
        let there = length.saturating_sub(header.length);
        if expected.is_some_and(|bytes| bytes < there) {
            return Err(format(format!(
                "{there} bytes follow the header, shape {:?} of {} has fewer",
                header.shape, header.dtype
            )));
        }
        let offset = header.length;
        let storage = storage.with_byte_order(header.big_endian);
        let view = header.view(storage, offset).map_err(format)?;
        found.views.push((name.to_string(), view));
    }
    Ok(found)
}
