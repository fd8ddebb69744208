//! A reader of the pickles in which CIFAR's Python batches are stored; nothing is ever executed.
//!
//! The vocabulary is what those files use: dictionaries, lists, tuples, texts, integers and NumPy
//! arrays of u8 made by `numpy.core.multiarray._reconstruct`. Every other global is refused by
//! name. Values live in an arena, so that shared and self-containing objects need no care, and
//! each opcode adds at most one value: memory is bounded by the length of the input.

mod machine;

use std::ops::Range;
use std::path::Path;

use crate::error::{DataError, Result};
use machine::Machine;

/// A value's place in the arena.
type Id = usize;

/// A value.
#[derive(Debug, Clone)]
enum Value {
    None,
    Boolean,
    Integer(i64),
    /// Bytes or text: a piece of the input.
    Text(Range<usize>),
    /// Bytes that Python 3 spelt as Latin-1 text (`_codecs.encode`).
    Decoded(Vec<u8>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Dictionary(Vec<(Id, Id)>),
    Global(Global),
    /// `numpy.dtype('u1')`.
    ByteType,
    /// A NumPy array; its shape and data arrive with BUILD.
    Array(Option<(Vec<usize>, Id)>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Global {
    Reconstruct,
    NdArray,
    DataType,
    Encode,
}

/// A pickle read into memory.
#[derive(Debug)]
pub(crate) struct Pickle<'a> {
    input: &'a [u8],
    path: &'a Path,
    values: Vec<Value>,
    root: Id,
}

/// An array of u8 and its shape.
#[derive(Debug)]
pub(crate) struct ByteArray<'a> {
    pub(crate) shape: &'a [usize],
    pub(crate) data: &'a [u8],
}

impl<'a> Pickle<'a> {
    /// Reads the pickle at the start of `input`; `path` names it in errors.
    ///
    /// # Errors
    /// [`DataError::Pickle`] for an opcode or global outside the vocabulary, or a truncated pickle.
    pub(crate) fn read(input: &'a [u8], path: &'a Path) -> Result<Self> {
        let mut machine = Machine::new(input, path);
        let root = machine.run()?;
        Ok(Self {
            input,
            path,
            values: machine.values,
            root,
        })
    }

    /// The entry `key` of the outermost dictionary.
    fn entry(&self, key: &str) -> Option<&Value> {
        let Value::Dictionary(entries) = &self.values[self.root] else {
            return None;
        };
        let (_, value) = entries
            .iter()
            .rev()
            .find(|(k, _)| self.bytes(*k) == Some(key.as_bytes()))?;
        Some(&self.values[*value])
    }

    fn bytes(&self, id: Id) -> Option<&[u8]> {
        match &self.values[id] {
            Value::Text(range) => Some(&self.input[range.clone()]),
            Value::Decoded(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn missing(&self, key: &str, expected: &str) -> DataError {
        let found = match self.entry(key) {
            Some(_) => format!("another value under \"{key}\""),
            None => format!("a pickle without the key \"{key}\""),
        };
        DataError::format(self.path, found, expected)
    }

    /// The array of u8 under `key`.
    pub(crate) fn byte_array(&self, key: &str) -> Result<ByteArray<'_>> {
        let expected = format!("a dictionary with an array of uint8 under \"{key}\"");
        let Some(Value::Array(Some((shape, data)))) = self.entry(key) else {
            return Err(self.missing(key, &expected));
        };
        let data = self
            .bytes(*data)
            .ok_or_else(|| self.missing(key, &expected))?;
        let length = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if length != Some(data.len()) {
            let found = format!("{} bytes under \"{key}\"", data.len());
            let expected = format!("as many as the shape {shape:?} says");
            return Err(DataError::format(self.path, found, expected));
        }
        Ok(ByteArray { shape, data })
    }

    /// The list of integers under `key`.
    pub(crate) fn integers(&self, key: &str) -> Result<Vec<i64>> {
        let expected = format!("a dictionary with a list of integers under \"{key}\"");
        let Some(Value::List(items)) = self.entry(key) else {
            return Err(self.missing(key, &expected));
        };
        let integer = |&id: &Id| match self.values[id] {
            Value::Integer(value) => Ok(value),
            _ => Err(self.missing(key, &expected)),
        };
        items.iter().map(integer).collect()
    }
}

#[cfg(test)]
mod tests;
