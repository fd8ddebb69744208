//! CIFAR for Python: pickled dictionaries with `data`, u8 `[count, 3072]`, and `labels`
//! (CIFAR-10) or `fine_labels` (CIFAR-100).

use std::path::Path;

use super::pickle::Pickle;
use super::{CIFAR_PIXELS, CIFAR_SHAPE, Cifar, Rows, check_label};
use crate::error::{DataError, Result};

/// Reads one file's bytes; `path` names it in errors.
pub(crate) fn parse(bytes: &[u8], set: Cifar, path: &Path) -> Result<Rows> {
    let pickle = Pickle::read(bytes, path)?;
    let images = pickle.byte_array("data")?;
    let labels = pickle.integers(match set {
        Cifar::Ten => "labels",
        Cifar::Hundred => "fine_labels",
    })?;
    if images.shape != [labels.len(), CIFAR_PIXELS] {
        return Err(DataError::format(
            path,
            format!("images of shape {:?}", images.shape),
            format!("{:?} for its labels", [labels.len(), CIFAR_PIXELS]),
        ));
    }
    if labels.is_empty() {
        return Err(DataError::Empty {
            what: path.display().to_string(),
        });
    }
    let labels = labels
        .into_iter()
        .enumerate()
        .map(|(row, label)| check_label(path, row, label, set.classes()))
        .collect::<Result<_>>()?;
    Ok(Rows {
        shape: CIFAR_SHAPE,
        pixels: images.data.to_vec(),
        labels,
    })
}
