//! Counting what a program allocates, and giving back what the kernels keep.
//!
//! ```
//! use taper_kernels::memory::{self, Counting};
//!
//! #[global_allocator]
//! static ALLOCATOR: Counting<std::alloc::System> = Counting(std::alloc::System);
//!
//! memory::reset_peak();
//! let before = memory::live_bytes();
//! drop(vec![0u8; 1 << 20]);
//! assert!(memory::peak_bytes() >= before + (1 << 20));
//! ```

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// An allocator that counts the bytes asked of it and not yet given back. A program has one global
/// allocator, and the counters belong to it: without it they stay 0.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counting<A>(pub A);

/// Bytes allocated now.
pub fn live_bytes() -> usize {
    LIVE.load(Ordering::Relaxed)
}

/// The most bytes that were allocated at once since the last [`reset_peak`].
pub fn peak_bytes() -> usize {
    PEAK.load(Ordering::Relaxed)
}

/// Starts a new peak from what is allocated now.
pub fn reset_peak() {
    PEAK.store(live_bytes(), Ordering::Relaxed);
}

/// Gives the working memory that the kernels keep for the next call back to the allocator.
///
/// Kernels reuse their workspace, at most 512 MiB of it, because fresh pages cost more than
/// most kernels. Call this when the next call is far away. Threads of the pool keep at most 16 MiB each.
pub fn release_workspace() {
    crate::scratch::release();
}

fn grow(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(live, Ordering::Relaxed);
}

fn shrink(bytes: usize) {
    LIVE.fetch_sub(bytes, Ordering::Relaxed);
}

// SAFETY: every call goes to the inner allocator unchanged; counting allocates nothing.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Counting<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as required of the caller.
        let block = unsafe { self.0.alloc(layout) };
        if !block.is_null() {
            grow(layout.size());
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as required of the caller.
        let block = unsafe { self.0.alloc_zeroed(layout) };
        if !block.is_null() {
            grow(layout.size());
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as required of the caller.
        unsafe { self.0.dealloc(block, layout) };
        shrink(layout.size());
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as required of the caller.
        let moved = unsafe { self.0.realloc(block, layout, size) };
        if !moved.is_null() {
            // The old and the new block may both exist for a moment; in place, they do not.
            if moved == block {
                shrink(layout.size());
                grow(size);
            } else {
                grow(size);
                shrink(layout.size());
            }
        }
        moved
    }
}
