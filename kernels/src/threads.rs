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
