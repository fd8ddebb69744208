//! A tensor with its numbers in another order: only strides change, nothing is read.

use super::TensorEntry;
use crate::dialect::{Change, row_axes};

/// Queries, keys and values.
const WHICH: usize = 3;

impl TensorEntry {
    /// The tensor after `change`.
    ///
    /// # Errors
    /// The reason alone, when its shape does not allow the change.
    pub(crate) fn rearranged(&self, change: &Change) -> Result<Self, String> {
        let mut entry = self.clone();
        if let Some((from, to, channels)) = change.rows {
            let rows = entry.shape.first().copied().unwrap_or(0);
            let heads = rows / (WHICH * channels);
            if heads == 0 || heads * WHICH * channels != rows {
                return Err(format!(
                    "shape {:?}: its rows should be queries, keys and values of heads of {channels} channels",
                    entry.shape
                ));
            }
            let view = &mut entry.view;
            let sizes = [WHICH, heads, channels];
            let mut strides = [0; 3];
            let mut step = view.strides[0];
            for axis in row_axes(from).into_iter().rev() {
                strides[axis] = step;
                step *= sizes[axis] as u64;
            }
            let order = row_axes(to);
            view.shape.splice(..1, order.map(|axis| sizes[axis]));
            view.strides.splice(..1, order.map(|axis| strides[axis]));
        }
        if change.transpose {
            let [rows, columns] = entry.shape[..] else {
                return Err(format!(
                    "shape {:?}: two dimensions are needed",
                    entry.shape
                ));
            };
            entry.shape = vec![columns, rows];
            entry.view.shape.reverse();
            entry.view.strides.reverse();
        }
        if let Some((from, to)) = change.rank {
            let found = entry.shape.clone();
            if found.len() != to {
                let ones = found.len() == from && found.iter().skip(to).all(|&size| size == 1);
                if !ones {
                    return Err(format!("shape {found:?}: {from} dimensions are needed"));
                }
                entry.shape.resize(to, 1);
            }
        }
        Ok(entry)
    }
}
