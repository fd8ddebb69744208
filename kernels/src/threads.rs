//! The thread pool of the kernels: `for_each(tasks, f)` calls `f(0) … f(tasks - 1)`, in any order, on all threads.
//!
//! Results never depend on the thread count: a kernel cuts its work into a fixed
//! number of tasks and adds partial sums in task order.
//!
//! One job runs at a time. Each thread has a run of task numbers of its own, the same in every
//! job of that size, and takes from others' when it is done; the caller works too
//! and waits only for workers that entered its job, never for one that has yet to wake.
//! A call made while a job runs (also from inside a task) runs on its own thread alone.
//! Tasks run with subnormal numbers flushed to zero.

mod flush;
mod pool;
mod ranges;

use std::sync::atomic::{AtomicUsize, Ordering};

static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Sets how many threads the kernels use from now on; 0 means one a core.
pub fn set_threads(count: usize) {
    THREADS.store(count, Ordering::Relaxed);
}

/// How many threads the kernels use.
pub fn threads() -> usize {
    static CORES: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    match THREADS.load(Ordering::Relaxed) {
        0 => *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from)),
        count => count,
    }
}

/// Calls `task` once for each index below `count`, on the pool's threads and the caller's.
///
/// If a task panics, tasks that have not begun are left out and the panic goes on in the caller.
pub fn for_each(count: usize, task: impl Fn(usize) + Sync) {
    match count {
        0 => {}
        _ => pool::run(count, threads().min(count), &task),
    }
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

#[cfg(test)]
mod tests {
    use super::{for_each, set_threads, threads};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicU32, Ordering};

    fn counts(count: usize) -> Vec<u32> {
        let hits: Vec<AtomicU32> = (0..count).map(|_| AtomicU32::new(0)).collect();
        for_each(count, |index| {
            hits[index].fetch_add(1, Ordering::Relaxed);
        });
        hits.into_iter().map(AtomicU32::into_inner).collect()
    }

    #[test]
    fn every_task_runs_once_whatever_happens_around_it() {
        std::thread::scope(|scope| {
            for caller in 0..4 {
                scope.spawn(move || {
                    for round in 0..2000 {
                        if caller == 0 && round % 100 == 0 {
                            set_threads(round / 100 % 4);
                            assert!(threads() >= 1);
                        }
                        assert!(counts(round % 17).iter().all(|&hits| hits == 1));
                    }
                });
            }
        });
        set_threads(0);
    }

    #[test]
    fn a_task_may_start_tasks() {
        let total = AtomicU32::new(0);
        for_each(5, |_| {
            for_each(7, |_| {
                total.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(total.into_inner(), 35);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_works_on() {
        for round in 0..50 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                for_each(40, |index| {
                    assert_ne!(index, round % 40, "task {index} fails")
                });
            }));
            let message = result.expect_err("the panic must come through");
            let message = message.downcast_ref::<String>().expect("its message");
            assert!(message.contains(&format!("task {} fails", round % 40)));
            assert!(counts(9).iter().all(|&hits| hits == 1));
        }
    }

    #[test]
    fn tasks_flush_subnormal_numbers_and_the_caller_does_not() {
        let tiny = std::hint::black_box(f32::MIN_POSITIVE);
        let half = || std::hint::black_box(tiny) * std::hint::black_box(0.5);
        let kept = AtomicU32::new(0);
        for_each(64, |_| {
            if half() != 0.0 {
                kept.fetch_add(1, Ordering::Relaxed);
            }
        });
        if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            assert_eq!(kept.into_inner(), 0);
        }
        assert_ne!(half(), 0.0);
    }
}
