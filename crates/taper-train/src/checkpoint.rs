//! Checkpoints: everything a training needs to go on, in one file, of which the last two are kept.
//!
//! A checkpoint is a safetensors file. Its tensors are named `SECTION.NAME` (`model.conv1.weight`,
//! `optimizer.velocity.conv1.weight`, …); its metadata holds a [`Header`] as JSON and a SHA-256
//! over the header and every tensor, so that a file damaged on the disk is never trained on.

use crate::error::{Result, TrainError};
use crate::files;
use crate::position::Position;
use crate::run_directory::on_cpu;
use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::View;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Version of the format.
const FORMAT: u32 = 1;
const HEADER_KEY: &str = "taper";
const DIGEST_KEY: &str = "sha256";
const KEPT: usize = 2;

/// Tensors of one part of the training state, by name.
pub(crate) type Tensors = BTreeMap<String, Tensor>;

/// What is not a tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub format: u32,
    pub position: Position,
    /// How long the metrics file was; what comes after is written again.
    pub metrics_bytes: u64,
    /// Wall-clock spent so far.
    pub clock: crate::clock::Clock,
    /// Learning rate of the last step, bit by bit: decimal text may lose the last one.
    pub learning_rate_bits: u64,
    /// The settings of the loop, as JSON text.
    pub settings: String,
}

/// A training at one instant.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoint {
    pub header: Header,
    pub sections: BTreeMap<&'static str, Tensors>,
}

/// Names of the sections.
pub(crate) mod section {
    pub const MODEL: &str = "model";
    pub const OPTIMIZER: &str = "optimizer";
    pub const EMA: &str = "ema";
    pub const OBJECTIVE: &str = "objective";
    pub const METER: &str = "meter";
    pub const LAST_EPOCH: &str = "last_epoch";
    pub const ALL: [&str; 6] = [MODEL, OPTIMIZER, EMA, OBJECTIVE, METER, LAST_EPOCH];
}

impl Header {
    pub fn new(position: Position, settings: String) -> Self {
        Self {
            format: FORMAT,
            position,
            metrics_bytes: 0,
            clock: Default::default(),
            learning_rate_bits: 0,
            settings,
        }
    }
}

impl Checkpoint {
    /// Takes a section out; empty if the file has none of its tensors.
    pub fn take(&mut self, section: &str) -> Tensors {
        self.sections.remove(section).unwrap_or_default()
    }

    /// The file's content.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let named: Tensors = self
            .sections
            .iter()
            .flat_map(|(section, tensors)| {
                let name = move |name: &String| format!("{section}.{name}");
                tensors.iter().map(move |(key, t)| (name(key), t.clone()))
            })
            .collect();
        let tensors = on_cpu(&named)?;
        let header = serde_json::to_string(&self.header)
            .map_err(|error| TrainError::serialise("a checkpoint's header", error))?;
        let digest = digest(&header, tensors.iter().map(|(name, t)| (*name, t)));
        let metadata = HashMap::from([
            (HEADER_KEY.to_string(), header),
            (DIGEST_KEY.to_string(), digest),
        ]);
        safetensors::serialize(&tensors, Some(metadata))
            .map_err(|error| TrainError::serialise("a checkpoint", error))
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`TrainError::DamagedCheckpoint`], [`TrainError::Io`].
    fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(TrainError::io("read", path))?;
        Self::from_bytes(&bytes).map_err(|reason| TrainError::DamagedCheckpoint {
            path: path.to_path_buf(),
            reason,
        })
    }

    fn from_bytes(bytes: &[u8]) -> std::result::Result<Self, String> {
        let text = |error: safetensors::SafeTensorError| error.to_string();
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(text)?;
        let entry = |key: &str| {
            let entries = metadata.metadata().as_ref();
            entries
                .and_then(|entries| entries.get(key))
                .ok_or(format!("no \"{key}\" in its metadata"))
        };
        let (text_header, expected) = (entry(HEADER_KEY)?, entry(DIGEST_KEY)?);
        let file = SafeTensors::deserialize(bytes).map_err(text)?;
        let views: BTreeMap<_, _> = file.tensors().into_iter().collect();
        let found = digest(
            text_header,
            views.iter().map(|(name, v)| (name.as_str(), v)),
        );
        if found != *expected {
            return Err(format!("SHA-256 is {found}, written was {expected}"));
        }
        let header: Header = serde_json::from_str(text_header).map_err(|e| e.to_string())?;
        if header.format != FORMAT {
            return Err(format!("format {}, expected {FORMAT}", header.format));
        }
        let mut sections: BTreeMap<&'static str, Tensors> = BTreeMap::new();
        for (name, view) in &views {
            let (prefix, rest) = name.split_once('.').unwrap_or((name, ""));
            let section = section::ALL.into_iter().find(|section| *section == prefix);
            let section = section.ok_or(format!("unknown tensor {name}"))?;
            let tensor = candle_core::safetensors::Load::load(view, &Device::Cpu)
                .map_err(|error| format!("tensor {name}: {error}"))?;
            sections
                .entry(section)
                .or_default()
                .insert(rest.to_string(), tensor);
        }
        Ok(Self { header, sections })
    }
}

/// SHA-256 over the header and each tensor's name, type, shape and bytes, in the order of names.
fn digest<'a, V: View + 'a>(
    header: &str,
    tensors: impl Iterator<Item = (&'a str, &'a V)>,
) -> String {
    let mut hash = Sha256::new();
    hash.update(header);
    for (name, tensor) in tensors {
        hash.update(format!(
            "\0{name}\0{:?}{:?}\0",
            tensor.dtype(),
            tensor.shape()
        ));
        hash.update(tensor.data());
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The folder of a run's checkpoints.
#[derive(Debug, Clone)]
pub(crate) struct CheckpointFolder {
    directory: PathBuf,
}

impl CheckpointFolder {
    /// Makes the folder and sweeps what a killed process left half-written.
    pub fn open(directory: PathBuf) -> Result<Self> {
        files::create_folder(&directory)?;
        files::remove_partials(&directory)?;
        Ok(Self { directory })
    }

    /// The folder.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes the bytes of the checkpoint of that step, then removes all but the newest two.
    pub fn write(&self, step: u64, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.directory.join(format!("step-{step:010}.safetensors"));
        files::write_atomically(&path, &[bytes])?;
        for old in self.files()?.iter().rev().skip(KEPT) {
            std::fs::remove_file(old).map_err(TrainError::io("remove", old))?;
        }
        Ok(path)
    }

    /// The newest checkpoint that can be used with its path, and what is wrong with newer ones.
    /// `None` where none was ever written.
    ///
    /// # Errors
    /// [`TrainError::NoUsableCheckpoint`] if there are files and all are damaged.
    pub fn newest(&self) -> Result<Option<(PathBuf, Checkpoint, Vec<TrainError>)>> {
        let mut damaged = Vec::new();
        for path in self.files()?.into_iter().rev() {
            match Checkpoint::read(&path) {
                Ok(checkpoint) => return Ok(Some((path, checkpoint, damaged))),
                Err(error) => damaged.push(error),
            }
        }
        if damaged.is_empty() {
            return Ok(None);
        }
        let details: Vec<_> = damaged.iter().map(ToString::to_string).collect();
        Err(TrainError::NoUsableCheckpoint {
            directory: self.directory.clone(),
            details: details.join("; "),
        })
    }

    /// Every checkpoint, oldest first.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let named = |path: &PathBuf| {
            path.file_name().is_some_and(|name| {
                let name = name.to_string_lossy();
                name.starts_with("step-") && name.ends_with(".safetensors")
            })
        };
        Ok(files::list(&self.directory)?
            .into_iter()
            .filter(named)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(epoch: u64, value: f32) -> Checkpoint {
        let position = Position {
            epoch,
            ..Position::start(9, 10)
        };
        let tensor = Tensor::new(&[value, -1.5], &Device::Cpu).unwrap();
        let counter = Tensor::new(7i64, &Device::Cpu).unwrap();
        let model = Tensors::from([("a.weight".into(), tensor), ("a.count".into(), counter)]);
        Checkpoint {
            header: Header::new(position, r#"{"epochs":9}"#.into()),
            sections: BTreeMap::from([(section::MODEL, model)]),
        }
    }

    fn folder() -> (tempfile::TempDir, CheckpointFolder) {
        let root = tempfile::tempdir().unwrap();
        let folder = CheckpointFolder::open(root.path().join("checkpoint")).unwrap();
        (root, folder)
    }

    fn write(folder: &CheckpointFolder, checkpoint: &Checkpoint) -> PathBuf {
        let bytes = checkpoint.to_bytes().unwrap();
        folder
            .write(checkpoint.header.position.step(), &bytes)
            .unwrap()
    }

    fn value(checkpoint: &Checkpoint) -> Vec<f32> {
        checkpoint.sections[section::MODEL]["a.weight"]
            .to_vec1()
            .unwrap()
    }

    #[test]
    fn round_trip_and_two_are_kept() {
        let (_root, folder) = folder();
        assert!(folder.newest().unwrap().is_none());
        for epoch in 1..=4 {
            write(&folder, &checkpoint(epoch, epoch as f32));
        }
        assert_eq!(folder.files().unwrap().len(), 2);
        let (path, newest, damaged) = folder.newest().unwrap().unwrap();
        assert!(path.ends_with("step-0000000040.safetensors") && damaged.is_empty());
        assert_eq!(newest.header, checkpoint(4, 0.0).header);
        assert_eq!(value(&newest), [4.0, -1.5]);
        let counter = &newest.sections[section::MODEL]["a.count"];
        assert_eq!(counter.to_scalar::<i64>().unwrap(), 7);
    }

    /// Cut anywhere or with any bit flipped, the newest file is refused and the older one used.
    #[test]
    fn damage_falls_back() {
        let (_root, folder) = folder();
        let old = write(&folder, &checkpoint(1, 1.0));
        let new = write(&folder, &checkpoint(2, 2.0));
        let whole = std::fs::read(&new).unwrap();
        let cut = (0..whole.len()).step_by(7).map(|n| whole[..n].to_vec());
        let flipped = (8..whole.len()).map(|n| {
            let mut bytes = whole.clone();
            bytes[n] ^= 4;
            bytes
        });
        for bytes in cut.chain(flipped) {
            std::fs::write(&new, &bytes).unwrap();
            let (path, found, damaged) = folder.newest().unwrap().unwrap();
            // A flip in the header's spaces or in a key's order may leave the content as it was.
            if path == new {
                assert_eq!(value(&found), [2.0, -1.5]);
                assert_eq!(found.header, checkpoint(2, 0.0).header);
            } else {
                assert_eq!(value(&found), [1.0, -1.5]);
                let text = damaged[0].to_string();
                assert!(
                    text.contains("step-0000000020.safetensors is damaged"),
                    "{text}"
                );
            }
        }
        let mut bytes = whole.clone();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&new, &bytes).unwrap();
        let (path, _, damaged) = folder.newest().unwrap().unwrap();
        assert_eq!(path, old);
        assert!(damaged[0].to_string().contains("SHA-256"));
        std::fs::write(&old, b"").unwrap();
        assert!(matches!(
            folder.newest(),
            Err(TrainError::NoUsableCheckpoint { .. })
        ));
    }
}
