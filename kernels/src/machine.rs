//! What this machine's cores can do at best: the roofs that an operator's speed is held against.

use crate::simd::{Kernel, Level, Simd};
use crate::threads;

/// Floats a task copies: 256 KiB, a share of the second-level cache.
const COPY_CHUNK: usize = 64 * 1024;
/// Independent sums, enough to hide the latency of two multiply-add units, few enough for 16 registers.
const CHAINS: usize = 12;
/// Tasks of one call of [`multiply_add`]: shared out evenly by most numbers of threads.
const TASKS: usize = 48;

/// Copies one slice to another of the same length on the kernels' threads. Moves 8 bytes an element: one read, one write.
///
/// # Panics
/// If the lengths differ.
pub fn copy(from: &[f32], to: &mut [f32]) {
    assert_eq!(
        from.len(),
        to.len(),
        "a copy needs two slices of one length"
    );
    let whole = from.len() / COPY_CHUNK * COPY_CHUNK;
    threads::for_each_chunk(&mut to[..whole], COPY_CHUNK, |index, chunk| {
        chunk.copy_from_slice(&from[index * COPY_CHUNK..][..COPY_CHUNK]);
    });
    to[whole..].copy_from_slice(&from[whole..]);
}

/// Runs multiply-adds on registers, on all of the kernels' threads, and returns how many floating-point
/// operations that was (a multiply-add counts as two): some 10⁷ for a `rounds` of 10⁴.
pub fn multiply_add(rounds: usize) -> f64 {
    let level = Level::best();
    let mut sums = [0f32; TASKS];
    threads::for_each_chunk(&mut sums, 1, |_, sum| {
        let chains = Chains {
            rounds,
            sum: &mut sum[0],
        };
        // SAFETY: `best` is a set that this machine has; the kernel requires nothing else.
        unsafe { level.call(chains) };
    });
    std::hint::black_box(sums);
    2.0 * (TASKS * CHAINS * level.lanes() * rounds) as f64
}

/// `x ← x/2 + 1/2` in all lanes of all chains: stays near 1, so no number is special.
struct Chains<'a> {
    rounds: usize,
    sum: &'a mut f32,
}

impl Kernel for Chains<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the caller has the instruction set; the one store goes to a local array of the most lanes.
        unsafe {
            let half = S::splat(0.5);
            let mut chains: [S::Vector; CHAINS] =
                std::array::from_fn(|chain| S::splat(chain as f32));
            for _ in 0..self.rounds {
                for chain in &mut chains {
                    *chain = S::mul_add(*chain, half, half);
                }
            }
            let mut total = S::zero();
            for chain in chains {
                total = S::add(total, chain);
            }
            let mut lanes = [0f32; crate::simd::BLOCK];
            S::store(lanes.as_mut_ptr(), total);
            *self.sum = lanes.iter().sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CHAINS, COPY_CHUNK, Chains, TASKS, copy, multiply_add};
    use crate::simd::Level;

    #[test]
    fn a_copy_is_whole_with_any_length() {
        for length in [0, 1, COPY_CHUNK, 3 * COPY_CHUNK + 17] {
            let from: Vec<f32> = (0..length).map(|index| index as f32).collect();
            let mut to = vec![-1.0; length];
            copy(&from, &mut to);
            assert_eq!(from, to);
        }
    }

    #[test]
    fn every_instruction_set_does_the_sums_it_counts() {
        for level in Level::available() {
            let mut sum = 0.0;
            let chains = Chains {
                rounds: 60,
                sum: &mut sum,
            };
            // SAFETY: `available` lists sets that this machine has.
            unsafe { level.call(chains) };
            // All chains have come to 1.
            assert_eq!(sum, (CHAINS * level.lanes()) as f32, "{level:?}");
        }
        let lanes = Level::best().lanes();
        assert_eq!(multiply_add(5), (2 * TASKS * CHAINS * lanes * 5) as f64);
    }
}
