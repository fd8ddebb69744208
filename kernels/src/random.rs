//! Counter-based random streams: one seed, a label and an index name a stream.
//!
//! Candle's CPU generator cannot be seeded, so every random number in Taper
//! (initialisation, data order, augmentation, noise) is drawn from here. A stream
//! depends on nothing but its three names, hence not on the number of threads.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// The generator behind every stream: portable, seekable, serialisable.
pub type Random = ChaCha8Rng;

/// The stream named by `seed`, `label` (what the numbers are for) and `index` (epoch, sample, …).
///
/// ```
/// use rand::Rng;
/// let mut a = taper_kernels::random::stream(7, "augmentation", 3);
/// let mut b = taper_kernels::random::stream(7, "augmentation", 3);
/// assert_eq!(a.random::<u64>(), b.random::<u64>());
/// ```
pub fn stream(seed: u64, label: &str, index: u64) -> Random {
    let label = fnv1a(label.as_bytes());
    let mut key = [0u8; 32];
    for (slot, word) in key
        .chunks_exact_mut(8)
        .zip([seed, label, index, 0x7461_7065_725f_7631])
    {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    Random::from_seed(key)
}

/// FNV-1a, 64 bits: stable across platforms and releases, unlike `std`'s hashers.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::stream;
    use rand::Rng;

    #[test]
    fn streams_differ_by_every_name() {
        let draw = |seed, label, index| stream(seed, label, index).random::<u64>();
        let base = draw(0, "order", 0);
        assert_ne!(base, draw(1, "order", 0));
        assert_ne!(base, draw(0, "noise", 0));
        assert_ne!(base, draw(0, "order", 1));
        assert_eq!(base, draw(0, "order", 0));
    }
}
