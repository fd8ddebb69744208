//! Results written by many tasks at once into memory that is not zeroed first.

use crate::threads;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Elements a task of an elementwise pass works on: 64 KiB of `f32`.
pub(crate) const CHUNK: usize = 16 * 1024;

/// A vector being written: tasks write disjoint ranges, `finish` hands it out.
pub(crate) struct Output<T> {
    values: Vec<T>,
    start: *mut MaybeUninit<T>,
    length: usize,
}

// SAFETY: the pointer is only used through `range`, whose callers promise that no
// two tasks hold overlapping ranges, so threads never touch the same element.
unsafe impl<T: Send> Sync for Output<T> {}

impl<T: Copy> Output<T> {
    /// Room for `length` elements.
    pub(crate) fn new(length: usize) -> Self {
        let mut values = Vec::with_capacity(length);
        let start = values.spare_capacity_mut().as_mut_ptr();
        Self {
            values,
            start,
            length,
        }
    }

    /// `length` elements that hold `value` until they are written.
    pub(crate) fn filled(value: T, length: usize) -> Self {
        let mut values = vec![value; length];
        values.clear();
        let start = values.spare_capacity_mut().as_mut_ptr();
        Self {
            values,
            start,
            length,
        }
    }

    /// The elements of `range`, to be written.
    ///
    /// # Safety
    /// No two ranges in use at the same time may overlap.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn range(&self, range: Range<usize>) -> &mut [MaybeUninit<T>] {
        assert!(range.start <= range.end && range.end <= self.length);
        // SAFETY: the range lies inside the allocation (asserted), and the caller
        // promises that nobody else uses it now.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// The vector.
    ///
    /// # Safety
    /// Every element must have been written.
    pub(crate) unsafe fn finish(mut self) -> Vec<T> {
        // SAFETY: the capacity is at least `length`, and the caller promises that
        // all elements were written.
        unsafe { self.values.set_len(self.length) };
        self.values
    }
}

/// Writes `value` to every slot and returns the written slice.
#[inline(always)]
pub(crate) fn fill<T: Copy>(slots: &mut [MaybeUninit<T>], value: T) -> &mut [T] {
    slots.fill(MaybeUninit::new(value));
    // SAFETY: every element was just written.
    unsafe { slots.assume_init_mut() }
}

/// The range of chunk `index` when `length` elements are cut into chunks of `chunk`.
pub(crate) fn chunk_range(length: usize, chunk: usize, index: usize) -> Range<usize> {
    index * chunk..((index + 1) * chunk).min(length)
}

/// Calls `task` with each chunk of `values` and its number, on the pool's threads.
pub(crate) fn for_each_chunk<T: Send>(
    values: &mut [T],
    chunk: usize,
    task: impl Fn(usize, &mut [T]) + Sync,
) {
    let parts: Vec<_> = values
        .chunks_mut(chunk.max(1))
        .map(std::sync::Mutex::new)
        .collect();
    threads::for_each(parts.len(), |index| {
        if let Ok(mut part) = parts[index].lock() {
            task(index, &mut part);
        }
    });
}

/// `task(0), …, task(count - 1)`, computed on the pool's threads, in order.
pub(crate) fn collect<R: Copy + Send>(count: usize, task: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let results = Output::new(count);
    threads::for_each(count, |index| {
        // SAFETY: each task has an index of its own.
        let slot = unsafe { results.range(index..index + 1) };
        slot[0].write(task(index));
    });
    // SAFETY: the loop above wrote every index.
    unsafe { results.finish() }
}
