//! The corpus of `tests/weights`, for the tests that read it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use taper_weights::{Limits, TensorFile, WeightsError};

pub fn corpus(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/weights")
        .join(folder)
}

/// Name, then type, sizes and bytes.
pub type Tensors = BTreeMap<String, (String, Vec<usize>, Vec<u8>)>;

pub fn expected(path: &Path) -> Tensors {
    let text = std::fs::read_to_string(path).unwrap();
    let mut tensors = Tensors::new();
    for line in text.lines() {
        let [name, dtype, shape, bytes] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{}: {line}", path.display());
        };
        let shape = if shape == "-" { "" } else { shape };
        let shape = shape
            .split(',')
            .filter(|n| !n.is_empty())
            .map(|n| n.parse().unwrap());
        let bytes = if bytes == "-" { "" } else { bytes };
        let bytes = (0..bytes.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&bytes[at..at + 2], 16).unwrap());
        tensors.insert(
            name.into(),
            (dtype.into(), shape.collect(), bytes.collect()),
        );
    }
    tensors
}

pub fn read(file: &TensorFile) -> Result<Tensors, WeightsError> {
    let mut tensors = Tensors::new();
    for entry in file.entries() {
        let mut bytes = Vec::new();
        file.read_into(entry, &mut |piece| {
            assert_eq!(
                piece.len() % entry.dtype.size(),
                0,
                "pieces hold whole elements"
            );
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        assert_eq!(bytes.len() as u64, entry.bytes());
        let value = (entry.dtype.to_string(), entry.shape.clone(), bytes);
        tensors.insert(entry.name.clone(), value);
    }
    Ok(tensors)
}

pub fn open_and_read(path: &Path) -> Result<Tensors, WeightsError> {
    read(&TensorFile::open(path, &Limits::default())?)
}

pub fn goods() -> Vec<(PathBuf, PathBuf)> {
    let mut files: Vec<_> = std::fs::read_dir(corpus("good"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "expected"))
        .map(|expected| (expected.with_extension(""), expected))
        .collect();
    files.sort();
    assert!(files.len() > 50, "{} files", files.len());
    files
}
