//! A run is a directory: settings, metrics, checkpoints, plots, report, finished network.

use crate::error::{Result, TrainError};
use crate::files;
use crate::lock::{LOCK_FILE, RunLock};
use candle_core::{Device, Tensor};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// All settings of a run, resolved. A directory with this file is a run.
pub const CONFIG_FILE: &str = "config.toml";
/// One JSON object a line.
pub const METRICS_FILE: &str = "metrics.jsonl";
/// The checkpoints' folder.
pub const CHECKPOINT_FOLDER: &str = "checkpoint";
/// The pictures' folder.
pub const PLOTS_FOLDER: &str = "plots";
/// What happened, for people.
pub const REPORT_FILE: &str = "report.md";
/// The finished network.
pub const MODEL_FILE: &str = "model.safetensors";

/// A run's directory, locked against other processes while this value or one of its children lives.
///
/// ```text
/// config.toml  metrics.jsonl  checkpoint/  plots/  report.md  model.safetensors  run.lock
/// ```
#[derive(Debug, Clone)]
pub struct RunDirectory {
    path: PathBuf,
    _lock: Arc<RunLock>,
}

impl RunDirectory {
    /// Begins a run: makes the directory and writes `config` as `config.toml`.
    ///
    /// # Errors
    /// [`TrainError::RunExists`], [`TrainError::ForeignDirectory`], [`TrainError::InUse`], [`TrainError::Io`].
    pub fn create(path: impl AsRef<Path>, config: &impl Serialize) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let text = toml::to_string(config)
            .map_err(|error| TrainError::serialise("the run's settings", error))?;
        refuse_foreign(&path)?;
        files::create_folder(&path)?;
        let lock = Arc::new(RunLock::take(&path)?);
        // Once more, now that nobody else can come in between.
        refuse_foreign(&path)?;
        files::remove_partials(&path)?;
        files::write_atomically(&path.join(CONFIG_FILE), &[text.as_bytes()])?;
        Ok(Self { path, _lock: lock })
    }

    /// Opens a run to go on with it.
    ///
    /// # Errors
    /// [`TrainError::NotARun`], [`TrainError::InUse`], [`TrainError::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        if !path.join(CONFIG_FILE).is_file() {
            return Err(TrainError::NotARun { path });
        }
        let lock = Arc::new(RunLock::take(&path)?);
        files::remove_partials(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// The settings that the run began with.
    ///
    /// # Errors
    /// [`TrainError::SettingsFile`] naming the line and field.
    pub fn config<C: DeserializeOwned>(&self) -> Result<C> {
        let path = self.path.join(CONFIG_FILE);
        let text = std::fs::read_to_string(&path).map_err(TrainError::io("read", &path))?;
        toml::from_str(&text).map_err(|error| TrainError::SettingsFile {
            path,
            message: error.to_string(),
        })
    }

    /// A folder inside for one of several trainings (`norm/seed0`), new or left by a killed process.
    /// It shares this directory's lock and has no `config.toml` of its own.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn child(&self, name: impl AsRef<Path>) -> Result<Self> {
        let path = self.path.join(name);
        files::create_folder(&path)?;
        files::remove_partials(&path)?;
        Ok(Self {
            path,
            _lock: self._lock.clone(),
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file of the run that can be made again (a picture, a report), whole or not at all,
    /// without waiting for the disk; folders in `name` are made.
    ///
    /// # Errors
    /// [`TrainError::Io`] naming the file.
    pub fn write_view(&self, name: impl AsRef<Path>, content: &[u8]) -> Result<PathBuf> {
        let path = self.path.join(name);
        if let Some(folder) = path.parent() {
            files::create_folder(folder)?;
        }
        files::replace(&path, content)?;
        Ok(path)
    }

    /// Writes a file of the run, whole or not at all; folders in `name` are made.
    ///
    /// # Errors
    /// [`TrainError::Io`] naming the file.
    pub fn write(&self, name: impl AsRef<Path>, content: &[u8]) -> Result<PathBuf> {
        let path = self.path.join(name);
        if let Some(folder) = path.parent() {
            files::create_folder(folder)?;
        }
        files::write_atomically(&path, &[content])?;
        Ok(path)
    }

    /// Writes tensors and metadata as a safetensors file of the run, whole or not at all.
    /// The same tensors give the same bytes.
    ///
    /// # Errors
    /// [`TrainError::Io`] naming the file.
    pub fn write_tensors(
        &self,
        name: impl AsRef<Path>,
        tensors: &BTreeMap<String, Tensor>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<PathBuf> {
        let bytes = taper_layers::to_safetensors(tensors, metadata)?;
        self.write(name, &bytes)
    }

    /// `ROOT/<date>-<command>-<n>`, the first that does not exist; `now` gives the date (UTC).
    pub fn default_path(root: impl AsRef<Path>, command: &str, now: SystemTime) -> PathBuf {
        let date = date(now);
        let path = |n: u64| root.as_ref().join(format!("{date}-{command}-{n}"));
        (1..)
            .map(path)
            .find(|path| !path.exists())
            .unwrap_or_else(|| path(0))
    }
}

/// Tensors where safetensors can read them without failing.
pub(crate) fn on_cpu(tensors: &BTreeMap<String, Tensor>) -> Result<BTreeMap<&str, Tensor>> {
    tensors
        .iter()
        .map(|(name, tensor)| Ok((name.as_str(), tensor.to_device(&Device::Cpu)?.contiguous()?)))
        .collect()
}

fn refuse_foreign(path: &Path) -> Result<()> {
    let path_buf = || path.to_path_buf();
    if path.join(CONFIG_FILE).exists() {
        return Err(TrainError::RunExists { path: path_buf() });
    }
    let foreign = files::list(path)?.into_iter().find(|entry| {
        // A process killed before it wrote the settings leaves these two.
        !files::is_partial(entry) && entry.file_name().is_none_or(|name| name != LOCK_FILE)
    });
    match foreign {
        Some(entry) => Err(TrainError::ForeignDirectory {
            path: path_buf(),
            found: entry
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        }),
        None => Ok(()),
    }
}

/// `YYYY-MM-DD` in UTC, by Howard Hinnant's day-count arithmetic for the proleptic Gregorian calendar.
fn date(now: SystemTime) -> String {
    let seconds = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March, so that the leap day is the last of its year.
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::time::Duration;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        model: String,
        seed: u64,
    }

    fn settings() -> Settings {
        Settings {
            model: "resnet8".into(),
            seed: 3,
        }
    }

    #[test]
    fn create_open_and_refuse() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let run = RunDirectory::create(&path, &settings()).unwrap();
        assert!(matches!(
            RunDirectory::open(&path),
            Err(TrainError::InUse { .. })
        ));
        let child = run.child("norm/seed0").unwrap();
        drop(run);
        // The child still works there.
        assert!(matches!(
            RunDirectory::open(&path),
            Err(TrainError::InUse { .. })
        ));
        drop(child);
        let run = RunDirectory::open(&path).unwrap();
        assert_eq!(run.config::<Settings>().unwrap(), settings());
        drop(run);
        assert!(matches!(
            RunDirectory::create(&path, &settings()),
            Err(TrainError::RunExists { .. })
        ));
        assert!(matches!(
            RunDirectory::open(root.path()),
            Err(TrainError::NotARun { .. })
        ));
        match RunDirectory::create(root.path(), &settings()) {
            Err(TrainError::ForeignDirectory { found, .. }) => assert_eq!(found, "a"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_beginning_cut_short_is_no_obstacle() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(LOCK_FILE), "1\n").unwrap();
        std::fs::write(root.path().join(".config.toml.partial"), "mod").unwrap();
        RunDirectory::create(root.path(), &settings()).unwrap();
    }

    #[test]
    fn damaged_settings_are_named() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(CONFIG_FILE), "model = 3\nseed = 1\n").unwrap();
        let run = RunDirectory::open(root.path()).unwrap();
        let error = run.config::<Settings>().unwrap_err().to_string();
        assert!(
            error.contains("config.toml") && error.contains("model"),
            "{error}"
        );
    }

    #[test]
    fn dates() {
        let day = |days: u64| date(UNIX_EPOCH + Duration::from_secs(days * 86_400 + 5));
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(11_016), "2000-02-29");
        assert_eq!(day(11_017), "2000-03-01");
        assert_eq!(day(20_453), "2025-12-31");
        let root = tempfile::tempdir().unwrap();
        let next = || RunDirectory::default_path(root.path(), "train", UNIX_EPOCH);
        assert!(next().ends_with("1970-01-01-train-1"));
        std::fs::create_dir(next()).unwrap();
        assert!(next().ends_with("1970-01-01-train-2"));
    }
}
