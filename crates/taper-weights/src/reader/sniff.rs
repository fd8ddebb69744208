//! Which kind of file it is, by its first bytes.

use super::source::Region;
use super::{Found, Limits, archive, numpy, safetensors, tar, torch};
use crate::WeightsError;
use std::fmt;

/// The kinds of file that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Container {
    /// `.safetensors`.
    Safetensors,
    /// A NumPy array, `.npy`.
    Npy,
    /// A ZIP archive of NumPy arrays, `.npz`.
    Npz,
    /// What `torch.save` writes since 1.6: a ZIP archive.
    TorchZip,
    /// A TorchScript archive, by `torch.jit.save`.
    TorchScript,
    /// What `torch.save` wrote from 0.1.10 to 1.5: pickles, then the raw storages.
    TorchLegacy,
    /// What `torch.save` wrote before 0.1.10: a tar archive.
    TorchTar,
    /// One pickle, with arrays inside.
    Pickle,
    /// An index file and the files that it names.
    Sharded,
}

impl Container {
    /// A word for tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Npy => "npy",
            Self::Npz => "npz",
            Self::TorchZip => "torch-zip",
            Self::TorchScript => "torchscript",
            Self::TorchLegacy => "torch-legacy",
            Self::TorchTar => "torch-tar",
            Self::Pickle => "pickle",
            Self::Sharded => "sharded",
        }
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Bytes looked at.
const HEAD: usize = 512;

pub(crate) fn read(file: &Region, limits: &Limits) -> Result<(Container, Found), WeightsError> {
    let head = file.head(HEAD)?;
    if let Some(other) = foreign(&head) {
        return Err(file.source.format(format!(
            "found {other}; expected a checkpoint: safetensors, PyTorch, npz or npy"
        )));
    }
    if head.starts_with(numpy::MAGIC) {
        let view = numpy::read(file, limits)?;
        let found = Found {
            views: vec![(stem(file), view)],
            ..Found::default()
        };
        return Ok((Container::Npy, found));
    }
    let header_follows = head.get(8) == Some(&b'{');
    if archive::MAGICS.iter().any(|magic| head.starts_with(magic)) {
        return torch::read_zip(file, limits);
    }
    if tar::looks_like(&head) {
        return Ok((Container::TorchTar, tar::read(file, limits)?));
    }
    if !header_follows && starts_a_pickle(&head) {
        return torch::read_pickle(file, limits);
    }
    if safetensors::looks_like(&head, file.length) {
        return Ok((Container::Safetensors, safetensors::read(file, limits)?));
    }
    Err(file
        .source
        .format("no kind of checkpoint that is known; expected safetensors, PyTorch, npz or npy"))
}

/// Protocols 2 to 5 say so; 0 and 1 start with the opcode of their first object.
fn starts_a_pickle(head: &[u8]) -> bool {
    match head {
        [0x80, 0..=5, ..] => true,
        [b'(' | b'c' | b']' | b'}' | b')' | b'i', second, ..] => *second != 0,
        _ => false,
    }
}

/// A lone array is named after its file.
fn stem(file: &Region) -> String {
    let stem = file.source.path().file_stem();
    stem.map_or_else(
        || "array".into(),
        |stem| stem.to_string_lossy().into_owned(),
    )
}

/// Files that are often found under the name of a checkpoint.
fn foreign(head: &[u8]) -> Option<&'static str> {
    let text = head.trim_ascii_start();
    match head {
        [] => Some("an empty file"),
        [0x1f, 0x8b, ..] => Some("a gzip file (unpack it first)"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("a Zstandard file (unpack it first)"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Some("an xz file (unpack it first)"),
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => Some("a bzip2 file (unpack it first)"),
        [b'7', b'z', 0xbc, 0xaf, ..] => Some("a 7-Zip archive (unpack it first)"),
        _ if head.starts_with(b"\x89HDF") => Some("an HDF5 file (Keras or MATLAB)"),
        _ if head.starts_with(b"GGUF") => Some("a GGUF file"),
        _ if head.starts_with(b"version https://git-lfs") => Some(
            "a Git LFS pointer, not the file itself (fetch it with `git lfs pull` or download it from the hub)",
        ),
        _ if text.starts_with(b"<") => {
            Some("an HTML or XML page (the download was answered with a web page)")
        }
        _ => None,
    }
}
