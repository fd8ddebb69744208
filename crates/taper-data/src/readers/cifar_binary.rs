//! CIFAR binary: records of one label byte (CIFAR-10) or two (CIFAR-100: coarse, fine), then the
//! red, green and blue planes.

use std::path::{Path, PathBuf};

use super::{CIFAR_PIXELS, CIFAR_SHAPE, Cifar, Rows, check_label};
use crate::error::{DataError, Result};

/// Bytes of one record.
pub(crate) fn record_length(set: Cifar) -> usize {
    CIFAR_PIXELS
        + match set {
            Cifar::Ten => 1,
            Cifar::Hundred => 2,
        }
}

/// Reads one file's bytes; `path` names it in errors.
pub(crate) fn parse(bytes: &[u8], set: Cifar, path: &Path) -> Result<Rows> {
    let length = record_length(set);
    let label_bytes = length - CIFAR_PIXELS;
    if bytes.is_empty() || !bytes.len().is_multiple_of(length) {
        return Err(DataError::format(
            path,
            format!("{} bytes", bytes.len()),
            format!("a whole number of records of {length} bytes (wrong or truncated file)"),
        ));
    }
    let count = bytes.len() / length;
    let mut rows = Rows {
        shape: CIFAR_SHAPE,
        pixels: Vec::with_capacity(count * CIFAR_PIXELS),
        labels: Vec::with_capacity(count),
    };
    for (row, record) in bytes.chunks_exact(length).enumerate() {
        // The fine label is the last label byte; CIFAR-100 keeps 20 coarse classes before it.
        if set == Cifar::Hundred {
            check_label(path, row, i64::from(record[0]), 20)?;
        }
        let label = i64::from(record[label_bytes - 1]);
        rows.labels
            .push(check_label(path, row, label, set.classes())?);
        rows.pixels.extend_from_slice(&record[label_bytes..]);
    }
    Ok(rows)
}

/// Bytes of the official file called `name`.
fn official_length(name: &str, set: Cifar) -> u64 {
    let records = match (set, name) {
        (Cifar::Hundred, "train.bin") => 50_000,
        _ => 10_000,
    };
    records * record_length(set) as u64
}

/// Refuses a release of which one file has the official size and `files` have not: a file cut at
/// the end of a record is whole by its structure alone. A release that is small throughout
/// (a sample of the set) passes, as long as the training batches are of one size.
pub(crate) fn check_sizes(files: &[PathBuf], siblings: &[PathBuf], set: Cifar) -> Result<()> {
    let size = |path: &PathBuf| std::fs::metadata(path).map(|m| m.len());
    let official = |path: &PathBuf| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        official_length(name, set)
    };
    let is_official = |path| size(path).is_ok_and(|s| s == official(path));
    let whole_release = files.iter().chain(siblings).any(is_official);
    let mut first = None;
    for path in files {
        let found = size(path).map_err(DataError::io(path))?;
        let expected = match whole_release {
            true => official(path),
            false => *first.get_or_insert(found),
        };
        if expected != found {
            let records = expected / record_length(set) as u64;
            let expected =
                format!("{expected} bytes ({records} records), as the rest of the release");
            return Err(DataError::format(path, format!("{found} bytes"), expected));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_shorter_than_the_rest_of_its_release_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let file = |name: &str, records: u64| {
            let path = root.path().join(name);
            let file = std::fs::File::create(&path).unwrap();
            file.set_len(records * 3073).unwrap(); // sparse: takes no room
            path
        };
        let (one, two) = (file("data_batch_1.bin", 20), file("data_batch_2.bin", 20));
        let test = file("test_batch.bin", 10);
        let check = || {
            check_sizes(
                &[one.clone(), two.clone()],
                std::slice::from_ref(&test),
                Cifar::Ten,
            )
        };
        check().unwrap();
        file("data_batch_2.bin", 19);
        assert!(
            check()
                .unwrap_err()
                .to_string()
                .contains("data_batch_2.bin: found 58387 bytes")
        );
        file("data_batch_2.bin", 20);
        file("test_batch.bin", 10_000);
        assert!(
            check()
                .unwrap_err()
                .to_string()
                .contains("30730000 bytes (10000 records)")
        );
    }

    fn record(labels: &[u8], shade: u8) -> Vec<u8> {
        [labels, &[shade; CIFAR_PIXELS]].concat()
    }

    #[test]
    fn records_of_both_sets_are_read() {
        let path = Path::new("x.bin");
        let ten = [record(&[9], 1), record(&[0], 2)].concat();
        let rows = parse(&ten, Cifar::Ten, path).unwrap();
        assert_eq!(rows.labels, [9, 0]);
        assert_eq!(rows.pixels[CIFAR_PIXELS..], [2; CIFAR_PIXELS]);
        let rows = parse(&record(&[19, 99], 3), Cifar::Hundred, path).unwrap();
        assert_eq!(rows.labels, [99]);
        assert_eq!(rows.pixels, [3; CIFAR_PIXELS]);
    }

    #[test]
    fn wrong_sizes_and_labels_are_refused_by_name() {
        let path = Path::new("x.bin");
        let good = record(&[9], 1);
        for cut in [0, 1, 1536, 3072] {
            let error = parse(&good[..cut], Cifar::Ten, path)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(&format!("x.bin: found {cut} bytes")),
                "{error}"
            );
        }
        let bad = [record(&[9], 1), record(&[10], 1)].concat();
        let error = parse(&bad, Cifar::Ten, path).unwrap_err().to_string();
        assert_eq!(error, "x.bin: row 1: label 10, expected 0..=9");
        assert!(parse(&record(&[20, 1], 0), Cifar::Hundred, path).is_err());
        assert!(parse(&record(&[1, 100], 0), Cifar::Hundred, path).is_err());
    }
}
