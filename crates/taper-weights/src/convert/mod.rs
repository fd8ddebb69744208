//! From a checkpoint of any kind to plain safetensors, in constant memory.
//!
//! The plan is made from the header alone; then tensors are read piece by piece and written behind
//! a header whose length is known. The same input and options give the same bytes.

mod cast;
mod flush;
mod names;
mod plan;
mod write;

use crate::atomic::{Target, write_atomically};
use crate::dialect::{Dialect, Direction};
use crate::{Container, ElementType, Limits, TensorFile, WeightsError, checksum};
use plan::Plan;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use write::{Payload, PlannedTensor, Producer, Writer, sort};

/// Keys of the header's metadata.
const SOURCE_METADATA_KEY: &str = "source";
const SHA256_METADATA_KEY: &str = "source_sha256";
const LICENCE_METADATA_KEY: &str = "licence";

/// Told how many bytes of how many are written; breaking stops the conversion, nothing is written.
pub type ConvertProgress<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// Which key map to use.
#[derive(Debug, Clone, Copy, Default)]
pub enum DialectChoice {
    /// Names stay those of the file.
    #[default]
    None,
    /// The first dialect that knows every name.
    Auto,
    /// This one.
    Named(&'static Dialect),
}

/// What to change on the way. By default nothing: names and numbers stay those of the file.
///
/// Steps, in this order: `keep` and `drop` (patterns over the file's names), `strip`, `dialect`,
/// `rename`, `dtype`. In a pattern `*` stands for any run of characters, `?` for one and `{n}` for
/// a run of digits; one without wildcards means the tensor of that name or all below that module.
#[derive(Debug, Clone)]
pub struct ConvertOptions {
    /// Floating tensors become this type: F16, BF16, F32 or F64. Integers and complex ones stay.
    pub dtype: Option<ElementType>,
    /// Prefixes to take off the names that have them.
    pub strip: Vec<String>,
    /// Patterns and what they become; wildcards on both sides must be the same.
    pub rename: Vec<(String, String)>,
    /// Only tensors that one of these patterns matches.
    pub keep: Vec<String>,
    /// No tensor that one of these patterns matches.
    pub drop: Vec<String>,
    /// The key map.
    pub dialect: DialectChoice,
    /// Which way the key map is read.
    pub direction: Direction,
    /// What an untrusted file may cost.
    pub limits: Limits,
    /// Replace what stands at the target.
    pub force: bool,
    /// Plan and report, write nothing.
    pub dry_run: bool,
    /// Where the file comes from, for the header; by default its name.
    pub source: Option<String>,
    /// Its licence, for the header.
    pub licence: Option<String>,
}

impl Default for ConvertOptions {
    fn default() -> Self {
        Self {
            dtype: None,
            strip: Vec::new(),
            rename: Vec::new(),
            keep: Vec::new(),
            drop: Vec::new(),
            dialect: DialectChoice::None,
            direction: Direction::ToZoo,
            limits: Limits::default(),
            force: false,
            dry_run: false,
            source: None,
            licence: None,
        }
    }
}

/// What a conversion did, or would do.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct ConvertReport {
    /// Kind of the input.
    #[serde(serialize_with = "container_name")]
    pub container: Container,
    /// The key that was unwrapped.
    pub wrapper: Option<String>,
    /// The dialect that was used, and its network.
    pub dialect: Option<String>,
    /// Tensors written.
    pub tensors: usize,
    /// Bytes of their numbers.
    pub bytes: u64,
    /// Names that changed.
    pub renamed: Vec<Renamed>,
    /// Tensors whose numbers changed places.
    pub permuted: Vec<Permuted>,
    /// Tensors of another type than before.
    pub cast: usize,
    /// Finite numbers that the new type holds as infinity, a tensor each.
    pub overflowed: Vec<Overflowed>,
    /// Left out: by `drop` and `keep`, or by the dialect.
    pub dropped: Vec<String>,
    /// Names that the dialect does not know; they are kept as they are.
    pub unknown: Vec<String>,
    /// Tensors beside the unwrapped dictionary, left out.
    pub beside: usize,
    /// What else a person should know.
    pub notes: Vec<String>,
    /// SHA-256 of the input; of each part if there are several.
    pub sha256: BTreeMap<String, String>,
}

/// A name that changed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Renamed {
    /// In the input.
    pub from: String,
    /// In the output.
    pub to: String,
}

/// A tensor whose numbers changed places.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Permuted {
    /// In the output.
    pub name: String,
    /// What was done.
    pub how: String,
}

/// A tensor with numbers too large for its new type.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Overflowed {
    /// In the output.
    pub name: String,
    /// How many became infinite.
    pub count: u64,
}

fn container_name<S: serde::Serializer>(
    container: &Container,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(container.name())
}

/// Writes the tensors of `input` as safetensors to `output`, and says what it did.
///
/// ```
/// use std::ops::ControlFlow;
/// use taper_weights::{ConvertOptions, convert, load};
/// # fn main() -> Result<(), taper_weights::WeightsError> {
/// # let folder = std::env::temp_dir().join(format!("taper-convert-{}", std::process::id()));
/// # let _ = std::fs::create_dir(&folder);
/// # let (input, output) = (folder.join("a.safetensors"), folder.join("b.safetensors"));
/// # let bias = candle_core::Tensor::new(&[1f32, 2.], &candle_core::Device::Cpu)?;
/// # taper_weights::save(&input, &[("module.bias".to_string(), bias)].into(), &Default::default())?;
/// let options = ConvertOptions { strip: vec!["module.".into()], ..Default::default() };
/// let report = convert(&input, &output, &options, &mut |_, _| ControlFlow::Continue(()))?;
/// assert_eq!(report.renamed[0].to, "bias");
/// assert_eq!(load(&output)?.tensors["bias"].dims(), [2]);
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`WeightsError`] naming the file, the tensor or the option; `output` is then as it was.
pub fn convert(
    input: impl AsRef<Path>,
    output: impl AsRef<Path>,
    options: &ConvertOptions,
    progress: ConvertProgress<'_>,
) -> Result<ConvertReport, WeightsError> {
    let output = output.as_ref();
    let file = TensorFile::open(input, &options.limits)?;
    let files = files_of(&file);
    check_target(output, &files, options.force)?;
    let Plan {
        tensors,
        mut report,
    } = plan::plan(&file, options)?;
    if options.dry_run {
        return Ok(report);
    }
    let target = if options.force {
        Target::Any
    } else {
        Target::New
    };
    let reserved = metadata(&file, options, &report, &unknown_digests(&files));
    let stop = AtomicBool::new(false);
    let (overflowed, digests) = std::thread::scope(|scope| {
        // The digest goes into the header, which is written last; its length is known before.
        let hasher = scope.spawn(|| digests(&files, &stop));
        let mut outcome = (Vec::new(), BTreeMap::new());
        let written = write_atomically(output, target, |out| {
            let mut writer = Writer::new(out, output, &tensors, &reserved)?;
            outcome.0 = writer.write_tensors(&tensors, progress)?;
            outcome.1 = hasher.join().unwrap_or_else(|_| {
                Err(WeightsError::Stopped {
                    path: output.to_path_buf(),
                })
            })?;
            writer.finish(&metadata(&file, options, &report, &outcome.1))
        });
        stop.store(true, Ordering::Relaxed);
        written.map(|()| outcome)
    })?;
    report.overflowed = overflowed;
    report.sha256 = digests;
    Ok(report)
}

/// Every file that holds a part of the checkpoint.
fn files_of(file: &TensorFile) -> BTreeSet<PathBuf> {
    let entries = file.entries().iter();
    let parts = entries.map(|entry| entry.file().to_path_buf());
    parts.chain([file.path().to_path_buf()]).collect()
}

fn digests(
    files: &BTreeSet<PathBuf>,
    stop: &AtomicBool,
) -> Result<BTreeMap<String, String>, WeightsError> {
    let digest = |path: &PathBuf| Ok((file_name(path), checksum::sha256_unless(path, stop)?));
    files.iter().map(digest).collect()
}

/// Of the right length.
fn unknown_digests(files: &BTreeSet<PathBuf>) -> BTreeMap<String, String> {
    let digest = |path: &PathBuf| (file_name(path), "0".repeat(64));
    files.iter().map(digest).collect()
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// For the header: what the file told, where it comes from, and `format`, which Transformers wants.
fn metadata(
    file: &TensorFile,
    options: &ConvertOptions,
    report: &ConvertReport,
    digests: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut metadata = file.metadata().clone();
    metadata.retain(|key, _| !key.starts_with(SHA256_METADATA_KEY));
    let source = options.source.clone();
    let source = source.unwrap_or_else(|| file_name(file.path()));
    metadata.insert(SOURCE_METADATA_KEY.into(), source);
    metadata.insert("format".into(), "pt".into());
    for (name, digest) in digests {
        let key = match digests.len() {
            1 => SHA256_METADATA_KEY.to_string(),
            _ => format!("{SHA256_METADATA_KEY}.{name}"),
        };
        metadata.insert(key, digest.clone());
    }
    if let Some(licence) = &options.licence {
        metadata.insert(LICENCE_METADATA_KEY.into(), licence.clone());
    }
    if let Some(dialect) = &report.dialect {
        metadata.insert("dialect".into(), dialect.clone());
    }
    metadata
}

/// Endings that other programs would read as something else.
const FOREIGN_ENDINGS: &[&str] = &[
    "pth", "pt", "th", "bin", "ckpt", "npz", "npy", "pkl", "onnx", "json",
];

/// Refuses an output that is one of `inputs`, by whatever link, that is there already unless
/// `force`, or whose name is that of another kind of file.
///
/// # Errors
/// [`WeightsError::SameFile`], [`WeightsError::Exists`], [`WeightsError::Option`].
pub fn check_output(output: &Path, inputs: &[PathBuf], force: bool) -> Result<(), WeightsError> {
    check_target(output, &inputs.iter().cloned().collect(), force)
}

/// Refuses a target that is one of `inputs`, that is there already, or that is named as another kind.
pub(crate) fn check_target(
    output: &Path,
    inputs: &BTreeSet<PathBuf>,
    force: bool,
) -> Result<(), WeightsError> {
    use std::os::unix::fs::MetadataExt;
    let ending = output
        .extension()
        .and_then(|ending| ending.to_str())
        .unwrap_or_default();
    if FOREIGN_ENDINGS.contains(&ending) {
        return Err(WeightsError::Option {
            option: output.display().to_string(),
            reason: "the output is a safetensors file; name it *.safetensors".into(),
        });
    }
    // The link itself counts as well as what it leads to.
    if output.symlink_metadata().is_err() {
        return Ok(());
    }
    if let Ok(there) = output.metadata() {
        for input in inputs {
            let same =
                |other: std::fs::Metadata| (other.dev(), other.ino()) == (there.dev(), there.ino());
            if input.metadata().is_ok_and(same) {
                return Err(WeightsError::SameFile {
                    path: output.to_path_buf(),
                    input: input.clone(),
                });
            }
        }
    }
    if force {
        return Ok(());
    }
    Err(WeightsError::Exists {
        path: output.to_path_buf(),
    })
}
