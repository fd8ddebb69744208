//! Task numbers cut into one run a thread, so that a thread gets the same part of the data in
//! every job and finds it in its own cache; a thread that is done helps the others.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Runs at most; threads beyond share them.
const RUNS: usize = 64;

/// A run of task numbers not yet taken: its first in the low 32 bits, its end in the high ones.
/// Alone on its cache lines (two, as processors fetch pairs).
#[repr(align(128))]
struct Run(AtomicU64);

impl Run {
    /// Takes the first number, or the last.
    fn take(&self, last: bool) -> Option<usize> {
        let mut run = self.0.load(Ordering::Relaxed);
        loop {
            let (first, end) = (run & u64::from(u32::MAX), run >> 32);
            if first >= end {
                return None;
            }
            let (taken, rest) = match last {
                true => (end - 1, (end - 1) << 32 | first),
                false => (first, end << 32 | (first + 1)),
            };
            match self
                .0
                .compare_exchange_weak(run, rest, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return Some(taken as usize),
                Err(now) => run = now,
            }
        }
    }
}

/// The task numbers of a job.
pub(super) struct Ranges {
    runs: [Run; RUNS],
    used: AtomicUsize,
}

impl Ranges {
    pub(super) const fn new() -> Self {
        Self {
            runs: [const { Run(AtomicU64::new(0)) }; RUNS],
            used: AtomicUsize::new(1),
        }
    }

    /// All numbers below `count`, which must be less than 2³², in runs for `threads` threads.
    pub(super) fn fill(&self, count: usize, threads: usize) {
        let used = threads.clamp(1, RUNS);
        for (index, run) in self.runs.iter().enumerate().take(used) {
            let (first, end) = (count * index / used, count * (index + 1) / used);
            run.0
                .store((end as u64) << 32 | first as u64, Ordering::Relaxed);
        }
        self.used.store(used, Ordering::Relaxed);
    }

    /// A number of the thread's own run, in order, or else the last of another's.
    pub(super) fn take(&self, thread: usize) -> Option<usize> {
        let used = self.used.load(Ordering::Relaxed);
        let own = thread % used;
        if let Some(index) = self.runs[own].take(false) {
            return Some(index);
        }
        (1..used).find_map(|step| self.runs[(own + step) % used].take(true))
    }

    /// Takes all that is left.
    pub(super) fn clear(&self) {
        self.runs
            .iter()
            .for_each(|run| run.0.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::Ranges;

    #[test]
    fn every_number_is_taken_once_its_own_threads_first() {
        let ranges = Ranges::new();
        for (count, threads) in [(0, 1), (1, 4), (7, 3), (100, 2), (5, 200)] {
            ranges.fill(count, threads);
            let mut taken: Vec<usize> = std::iter::from_fn(|| ranges.take(1)).collect();
            if threads == 2 {
                assert_eq!(taken[..50], (50..100).collect::<Vec<_>>());
                assert_eq!(taken[50], 49);
            }
            taken.sort_unstable();
            assert_eq!(taken, (0..count).collect::<Vec<_>>());
        }
        ranges.fill(10, 3);
        ranges.clear();
        assert_eq!(ranges.take(2), None);
    }
}
