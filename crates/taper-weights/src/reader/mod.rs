//! Checkpoints of every kind, opened without reading a tensor.

mod archive;
mod element;
mod flatten;
mod limits;
mod npz;
pub(crate) mod number;
mod numpy;
mod pickle;
mod rearrange;
mod resolve;
mod safetensors;
mod sharded;
mod sniff;
mod source;
mod storage;
mod tar;
mod tensor;
mod torch;
mod view;

pub use element::ElementType;
pub use limits::Limits;
pub use sniff::Container;

use crate::WeightsError;
use source::{Region, Source};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use view::View;

/// Dimensions of a tensor, at most: as PyTorch and NumPy.
pub(crate) const MAX_RANK: usize = 64;

/// An opened checkpoint of any kind: names, types and shapes are known, no tensor is read yet.
///
/// The kind is found by looking at the content, never by the file's name.
///
/// ```
/// use std::path::Path;
/// use taper_weights::{Limits, TensorFile};
/// # fn main() -> Result<(), taper_weights::WeightsError> {
/// # let folder = std::env::temp_dir().join(format!("taper-doc-{}", std::process::id()));
/// # let _ = std::fs::create_dir(&folder);
/// # let path = folder.join("weights.safetensors");
/// # let bias = candle_core::Tensor::new(&[1f32, 2.], &candle_core::Device::Cpu)?;
/// # taper_weights::save(&path, &[("fc.bias".to_string(), bias)].into(), &Default::default())?;
/// let file = TensorFile::open(&path, &Limits::default())?;
/// for entry in file.entries() {
///     assert_eq!((entry.name.as_str(), entry.shape.as_slice()), ("fc.bias", &[2][..]));
/// }
/// let bias = file.tensor("fc.bias")?; // the rest of the file is not read
/// assert_eq!(bias.to_vec1::<f32>()?, [1., 2.]);
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    container: Container,
    entries: Vec<TensorEntry>,
    beside: Vec<TensorEntry>,
    wrapper: Option<String>,
    notes: Vec<String>,
    metadata: BTreeMap<String, String>,
}

/// A tensor of a [`TensorFile`].
#[derive(Debug, Clone)]
pub struct TensorEntry {
    /// Unwrapped, and joined by dots where the file nests.
    pub name: String,
    /// As stored.
    pub dtype: ElementType,
    /// Rows first.
    pub shape: Vec<usize>,
    view: View,
}

impl TensorEntry {
    /// As [`TensorFile::read_into`].
    pub(crate) fn read_into(
        &self,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), WeightsError>,
    ) -> Result<(), WeightsError> {
        self.view.read_into(sink)
    }

    /// Tells runs of stored numbers apart.
    pub(crate) fn storage_address(&self) -> usize {
        Arc::as_ptr(&self.view.storage).addr()
    }

    /// The file that holds its numbers: one of the parts, if there are several.
    pub(crate) fn file(&self) -> &Path {
        self.view.storage.source().path()
    }

    fn new(name: String, view: View) -> Self {
        Self {
            name,
            dtype: view.dtype,
            shape: view.shape.clone(),
            view,
        }
    }

    /// Bytes of the tensor when it is contiguous.
    pub fn bytes(&self) -> u64 {
        self.view.bytes()
    }

    /// Whether both are views of one stored run of numbers, as tied weights are.
    pub fn shares_storage_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.view.storage, &other.view.storage)
    }
}

/// What a container's reader hands over.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) views: Vec<(String, View)>,
    /// Tensors outside of the wrapper that holds the weights.
    pub(crate) beside: Vec<(String, View)>,
    pub(crate) wrapper: Option<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl TensorFile {
    /// Opens a file, or a folder that holds one checkpoint, whole or in shards.
    ///
    /// # Errors
    /// [`WeightsError::Read`] when it cannot be read, [`WeightsError::Format`] when its content is
    /// damaged, unknown or refused, [`WeightsError::Limit`] when it asks for more than `limits`.
    pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        let inside;
        let path = if path.is_dir() {
            inside = sharded::in_folder(path)?;
            &inside
        } else {
            path
        };
        let region = Source::open(path)?.whole();
        if sharded::looks_like(&region.head(64)?, path) {
            return sharded::open(path, limits);
        }
        Self::from_region(&region, limits)
    }

    /// A checkpoint in memory; `path` is the name that errors give it.
    ///
    /// # Errors
    /// As [`TensorFile::open`].
    pub fn from_bytes(
        path: impl AsRef<Path>,
        bytes: Vec<u8>,
        limits: &Limits,
    ) -> Result<Self, WeightsError> {
        Self::from_region(&Region::memory(path.as_ref(), bytes), limits)
    }

    fn from_region(region: &Region, limits: &Limits) -> Result<Self, WeightsError> {
        let (container, found) = sniff::read(region, limits)?;
        let file = Self {
            path: region.source.path().to_path_buf(),
            container,
            entries: entries(found.views),
            beside: entries(found.beside),
            wrapper: found.wrapper,
            notes: found.notes,
            metadata: found.metadata,
        };
        file.check(region.length, limits)?;
        Ok(file)
    }

    /// Names are unique, and the tensors few and small enough for the file.
    fn check(&self, file_bytes: u64, limits: &Limits) -> Result<(), WeightsError> {
        let limit = |what: String, limit| WeightsError::Limit {
            path: self.path.clone(),
            what,
            limit,
        };
        let count = self.entries.len() + self.beside.len();
        if count > limits.tensors {
            return Err(limit(format!("{count} tensors"), "tensors"));
        }
        let mut names = HashSet::new();
        let mut total = 0u64;
        for entry in self.entries.iter().chain(&self.beside) {
            total = total.saturating_add(entry.bytes());
        }
        for entry in &self.entries {
            if !names.insert(entry.name.as_str()) {
                return Err(WeightsError::Format {
                    path: self.path.clone(),
                    reason: format!("two tensors are named {}", entry.name),
                });
            }
        }
        let allowed = file_bytes
            .saturating_mul(limits.expansion)
            .max(Limits::FREE_BYTES);
        if total > allowed {
            let what = format!("a file of {file_bytes} bytes holds tensors of {total} bytes");
            return Err(limit(what, "expansion"));
        }
        Ok(())
    }

    /// The file or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What kind of file it is.
    pub fn container(&self) -> Container {
        self.container
    }

    /// The tensors in the file's order.
    pub fn entries(&self) -> &[TensorEntry] {
        &self.entries
    }

    /// Tensors beside the dictionary that was unwrapped, under their full names: states of the
    /// optimiser (`optimizer.state.0.exp_avg`), a second set of weights (`ema.fc.weight`).
    /// They can be read like the entries.
    pub fn beside(&self) -> &[TensorEntry] {
        &self.beside
    }

    /// The key, or keys joined by dots, under which the weights were found and that was taken off.
    pub fn wrapper(&self) -> Option<&str> {
        self.wrapper.as_deref()
    }

    /// Sentences that a user should be told: what was left out, and why.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// `__metadata__` of safetensors; numbers and texts found beside the tensors of a pickle
    /// (`epoch`, `best_prec1`).
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The entry of that name, if there is one.
    pub fn entry(&self, name: &str) -> Option<&TensorEntry> {
        self.entries
            .iter()
            .chain(&self.beside)
            .find(|entry| entry.name == name)
    }

    /// Gives the tensor's bytes to `sink`: contiguous, row-major, little-endian, in pieces of at
    /// most 1 MiB that hold whole elements, whatever strides and byte order the file has.
    ///
    /// A wrong checksum of a ZIP member is found when the last byte was read: what `sink` got
    /// counts only once this returns.
    ///
    /// # Errors
    /// [`WeightsError`] of the file, or what `sink` returned.
    pub fn read_into(
        &self,
        entry: &TensorEntry,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), WeightsError>,
    ) -> Result<(), WeightsError> {
        entry.read_into(sink)
    }
}

fn entries(views: Vec<(String, View)>) -> Vec<TensorEntry> {
    views
        .into_iter()
        .map(|(name, view)| TensorEntry::new(name, view))
        .collect()
}
