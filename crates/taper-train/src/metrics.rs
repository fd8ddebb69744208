//! `metrics.jsonl`: one JSON object a line, the record that plots and reports are made from.

use crate::clock::Seconds;
use crate::error::{Result, TrainError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Version of the lines' keys.
pub const SCHEMA: u32 = 1;

/// Named numbers; one that is not finite is `null`.
pub type Metrics = BTreeMap<String, Option<f64>>;

/// One line. Everything but `seconds` is the same for a resumed run and an uninterrupted one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    schema: u32,
    #[serde(flatten)]
    pub record: Record,
}

/// What a line tells, by its `event`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Record {
    /// One step.
    Step(StepRecord),
    /// One epoch.
    Epoch(EpochRecord),
    /// The whole training; the last line.
    Result(Summary),
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The epoch, from 1.
    pub epoch: u64,
    /// Steps done in the whole training.
    pub step: u64,
    /// Learning rate of the step.
    pub learning_rate: f64,
    /// The loss: the weighted sum of its terms.
    pub loss: f64,
    /// The loss terms, unweighted.
    pub terms: BTreeMap<String, f64>,
}

/// One epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The epoch, from 1.
    pub epoch: u64,
    /// Steps done in the whole training.
    pub step: u64,
    /// Learning rate of the epoch's last step.
    pub learning_rate: f64,
    /// The mean loss: the weighted sum of its terms.
    pub loss: f64,
    /// Means of the loss terms, unweighted.
    pub terms: BTreeMap<String, f64>,
    /// Means of what the method observed while training.
    pub train: Metrics,
    /// The metrics on held-out data; empty where the epoch was not evaluated.
    pub test: Metrics,
    /// Wall-clock.
    pub seconds: Seconds,
}

/// A whole training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Epochs trained.
    pub epochs: u64,
    /// Steps trained.
    pub steps: u64,
    /// Mean loss of the last epoch.
    pub loss: f64,
    /// What the method observed in the last epoch.
    pub train: Metrics,
    /// The metrics on held-out data after the last epoch.
    pub test: Metrics,
    /// Wall-clock.
    pub seconds: Seconds,
}

/// Numbers as a line can hold them.
pub(crate) fn finite(values: BTreeMap<String, f64>) -> Metrics {
    values
        .into_iter()
        .map(|(name, value)| (name, value.is_finite().then_some(value)))
        .collect()
}

impl Record {
    /// The line's JSON.
    pub(crate) fn to_json(&self) -> Result<String> {
        let line = Line {
            schema: SCHEMA,
            record: self.clone(),
        };
        serde_json::to_string(&line).map_err(|error| TrainError::serialise("metrics", error))
    }
}

/// The open metrics file of a run.
#[derive(Debug)]
pub(crate) struct MetricsLog {
    path: PathBuf,
    file: File,
    length: u64,
}

impl MetricsLog {
    /// Opens the file and cuts it to `length` bytes: what was written after the checkpoint that
    /// training goes on from is written again. Also says whether the file was as long as that.
    pub fn open(path: PathBuf, length: u64) -> Result<(Self, bool)> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .map_err(TrainError::io("open", &path))?;
        let cut = || {
            let found = file.metadata()?.len();
            if found > length {
                file.set_len(length)?;
            }
            Ok(found)
        };
        let found = cut().map_err(TrainError::io("cut", &path))?;
        let log = Self {
            path,
            file,
            length: length.min(found),
        };
        Ok((log, found >= length))
    }

    /// Adds a line.
    pub fn append(&mut self, record: &Record) -> Result<()> {
        let line = record.to_json()? + "\n";
        self.file
            .write_all(line.as_bytes())
            .map_err(TrainError::io("write", &self.path))?;
        self.length += line.len() as u64;
        Ok(())
    }

    /// Puts every line on the disk.
    pub fn sync(&self) -> Result<()> {
        let synced = self.file.sync_data();
        synced.map_err(TrainError::io("write", &self.path))
    }

    /// How long the file is, in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The file, for another thread to sync, and its path.
    pub fn handle(&self) -> Result<(File, PathBuf)> {
        let file = self.file.try_clone();
        let file = file.map_err(TrainError::io("open", &self.path))?;
        Ok((file, self.path.clone()))
    }
}

/// Every record of a metrics file, in order.
///
/// # Errors
/// [`TrainError::Io`], [`TrainError::MetricsFile`].
pub fn read_records(path: &Path) -> Result<Vec<Record>> {
    let text = std::fs::read_to_string(path).map_err(TrainError::io("read", path))?;
    let parse = |(index, line)| match serde_json::from_str::<Line>(line) {
        Ok(line) => Ok(line.record),
        Err(error) => Err(TrainError::MetricsFile {
            path: path.to_path_buf(),
            line: index + 1,
            message: error.to_string(),
        }),
    };
    text.lines().enumerate().map(parse).collect()
}

/// The epochs of a metrics file, in order.
///
/// # Errors
/// As [`read_records`].
pub fn read_epochs(path: &Path) -> Result<Vec<EpochRecord>> {
    let records = read_records(path)?.into_iter();
    Ok(records
        .filter_map(|record| match record {
            Record::Epoch(epoch) => Some(epoch),
            _ => None,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u64) -> Record {
        Record::Epoch(EpochRecord {
            epoch: number,
            step: number * 10,
            learning_rate: 0.1,
            loss: 1.0 / number as f64,
            terms: BTreeMap::from([("ce".into(), 0.3)]),
            train: Metrics::new(),
            test: finite(BTreeMap::from([
                ("top1".into(), 90.1),
                ("loss".into(), f64::NAN),
            ])),
            seconds: Seconds::default(),
        })
    }

    #[test]
    fn keys_are_fixed() {
        let line: serde_json::Value = serde_json::from_str(&epoch(1).to_json().unwrap()).unwrap();
        assert_eq!(line["schema"], 1);
        assert_eq!(line["event"], "epoch");
        assert_eq!(line["test"]["top1"], 90.1);
        assert!(line["test"]["loss"].is_null());
    }

    #[test]
    fn cut_to_the_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let (mut log, _) = MetricsLog::open(path.clone(), 0).unwrap();
        log.append(&epoch(1)).unwrap();
        log.sync().unwrap();
        let length = log.length();
        log.append(&epoch(2)).unwrap();
        // A killed process may also leave half a line.
        log.file.write_all(b"{\"schema\":").unwrap();
        drop(log);
        assert!(matches!(
            read_records(&path),
            Err(TrainError::MetricsFile { line: 3, .. })
        ));
        let (mut log, complete) = MetricsLog::open(path.clone(), length).unwrap();
        assert!(complete);
        log.append(&epoch(5)).unwrap();
        assert_eq!(read_records(&path).unwrap(), [epoch(1), epoch(5)]);
        let (_, complete) = MetricsLog::open(path, 1 << 20).unwrap();
        assert!(!complete);
    }
}
