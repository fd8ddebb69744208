//! Rows of what is picked are shared out; for what goes into the data, places that no two rows share.

use super::walk::{Indices, Outside, Walk};
use crate::element::Element;
use crate::output::{CHUNK, Output, chunk_range};
use crate::threads::{self, Shared};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Adjacent elements of a row that a task puts into the data.
const PIECE: usize = 64;
/// Elements a task puts into the data, about.
const TASK: usize = 4096;

/// `picked[…, a, …] = data[…, index[…, a, …], …]`.
pub(crate) fn gather<T: Element>(
    data: &[T],
    indices: Indices,
    walk: &Walk,
    outside: &Outside,
) -> Vec<T> {
    let output = Output::new(walk.blocks() * walk.axis.length * walk.run.length);
    pick(&output, indices, walk, outside, |to, from, _| {
        to.write_copy_of_slice(&data[from..from + to.len()]);
    });
    // SAFETY: the picked elements of a gather are contiguous, and `pick` visits every one.
    unsafe { output.finish() }
}

/// `data[…, index[…, a, …], …] += picked[…, a, …]`, for one place in the order of a.
pub(crate) fn add<T: Element>(
    data: &mut [T],
    picked: &[T],
    indices: Indices,
    walk: &Walk,
    outside: &Outside,
) {
    put(data, indices, walk, outside, |to, from, _| {
        for (to, &value) in to.iter_mut().zip(&picked[from..]) {
            *to += value;
        }
    });
}

/// Calls `write(elements of output, position of their data, a)` for the elements with one index.
///
/// Elements whose index lies outside are zero, and noted.
pub(crate) fn pick<T: Element>(
    output: &Output<T>,
    indices: Indices,
    walk: &Walk,
    outside: &Outside,
    write: impl Fn(&mut [MaybeUninit<T>], usize, usize) + Sync,
) {
    let (blocks, rows, run) = (walk.blocks(), walk.axis.length, walk.run.length);
    // Elements that share an index.
    let shared = if walk.run.index == 0 { run } else { 1 };
    let a_task = (CHUNK / run.max(1)).max(1);
    threads::for_each((blocks * rows).div_ceil(a_task), |task| {
        let mut numbers = chunk_range(blocks * rows, a_task, task);
        while !numbers.is_empty() {
            let (block, first) = (walk.block(numbers.start / rows), numbers.start % rows);
            let count = (rows - first).min(numbers.len());
            numbers.start += count;
            for row in first..first + count {
                let at = block.plus(walk.axis, row);
                for column in (0..run).step_by(shared.max(1)) {
                    let (start, position) =
                        (at.picked + column, at.index + column * walk.run.index);
                    // SAFETY: the elements of the index have places of their own.
                    let to = unsafe { output.range(start..start + shared) };
                    match indices.get(position, walk.bound) {
                        Some(index) => write(to, at.data + index * walk.stride + column, row),
                        None => {
                            outside.note(position);
                            to.fill(MaybeUninit::new(T::from_f64(0.0)));
                        }
                    }
                }
            }
        }
    });
}

/// Calls `change(elements of the data, position of what was picked, a)` for the elements with one index.
///
/// For one place in the data, calls come in the order of a: a task owns the places of some blocks and
/// columns. Elements whose index lies outside are left out, and noted.
pub(crate) fn put<T: Copy + Send>(
    data: &mut [T],
    indices: Indices,
    walk: &Walk,
    outside: &Outside,
    change: impl Fn(&mut [T], usize, usize) + Sync,
) {
    let (blocks, rows, run) = (walk.blocks(), walk.axis.length, walk.run.length);
    let pieces = run.div_ceil(PIECE);
    let a_task = (TASK / (rows * run.min(PIECE)).max(1)).max(1);
    let length = data.len();
    let data = Shared(data.as_mut_ptr());
    let change_at = |position: usize, count: usize, from: usize, picked: usize, row: usize| {
        match indices.get(position, walk.bound) {
            Some(index) => {
                let start = from + index * walk.stride;
                assert!(start + count <= length);
                // SAFETY: inside the data (just asserted); no other task has this block and these
                // columns, and different blocks and columns never meet in the data.
                change(
                    unsafe { std::slice::from_raw_parts_mut(data.at(start), count) },
                    picked,
                    row,
                );
            }
            None => outside.note(position),
        }
    };
    threads::for_each((blocks * pieces).div_ceil(a_task), |task| {
        for number in chunk_range(blocks * pieces, a_task, task) {
            let Range { start, end } = chunk_range(run, PIECE, number % pieces);
            let block = walk.block(number / pieces).plus(walk.run, start);
            for row in 0..rows {
                let at = block.plus(walk.axis, row);
                if walk.run.index == 0 {
                    change_at(at.index, end - start, at.data, at.picked, row);
                    continue;
                }
                for column in 0..end - start {
                    change_at(
                        at.index + column,
                        1,
                        at.data + column,
                        at.picked + column,
                        row,
                    );
                }
            }
        }
    });
}
