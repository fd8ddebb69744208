//! Loops compiled for several instruction sets, the best of which is chosen at run time.
//!
//! A loop is a [`Pass`] whose `run` is marked `#[inline(always)]`; [`run`] calls it
//! from inside a function that enables AVX-512 or AVX2, so the compiler vectorises a
//! copy for each. (A function or closure handed over as a value would do the same, but
//! large ones are not inlined and stay compiled for the baseline.) No copy fuses a
//! multiplication with an addition unless the source says so, and sums run over [`LANES`]
//! fixed partial sums, so all copies return the same bits.

#[cfg(target_arch = "x86_64")]
use crate::simd::Level;

/// A loop and its operands.
pub(crate) trait Pass {
    type Output;

    /// Implementations must be `#[inline(always)]`.
    fn run(self) -> Self::Output;
}

/// Partial sums of a vectorised sum: two AVX-512 registers of `f32`.
pub(crate) const LANES: usize = 32;

/// Runs `pass`, compiled for the best instruction set of this machine.
#[inline]
pub(crate) fn run<P: Pass>(pass: P) -> P::Output {
    #[cfg(target_arch = "x86_64")]
    {
        match Level::best() {
            // SAFETY: this machine has the features of its level.
            Level::Avx512 => return unsafe { run_avx512(pass) },
            // SAFETY: as above.
            Level::Avx2 => return unsafe { run_avx2(pass) },
            Level::Portable => {}
        }
    }
    pass.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,fma")]
fn run_avx512<P: Pass>(pass: P) -> P::Output {
    pass.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn run_avx2<P: Pass>(pass: P) -> P::Output {
    pass.run()
}

/// The sum of the partial sums, in a fixed tree.
#[inline(always)]
pub(crate) fn total<T: crate::element::Element>(lanes: [T; LANES]) -> T {
    let [first] = halve::<T, 2, 1>(halve::<T, 4, 2>(halve::<T, 8, 4>(halve::<T, 16, 8>(
        halve::<T, LANES, 16>(lanes),
    ))));
    first
}

/// Each lane of the first half plus its fellow of the second.
#[inline(always)]
fn halve<T: crate::element::Element, const N: usize, const HALF: usize>(
    lanes: [T; N],
) -> [T; HALF] {
    std::array::from_fn(|lane| lanes[lane] + lanes[lane + HALF])
}
