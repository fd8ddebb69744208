//! The formats, one file each. A reader checks structure: sizes, counts, label ranges.

pub(crate) mod cifar_archive;
pub(crate) mod cifar_binary;
pub(crate) mod cifar_python;
pub(crate) mod idx;
pub(crate) mod image_folder;
pub(crate) mod parquet;
pub(crate) mod pickle;

use std::path::Path;

use crate::checksum::verify_file;
use crate::error::{DataError, Result};
use crate::image_set::ImageSet;

/// `[channels, height, width]` of a CIFAR image.
pub(crate) const CIFAR_SHAPE: [usize; 3] = [3, 32, 32];
/// Bytes of a CIFAR image.
pub(crate) const CIFAR_PIXELS: usize = 3 * 32 * 32;

/// The two CIFAR sets, whose files differ in their label fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cifar {
    Ten,
    Hundred,
}

impl Cifar {
    pub(crate) fn classes(self) -> usize {
        match self {
            Self::Ten => 10,
            Self::Hundred => 100,
        }
    }
}

/// Images and labels of one file.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) shape: [usize; 3],
    pub(crate) pixels: Vec<u8>,
    pub(crate) labels: Vec<u32>,
}

impl Rows {
    /// The files' rows, one after another; `paths` name them in an error.
    pub(crate) fn concatenate(parts: Vec<Rows>, paths: &[impl AsRef<Path>]) -> Result<Rows> {
        let mut all = Rows::default();
        for (part, path) in parts.into_iter().zip(paths) {
            if all.labels.is_empty() {
                all = part;
                continue;
            }
            if part.shape != all.shape {
                let found = format!("images of shape {:?}", part.shape);
                let expected = format!("{:?}, as in the files before it", all.shape);
                return Err(DataError::format(path.as_ref(), found, expected));
            }
            all.pixels.extend_from_slice(&part.pixels);
            all.labels.extend_from_slice(&part.labels);
        }
        Ok(all)
    }

    pub(crate) fn into_set(self, class_names: Vec<String>) -> Result<ImageSet> {
        ImageSet::from_pixels(self.shape, self.pixels, self.labels, class_names)
    }
}

/// The file's bytes, checked against a `SHA256SUMS` that covers it.
pub(crate) fn read_verified(path: &Path) -> Result<Vec<u8>> {
    verify_file(path)?;
    std::fs::read(path).map_err(DataError::io(path))
}

/// Refuses the first label that is no class.
pub(crate) fn check_label(path: &Path, row: usize, label: i64, classes: usize) -> Result<u32> {
    match u32::try_from(label) {
        Ok(value) if (value as usize) < classes => Ok(value),
        _ => Err(DataError::Label {
            path: path.into(),
            row,
            label,
            classes,
        }),
    }
}
