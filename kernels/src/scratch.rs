//! Working memory for kernels: aligned to a cache line, returned to a free list when dropped.
//!
//! Fresh pages cost more than most kernels; a training step asks for the same sizes again
//! and again. Each thread keeps what it used last, so that its tasks find their buffers in the
//! cache of their own core (with one list for all threads two cores write a convolution's buffers
//! in turn: 1.35 times slower); the rest goes to a common list. Contents are whatever the last
//! user left.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

/// Bytes of a cache line, and of the widest vector.
const ALIGNMENT: usize = 64;
/// Floats that the free list holds at most: 512 MiB.
const HELD_AT_MOST: usize = 128 << 20;
/// Floats (16 MiB) and buffers that a thread keeps for itself at most.
const OWN_AT_MOST: usize = 4 << 20;
/// Floats of a buffer that a core's cache may still hold when it is asked for again: 2 MiB. Larger
/// ones would only push those out.
const OWN_BUFFER_AT_MOST: usize = 512 << 10;
const OWN_BUFFERS: usize = 24;

struct FreeList {
    /// Buffers by capacity in floats.
    buffers: BTreeMap<usize, Vec<Block>>,
    held: usize,
}

/// An allocation of some capacity, known from where it is kept.
struct Block(NonNull<f32>);

// SAFETY: a block is an exclusively owned allocation.
unsafe impl Send for Block {}

static FREE: Mutex<FreeList> = Mutex::new(FreeList {
    buffers: BTreeMap::new(),
    held: 0,
});

/// Takes a buffer from the common list.
fn take_common(capacity: usize) -> Option<NonNull<f32>> {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    let block = free.buffers.get_mut(&capacity).and_then(Vec::pop)?;
    free.held -= capacity;
    Some(block.0)
}

/// Gives a buffer to the common list, or to the allocator if that is full.
fn give_to_common(block: NonNull<f32>, capacity: usize) {
    let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
    if free.held + capacity <= HELD_AT_MOST {
        free.held += capacity;
        let buffers = free.buffers.entry(capacity).or_default();
        buffers.push(Block(block));
    } else {
        drop(free);
        // SAFETY: allocated with this layout, and owned.
        unsafe { dealloc(block.as_ptr().cast(), layout(capacity)) };
    }
}

/// What a thread keeps: (capacity, buffer), the latest last.
struct Own {
    buffers: Vec<(usize, NonNull<f32>)>,
    held: usize,
}

impl Own {
    fn take(&mut self, capacity: usize) -> Option<NonNull<f32>> {
        let at = self.buffers.iter().rposition(|kept| kept.0 == capacity)?;
        self.held -= capacity;
        Some(self.buffers.remove(at).1)
    }

    /// Keeps a buffer; the oldest go to the common list if there are too many.
    fn keep(&mut self, block: NonNull<f32>, capacity: usize) {
        self.buffers.push((capacity, block));
        self.held += capacity;
        while self.held > OWN_AT_MOST || self.buffers.len() > OWN_BUFFERS {
            let (capacity, block) = self.buffers.remove(0);
            self.held -= capacity;
            give_to_common(block, capacity);
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        for (capacity, block) in self.buffers.drain(..) {
            give_to_common(block, capacity);
        }
    }
}

thread_local! {
    static OWN: RefCell<Own> = const { RefCell::new(Own { buffers: Vec::new(), held: 0 }) };
}

/// A buffer of floats, aligned to 64 bytes.
pub(crate) struct Scratch {
    block: NonNull<f32>,
    len: usize,
    capacity: usize,
}

// SAFETY: an exclusively owned allocation.
unsafe impl Send for Scratch {}
// SAFETY: shared access only reads.
unsafe impl Sync for Scratch {}

impl Scratch {
    /// A buffer of `len` floats with arbitrary contents.
    pub(crate) fn take(len: usize) -> Self {
        let capacity = capacity_for(len);
        let own = if capacity > OWN_BUFFER_AT_MOST {
            None
        } else {
            OWN.try_with(|own| own.borrow_mut().take(capacity))
                .ok()
                .flatten()
        };
        let recycled = own.or_else(|| take_common(capacity));
        let block = recycled.unwrap_or_else(|| allocate(capacity));
        Self {
            block,
            len,
            capacity,
        }
    }

    /// A buffer of `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut scratch = Self::take(len);
        scratch.fill(0.0);
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let (block, capacity) = (self.block, self.capacity);
        if capacity > OWN_BUFFER_AT_MOST
            || OWN
                .try_with(|own| own.borrow_mut().keep(block, capacity))
                .is_err()
        {
            give_to_common(block, capacity);
        }
    }
}

/// Frees the buffers of the common list and of the calling thread that wait for their next user.
pub(crate) fn release() {
    // Dropped, what the thread kept goes to the common list.
    drop(OWN.try_with(|own| {
        let empty = Own {
            buffers: Vec::new(),
            held: 0,
        };
        own.replace(empty)
    }));
    let buffers = {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        free.held = 0;
        std::mem::take(&mut free.buffers)
    };
    for (capacity, blocks) in buffers {
        for block in blocks {
            // SAFETY: allocated with this layout, and owned: it was taken out of the list.
            unsafe { dealloc(block.0.as_ptr().cast(), layout(capacity)) };
        }
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: the allocation holds `capacity ≥ len` floats, zeroed when it was made.
        unsafe { std::slice::from_raw_parts(self.block.as_ptr(), self.len) }
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as for `deref`, and exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.block.as_ptr(), self.len) }
    }
}

/// Few sizes, so that buffers are found again: an eighth of a power of two, at least a page.
fn capacity_for(len: usize) -> usize {
    let len = len.max(1024);
    let step = (len.next_power_of_two() / 16).max(1);
    len.next_multiple_of(step)
}

fn layout(capacity: usize) -> Layout {
    // A capacity that overflows here was never granted by the allocator.
    Layout::array::<f32>(capacity)
        .and_then(|layout| layout.align_to(ALIGNMENT))
        .unwrap_or_else(|_| handle_alloc_error(Layout::new::<f32>()))
}

fn allocate(capacity: usize) -> NonNull<f32> {
    let layout = layout(capacity);
    // SAFETY: `capacity_for` never gives zero.
    let block = unsafe { alloc_zeroed(layout) };
    NonNull::new(block.cast()).unwrap_or_else(|| handle_alloc_error(layout))
}

#[cfg(test)]
mod tests {
    use super::{Scratch, capacity_for};

    #[test]
    fn buffers_are_aligned_and_come_back() {
        let mut first = Scratch::take(777_777);
        first[777_776] = 3.0;
        let address = first.as_ptr();
        assert_eq!(address as usize % 64, 0);
        drop(first);
        let again = Scratch::take(777_770);
        assert_eq!(again.len(), 777_770);
        assert_eq!(again.as_ptr() as usize % 64, 0);
        assert!(Scratch::zeros(777_777).iter().all(|&value| value == 0.0));
    }

    #[test]
    fn a_thread_that_ends_gives_its_buffers_to_the_others() {
        let address = |len| Scratch::take(len).as_ptr() as usize;
        let there = std::thread::spawn(move || address(444_444)).join();
        assert_eq!(there.expect("the thread"), address(444_440));
    }

    #[test]
    fn a_thread_keeps_a_limited_number() {
        let held: Vec<_> = (0..2 * super::OWN_BUFFERS)
            .map(|_| Scratch::take(333_333))
            .collect();
        drop(held);
        super::OWN.with(|own| {
            let own = own.borrow();
            assert!(own.buffers.len() <= super::OWN_BUFFERS && own.held <= super::OWN_AT_MOST);
            let sum: usize = own.buffers.iter().map(|kept| kept.0).sum();
            assert_eq!(sum, own.held);
        });
    }

    #[test]
    fn capacities_waste_at_most_an_eighth() {
        for len in [1, 1024, 1025, 5000, 123_457, 9_999_999] {
            let capacity = capacity_for(len);
            assert!(
                capacity >= len && capacity <= (len + len / 8 + 1).max(1024),
                "{len} {capacity}"
            );
        }
    }
}
