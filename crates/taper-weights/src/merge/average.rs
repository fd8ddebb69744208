//! The mean of several checkpoints of one network, as recipes average their last or best ones.

use super::{MergeOptions, MergeReport, write};
use crate::convert::{ConvertProgress, Payload, PlannedTensor, Producer};
use crate::reader::{TensorEntry, number};
use crate::{ElementType, TensorFile, WeightsError};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Numbers given on at a time.
const PIECE: usize = 1 << 17;

/// Writes the mean of every floating tensor of `inputs` to `output`, taken in f64 and rounded once
/// to the type of the first; other tensors (counters) are those of the last. In memory is one tensor in f64.
///
/// # Errors
/// [`WeightsError`]: fewer than two files, or tensors that are not in all of them with one shape.
pub fn average(
    inputs: &[PathBuf],
    output: impl AsRef<Path>,
    options: &MergeOptions,
    progress: ConvertProgress<'_>,
) -> Result<MergeReport, WeightsError> {
    if inputs.len() < 2 {
        return Err(WeightsError::Option {
            option: "--average".into(),
            reason: format!(
                "{} file given; expected two or more before OUT",
                inputs.len()
            ),
        });
    }
    let files = inputs
        .iter()
        .map(|path| TensorFile::open(path, &options.limits))
        .collect::<Result<Vec<_>, _>>()?;
    let first = &files[0];
    for other in &files[1..] {
        check_alike(first, other)?;
    }
    let mut tensors = Vec::new();
    let mut counters = 0;
    for entry in first.entries() {
        let all: Vec<&TensorEntry> = files
            .iter()
            .filter_map(|file| file.entry(&entry.name))
            .collect();
        let floating = entry.dtype.is_float() && !entry.dtype.is_complex();
        if entry.dtype.is_complex() {
            return Err(WeightsError::Format {
                path: first.path().to_path_buf(),
                reason: format!("tensor {}: complex numbers are not averaged", entry.name),
            });
        }
        counters += usize::from(!floating);
        let (from, payload) = match (floating, all.last()) {
            (false, Some(last)) => (last.dtype, Payload::Entry((*last).clone())),
            _ => (ElementType::F64, Payload::Computed(mean_of(all))),
        };
        tensors.push(PlannedTensor {
            name: entry.name.clone(),
            dtype: entry.dtype,
            shape: entry.shape.clone(),
            from,
            payload,
        });
    }
    let mut notes = vec![format!("the mean of {} checkpoints", files.len())];
    if counters > 0 {
        let last = files[files.len() - 1].path().display();
        notes.push(format!(
            "{counters} tensors of integers are those of {last}"
        ));
    }
    let mut metadata = first.metadata().clone();
    metadata.insert("averaged".into(), files.len().to_string());
    let inputs: BTreeSet<PathBuf> = files.iter().map(|file| file.path().into()).collect();
    write(
        output.as_ref(),
        &inputs,
        options,
        tensors,
        &metadata,
        notes,
        progress,
    )
}

/// Names, shapes and kinds of number agree; the first that does not is named.
fn check_alike(first: &TensorFile, other: &TensorFile) -> Result<(), WeightsError> {
    let differs = |reason: String| {
        Err(WeightsError::Format {
            path: other.path().to_path_buf(),
            reason: format!("{reason}: only checkpoints of one network can be averaged"),
        })
    };
    let at = first.path().display();
    for entry in first.entries() {
        // Not `entry`, which finds tensors beside the weights too.
        let found = other
            .entries()
            .iter()
            .find(|found| found.name == entry.name);
        match found {
            None => return differs(format!("no tensor {}, which {at} has", entry.name)),
            Some(found) if found.shape != entry.shape => {
                return differs(format!(
                    "tensor {} is {:?}, in {at} {:?}",
                    entry.name, found.shape, entry.shape
                ));
            }
            Some(found) if found.dtype != entry.dtype => {
                return differs(format!(
                    "tensor {} has {} numbers, in {at} {}",
                    entry.name, found.dtype, entry.dtype
                ));
            }
            Some(_) => {}
        }
    }
    if other.entries().len() != first.entries().len() {
        let extra = other
            .entries()
            .iter()
            .find(|entry| first.entry(&entry.name).is_none());
        let name = extra.map_or("?", |entry| entry.name.as_str());
        return differs(format!("tensor {name}, which {at} lacks"));
    }
    Ok(())
}

/// Adds the files up one after the other, in the order given.
fn mean_of(entries: Vec<&TensorEntry>) -> Box<Producer<'_>> {
    Box::new(move |sink| {
        let mut sums: Vec<f64> = Vec::new();
        let mut numbers = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let mut position = 0;
            entry.read_into(&mut |piece| {
                numbers.clear();
                number::decode(entry.dtype, piece, &mut numbers);
                match index {
                    0 => sums.extend_from_slice(&numbers),
                    _ => {
                        for (sum, number) in sums[position..].iter_mut().zip(&numbers) {
                            *sum += number;
                        }
                    }
                }
                position += numbers.len();
                Ok(())
            })?;
        }
        let count = entries.len() as f64;
        let mut bytes = Vec::new();
        for part in sums.chunks(PIECE) {
            bytes.clear();
            for sum in part {
                bytes.extend_from_slice(&(sum / count).to_le_bytes());
            }
            sink(&bytes)?;
        }
        Ok(())
    })
}
