//! Weights that need no storing: each element follows from the tensor's name, its index and a seed.
//!
//! `parity/vision/make_golden.py` has the same formulas; every value is a number that f32 holds exactly.

/// The step of splitmix64's counter.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// FNV-1a, 64 bits.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Numbers in [-1, 1): splitmix64 over a counter that starts at (`name`, `seed`).
pub fn uniform(name: &str, seed: u64) -> impl Iterator<Item = f64> {
    let mut state = fnv1a(name.as_bytes()).wrapping_add(seed.wrapping_mul(GAMMA));
    std::iter::from_fn(move || {
        state = state.wrapping_add(GAMMA);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        Some((z >> 11) as f64 * 2f64.powi(-53) * 2.0 - 1.0)
    })
}

/// The value of a network's tensor; `gain` widens convolutions so that deep networks keep their scale.
///
/// Running variances lie in 0.05 … 0.3, where a wrong eps shows.
pub fn tensor(name: &str, shape: &[usize], gain: f64, seed: u64) -> Vec<f64> {
    let count = shape.iter().product();
    let fan_in: usize = shape.iter().skip(1).product();
    let value = |u: f64| -> f64 {
        if name.ends_with("num_batches_tracked") {
            0.0
        } else if name.ends_with("running_mean") {
            0.2 * u
        } else if name.ends_with("running_var") {
            0.175 + 0.125 * u
        } else if name.ends_with("bias") {
            0.2 * u
        } else if shape.len() == 1 {
            0.4 + 0.15 * u
        } else {
            let gain = if shape.len() == 4 { gain } else { 1.0 };
            u * gain * (3.0 / fan_in as f64).sqrt()
        }
    };
    uniform(name, seed)
        .take(count)
        .map(|u| f64::from(value(u) as f32))
        .collect()
}

/// Images `[batch, 3, side, side]`, image b in [-b - 1, b + 1).
pub fn images(batch: usize, side: usize, seed: u64) -> Vec<f64> {
    let size = 3 * side * side;
    uniform("input", seed)
        .take(batch * size)
        .enumerate()
        .map(|(index, u)| f64::from((u * (index / size + 1) as f64) as f32))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs of splitmix64 from state 0, as published with xoshiro.
    #[test]
    fn the_stream_is_splitmix64() {
        let mut found = uniform("", fnv1a(b"").wrapping_neg().wrapping_mul(inverse(GAMMA)));
        for expected in [0xE220_A839_7B1D_CDAF_u64, 0x6E78_9E6A_A1B9_65F4] {
            let expected = (expected >> 11) as f64 * 2f64.powi(-53) * 2.0 - 1.0;
            assert_eq!(found.next(), Some(expected));
        }
    }

    /// Of an odd number modulo 2^64, by Newton's iteration.
    fn inverse(odd: u64) -> u64 {
        (0..6).fold(odd, |x, _| {
            x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x)))
        })
    }
}
