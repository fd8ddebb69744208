//! The workers and the one job they share.

use super::flush::FlushToZero;
use super::ranges::Ranges;
use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a worker looks for the next job before it sleeps.
const SPIN: Duration = Duration::from_micros(30);

/// A gate holds, from the top: the job's number (32 bits), how many workers may enter (15),
/// whether it is closed (1), how many workers are inside (16).
const COUNT: u64 = 0xffff;
const CLOSED: u64 = 1 << 16;
const LIMIT_SHIFT: u32 = 17;
const LIMIT: u64 = 0x7fff;
const NUMBER_SHIFT: u32 = 32;

type Task = *const (dyn Fn(usize) + Sync);
type Panic = Box<dyn Any + Send>;

struct Pool {
    /// Held by the caller whose job runs.
    busy: AtomicBool,
    gate: AtomicU64,
    /// Written by the caller before it opens the gate, read by workers inside.
    job: UnsafeCell<Option<Task>>,
    /// The task numbers that nobody has taken.
    left: Ranges,
    panic: Mutex<Option<Panic>>,
    workers: AtomicUsize,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}

// SAFETY: `job` is written only by the thread that holds `busy`, with the gate closed and nobody
// inside; workers read it between entering and leaving the gate. All else is atomic or locked.
unsafe impl Sync for Pool {}

static POOL: Pool = Pool {
    busy: AtomicBool::new(false),
    gate: AtomicU64::new(CLOSED),
    job: UnsafeCell::new(None),
    left: Ranges::new(),
    panic: Mutex::new(None),
    workers: AtomicUsize::new(0),
    sleepers: AtomicUsize::new(0),
    sleep: Mutex::new(()),
    wake: Condvar::new(),
};

/// Calls `task` for each index below `count` on up to `threads` threads.
pub(super) fn run(count: usize, threads: usize, task: &(dyn Fn(usize) + Sync)) {
    let _flush = FlushToZero::new();
    let helpers = threads.saturating_sub(1).min(LIMIT as usize);
    let too_many = u32::try_from(count).is_err();
    if helpers == 0 || too_many || POOL.busy.swap(true, Ordering::Acquire) {
        (0..count).for_each(task);
        return;
    }
    let outcome = POOL.run_shared(count, helpers, task);
    POOL.busy.store(false, Ordering::Release);
    if let Some(panic) = outcome {
        resume_unwind(panic);
    }
}

impl Pool {
    /// Runs a job; the caller holds `busy`. Returns the first panic of a task.
    fn run_shared(
        &'static self,
        count: usize,
        helpers: usize,
        task: &(dyn Fn(usize) + Sync),
    ) -> Option<Panic> {
        self.spawn_up_to(helpers);
        // SAFETY: only the lifetime is forgotten. This function does not return before every
        // worker that may use `task` has left.
        let task = unsafe {
            std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), Task>(std::ptr::from_ref(
                task,
            ))
        };
        // SAFETY: no worker is inside the gate, and it is closed.
        unsafe { *self.job.get() = Some(task) };
        self.left.fill(count, helpers + 1);
        let number = (self.gate.load(Ordering::Relaxed) >> NUMBER_SHIFT).wrapping_add(1);
        let open = (number << NUMBER_SHIFT) | ((helpers as u64) << LIMIT_SHIFT);
        self.gate.store(open, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.sleep.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_all();
        }
        self.work(task, 0);
        self.gate.fetch_or(CLOSED, Ordering::AcqRel);
        let mut turns = 0u32;
        while self.gate.load(Ordering::Acquire) & COUNT != 0 {
            turns += 1;
            match turns {
                0..2000 => std::hint::spin_loop(),
                _ => std::thread::yield_now(),
            }
        }
        self.panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Takes task numbers until none is left, those of `thread` first; after a panic nobody takes any.
    fn work(&self, task: Task, thread: usize) {
        let result = catch_unwind(AssertUnwindSafe(|| {
            while let Some(index) = self.left.take(thread) {
                // SAFETY: the caller of `run` keeps the closure alive while anyone is inside.
                unsafe { (*task)(index) };
            }
        }));
        if let Err(panic) = result {
            self.left.clear();
            self.panic
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert(panic);
        }
    }

    /// Starts workers until there are `wanted`; with fewer the job still completes.
    fn spawn_up_to(&'static self, wanted: usize) {
        while self.workers.load(Ordering::Relaxed) < wanted {
            let thread = std::thread::Builder::new().name("taper-kernels".into());
            let number = self.workers.load(Ordering::Relaxed) + 1;
            if thread.spawn(move || self.serve(number)).is_err() {
                break;
            }
            self.workers.store(number, Ordering::Relaxed);
        }
    }

    /// The life of worker `number`, counted from 1.
    fn serve(&self, number: usize) {
        let _flush = FlushToZero::new();
        let mut seen = u64::MAX;
        loop {
            let gate = self.await_job(seen);
            seen = gate >> NUMBER_SHIFT;
            if self.enter(gate) {
                // SAFETY: inside the gate, so the job is set and stays as it is.
                if let Some(task) = unsafe { *self.job.get() } {
                    self.work(task, number);
                }
                self.gate.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    /// Enters the job that `gate` announced, unless it has been closed or is full.
    fn enter(&self, mut gate: u64) -> bool {
        let number = gate >> NUMBER_SHIFT;
        loop {
            let full = gate & COUNT >= (gate >> LIMIT_SHIFT) & LIMIT;
            if full || gate & CLOSED != 0 || gate >> NUMBER_SHIFT != number {
                return false;
            }
            match self.gate.compare_exchange_weak(
                gate,
                gate + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(now) => gate = now,
            }
        }
    }

    /// Waits for a job other than number `seen`: spins a little, then sleeps.
    fn await_job(&self, seen: u64) -> u64 {
        let fresh = |gate: u64| gate >> NUMBER_SHIFT != seen && gate & CLOSED == 0;
        let start = Instant::now();
        while start.elapsed() < SPIN {
            for _ in 0..16 {
                let gate = self.gate.load(Ordering::Acquire);
                if fresh(gate) {
                    return gate;
                }
                std::hint::spin_loop();
            }
        }
        let mut guard = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let gate = loop {
            let gate = self.gate.load(Ordering::SeqCst);
            if fresh(gate) {
                break gate;
            }
            guard = self
                .wake
                .wait(guard)
                .unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        gate
    }
}
