//! The thread pool of the kernels: `for_each(tasks, f)` calls `f(0) … f(tasks - 1)`, in any order, on all threads.
//!
//! Results never depend on the thread count: a kernel cuts its work into a fixed
//! number of tasks and adds partial sums in task order.

use std::sync::atomic::{AtomicUsize, Ordering};

static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Sets how many threads the kernels use from now on; 0 means one a core.
pub fn set_threads(count: usize) {
    THREADS.store(count, Ordering::Relaxed);
}

/// How many threads the kernels use.
pub fn threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    }
}

/// Calls `task` once for each index below `count`, on the pool's threads and the caller's.
pub fn for_each(count: usize, task: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            task(index);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads().min(count) {
            scope.spawn(work);
        }
        work();
    });
}

/// Calls `task(index, chunk)` once for each run of `len` elements of `data`; a last, shorter run is left out.
pub fn for_each_chunk<T: Send>(data: &mut [T], len: usize, task: impl Fn(usize, &mut [T]) + Sync) {
    if len == 0 {
        return;
    }
    let count = data.len() / len;
    let start = Shared(data.as_mut_ptr());
    for_each(count, |index| {
        // SAFETY: run `index` lies inside `data`, and no two tasks have the same index.
        let chunk = unsafe { std::slice::from_raw_parts_mut(start.at(index * len), len) };
        task(index, chunk);
    });
}

/// A pointer that tasks may share because each writes its own elements behind it.
pub(crate) struct Shared<T>(pub(crate) *mut T);

// SAFETY: a plain address; whoever writes through it vouches that tasks touch disjoint elements.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The address of element `index`.
    ///
    /// # Safety
    /// `index` must lie inside the allocation or one past its end.
    pub(crate) unsafe fn at(&self, index: usize) -> *mut T {
        // SAFETY: required of the caller.
        unsafe { self.0.add(index) }
    }
}
