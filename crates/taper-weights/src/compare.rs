//! What differs between two checkpoints, or between one and a network of the zoo.

use crate::reader::{TensorEntry, number};
use crate::{TensorFile, WeightsError, nearest};
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, sync_channel};
use taper_layers::TensorInfo;

/// Pieces on their way between the two readers.
const AHEAD: usize = 2;

/// All that differs; empty lists mean that nothing does.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Difference {
    /// Tensors that were compared: those of the same name on both sides.
    pub compared: usize,
    /// In the second only.
    pub missing: Vec<Unmatched>,
    /// In the first only.
    pub extra: Vec<Unmatched>,
    /// Of another shape.
    pub shapes: Vec<Shapes>,
    /// Of another type.
    pub dtypes: Vec<Dtypes>,
    /// Of other numbers.
    pub values: Vec<Values>,
}

/// A name without a counterpart.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Unmatched {
    /// The name.
    pub name: String,
    /// The nearest name of the other side that has no counterpart either.
    pub nearest: Option<String>,
}

/// The two shapes of a tensor.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Shapes {
    /// The name.
    pub name: String,
    /// On the first side.
    pub a: Vec<usize>,
    /// On the second.
    pub b: Vec<usize>,
}

/// The two types of a tensor.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Dtypes {
    /// The name.
    pub name: String,
    /// On the first side.
    pub a: String,
    /// On the second.
    pub b: String,
}

/// How far the numbers of a tensor are apart.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Values {
    /// The name.
    pub name: String,
    /// Largest absolute difference; `None` where one side is not finite and the other differs.
    pub max_abs: Option<f64>,
    /// Numbers that differ by more than the tolerance.
    pub count: u64,
}

impl Difference {
    /// Whether both sides are the same.
    pub fn is_none(&self) -> bool {
        let Self {
            compared: _,
            missing,
            extra,
            shapes,
            dtypes,
            values,
        } = self;
        missing.is_empty()
            && extra.is_empty()
            && shapes.is_empty()
            && dtypes.is_empty()
            && values.is_empty()
    }
}

/// Compares two files tensor by tensor, in constant memory. Numbers that are at most `tolerance`
/// apart count as equal, and so do two that are not a number.
///
/// # Errors
/// [`WeightsError`] of either file.
pub fn compare(a: &TensorFile, b: &TensorFile, tolerance: f64) -> Result<Difference, WeightsError> {
    let names = |file: &TensorFile| -> Vec<String> {
        let entries = file.entries().iter();
        entries.map(|entry| entry.name.clone()).collect()
    };
    let mut found = unmatched(&names(a), &names(b));
    let others: BTreeMap<&str, &TensorEntry> = b
        .entries()
        .iter()
        .map(|entry| (entry.name.as_str(), entry))
        .collect();
    let mut pairs: Vec<_> = a
        .entries()
        .iter()
        .filter_map(|entry| Some((entry, *others.get(entry.name.as_str())?)))
        .collect();
    pairs.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    found.compared = pairs.len();
    for (one, other) in pairs {
        if one.dtype != other.dtype {
            found.dtypes.push(Dtypes {
                name: one.name.clone(),
                a: one.dtype.to_string(),
                b: other.dtype.to_string(),
            });
        }
        if one.shape != other.shape {
            found.shapes.push(Shapes {
                name: one.name.clone(),
                a: one.shape.clone(),
                b: other.shape.clone(),
            });
        } else if let Some(values) = values(one, other, tolerance)? {
            found.values.push(values);
        }
    }
    Ok(found)
}

/// Compares a file's names, shapes and types with what a network wants. `num_batches_tracked` may
/// be absent, and `ignorable` tells names that files may carry.
pub fn compare_with_network(
    file: &TensorFile,
    strip: usize,
    expected: &[TensorInfo],
    ignorable: &dyn Fn(&str) -> bool,
) -> Difference {
    let tensors: BTreeMap<&str, &TensorEntry> = file
        .entries()
        .iter()
        .map(|entry| (&entry.name[strip.min(entry.name.len())..], entry))
        .collect();
    let wanted: BTreeMap<&str, &TensorInfo> = expected
        .iter()
        .map(|info| (info.name.as_str(), info))
        .collect();
    let mut a: Vec<String> = tensors.keys().map(|name| name.to_string()).collect();
    a.retain(|name| wanted.contains_key(name.as_str()) || !ignorable(name));
    let mut b: Vec<String> = wanted.keys().map(|name| name.to_string()).collect();
    b.retain(|name| {
        tensors.contains_key(name.as_str()) || !taper_vision::ModelEntry::optional(name)
    });
    let mut found = unmatched(&a, &b);
    for (name, info) in wanted {
        let Some(entry) = tensors.get(name) else {
            continue;
        };
        found.compared += 1;
        if entry.shape != info.shape {
            found.shapes.push(Shapes {
                name: name.to_string(),
                a: entry.shape.clone(),
                b: info.shape.clone(),
            });
        }
        let floats = info.dtype.is_float();
        if floats != entry.dtype.is_float() || entry.dtype.is_complex() {
            found.dtypes.push(Dtypes {
                name: name.to_string(),
                a: entry.dtype.to_string(),
                b: info.dtype.as_str().to_uppercase(),
            });
        }
    }
    found
}

/// Names without a counterpart, each with the nearest of the other side's.
fn unmatched(a: &[String], b: &[String]) -> Difference {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        let those: std::collections::BTreeSet<&String> = those.iter().collect();
        let mut only: Vec<String> = these
            .iter()
            .filter(|name| !those.contains(name))
            .cloned()
            .collect();
        only.sort();
        only
    };
    let (extra, missing) = (only(a, b), only(b, a));
    let with_nearest = |names: &[String], others: &[String]| {
        // Thousands of names are another file altogether: nobody reads what is nearest.
        let few = names.len().saturating_mul(others.len()) <= 1 << 18;
        names
            .iter()
            .map(|name| Unmatched {
                name: name.clone(),
                nearest: few
                    .then(|| nearest(name, others.iter().map(String::as_str), 1))
                    .and_then(|near| near.first().map(|near| near.to_string())),
            })
            .collect()
    };
    Difference {
        missing: with_nearest(&missing, &extra),
        extra: with_nearest(&extra, &missing),
        ..Difference::default()
    }
}

/// Reads both tensors side by side; `None` when they are equal.
fn values(
    a: &TensorEntry,
    b: &TensorEntry,
    tolerance: f64,
) -> Result<Option<Values>, WeightsError> {
    let mut found = Apart {
        tolerance,
        // Integers beyond 2^53 that round to the same double still differ by one.
        exact: a.dtype == b.dtype && !a.dtype.is_float(),
        ..Apart::default()
    };
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel::<Vec<u8>>(AHEAD);
        let reader = scope.spawn(move || {
            b.read_into(&mut |piece| {
                // The other side gave up: so does this one.
                sender
                    .send(piece.to_vec())
                    .map_err(|_| WeightsError::Stopped {
                        path: b.file().to_path_buf(),
                    })
            })
        });
        let mut other = Pull {
            receiver,
            piece: Vec::new(),
            taken: 0,
        };
        let (size_a, size_b) = (a.dtype.size(), b.dtype.size());
        let mut bytes = Vec::new();
        let mut numbers = (Vec::new(), Vec::new());
        let read = a.read_into(&mut |piece| {
            other.take(piece.len() / size_a * size_b, &mut bytes);
            numbers.0.clear();
            numbers.1.clear();
            number::decode(a.dtype, piece, &mut numbers.0);
            number::decode(b.dtype, &bytes, &mut numbers.1);
            let same = found.exact && piece == bytes.as_slice();
            if !same {
                let words = (piece.chunks(size_a), bytes.chunks(size_b));
                found.add(&numbers.0, &numbers.1, words.0, words.1);
            }
            Ok(())
        });
        drop(other);
        let sent = reader.join().unwrap_or(Ok(()));
        read.and(sent)
    })?;
    Ok((found.count > 0).then(|| Values {
        name: a.name.clone(),
        max_abs: (!found.undefined).then_some(found.largest),
        count: found.count,
    }))
}

/// The pieces of a channel, cut anew.
struct Pull {
    receiver: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    taken: usize,
}

impl Pull {
    /// The next `count` bytes; fewer when the sender has failed.
    fn take(&mut self, count: usize, bytes: &mut Vec<u8>) {
        bytes.clear();
        while bytes.len() < count {
            if self.taken == self.piece.len() {
                let Ok(piece) = self.receiver.recv() else {
                    return;
                };
                (self.piece, self.taken) = (piece, 0);
            }
            let some = (count - bytes.len()).min(self.piece.len() - self.taken);
            bytes.extend_from_slice(&self.piece[self.taken..self.taken + some]);
            self.taken += some;
        }
    }
}

#[derive(Default)]
struct Apart {
    tolerance: f64,
    exact: bool,
    largest: f64,
    undefined: bool,
    count: u64,
}

impl Apart {
    fn add<'a>(
        &mut self,
        a: &[f64],
        b: &[f64],
        words_a: impl Iterator<Item = &'a [u8]>,
        words_b: impl Iterator<Item = &'a [u8]>,
    ) {
        let mut words = words_a.zip(words_b);
        for (&one, &other) in a.iter().zip(b) {
            let rounded_alike = match self.exact {
                true => words.next().is_some_and(|(one, other)| one != other) && one == other,
                false => false,
            };
            if !rounded_alike && (one == other || (one.is_nan() && other.is_nan())) {
                continue;
            }
            let apart = if rounded_alike {
                1.
            } else {
                (one - other).abs()
            };
            if apart <= self.tolerance {
                continue;
            }
            self.count += 1;
            match apart.is_finite() {
                true => self.largest = self.largest.max(apart),
                false => self.undefined = true,
            }
        }
    }
}

#[cfg(test)]
mod tests;
