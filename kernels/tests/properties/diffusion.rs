//! Operators of diffusion U-Nets: residual sums, time shifts, balanced skips, dropout.

use crate::support::{Input, cases, check, views};
use proptest::prelude::*;
use taper_kernels::{add_channels, add_scaled, dropout, join_channels};

/// `[batch, channels]` with up to two more axes.
fn dims() -> impl Strategy<Value = Vec<usize>> {
    (1usize..4, 1usize..4, prop::collection::vec(1usize..6, 0..3))
        .prop_map(|(batch, channels, sides)| [vec![batch, channels], sides].concat())
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn scaled_sums(dims in dims(), a in views(), b in views(), scale in -2.0..2.0f64, seed in any::<u64>()) {
        let (a, b) = (Input::new(seed, &dims, a), Input::new(seed ^ 1, &dims, b));
        check(&[&a, &b], 1e-5, |t| add_scaled(&t[0], &t[1], scale));
    }

    #[test]
    fn shifted_channels(dims in dims(), x in views(), shift in views(), seed in any::<u64>()) {
        let (x, shift) = (Input::new(seed, &dims, x), Input::new(seed ^ 1, &dims[..2], shift));
        check(&[&x, &shift], 1e-5, |t| add_channels(&t[0], &t[1]));
    }

    #[test]
    fn joined_channels(dims in dims(), more in 1usize..4, a in views(), b in views(), balanced in any::<bool>(), seed in any::<u64>()) {
        let mut others = dims.clone();
        others[1] = more;
        let (a, b) = (Input::new(seed, &dims, a), Input::new(seed ^ 1, &others, b));
        let factors: Vec<(f64, f64)> = (0..dims[0]).map(|image| (0.5 + image as f64, 1.5 - image as f64)).collect();
        check(&[&a, &b], 1e-5, |t| join_channels(&t[0], &t[1], balanced.then_some(&factors[..])));
    }

    #[test]
    fn dropped(dims in dims(), x in views(), probability in 0.0..0.9f64, key in any::<u64>(), seed in any::<u64>()) {
        let x = Input::new(seed, &dims, x);
        check(&[&x], 1e-5, |t| dropout(&t[0], probability, key));
    }
}
