//! Normalisations and softmax.

use crate::support::{Input, View, cases, check, check_values, views};
use candle_core::Tensor;
use proptest::prelude::*;
use taper_kernels::{
    Activation, batch_norm_eval, batch_norm_train, group_norm, group_norm_silu, layer_norm,
    log_softmax, softmax,
};

/// `[batch, channels]` with up to two more axes.
fn dims() -> impl Strategy<Value = Vec<usize>> {
    (1usize..5, 1usize..4, prop::collection::vec(1usize..5, 0..3))
        .prop_map(|(batch, channels, sides)| [vec![batch, channels], sides].concat())
        .prop_filter("more than one value per channel", |dims| {
            dims.iter().product::<usize>() > dims[1]
        })
}

/// Far enough from 0 that a step of a difference does not cross the rectifier's kink.
fn away_from_zero(result: &Tensor) -> bool {
    crate::support::values(result)
        .iter()
        .all(|value| value.abs() > 1e-3)
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn batch_norm(dims in dims(), x_view in views(), other in views(), relu in any::<bool>(), seed in any::<u64>()) {
        // A broadcast batch has no deviation: its derivative is as large as eps is small.
        let x = Input::new(seed, &dims, if matches!(x_view, View::Broadcast) { View::Transposed } else { x_view });
        let (weight, bias) = (Input::new(seed ^ 1, &dims[1..2], other), Input::new(seed ^ 2, &dims[1..2], View::Narrowed));
        let residual = Input::new(seed ^ 3, &dims, other);
        let activation = if relu { Activation::Relu } else { Activation::None };
        let train = |t: &[Tensor], activation| Ok(batch_norm_train(&t[0], &t[1], &t[2], t.get(3), 1e-1, activation)?.0);
        let all = [&x, &weight, &bias, &residual].map(|input| input.tensor().unwrap());
        if !relu || away_from_zero(&train(&all[..3], Activation::None).unwrap()) {
            check(&[&x, &weight, &bias], 1e-5, |t| train(t, activation));
        }
        if !relu || away_from_zero(&train(&all, Activation::None).unwrap()) {
            check(&[&x, &weight, &bias, &residual], 1e-5, |t| train(t, activation));
        }
        let (mean, variance) = (Input::new(seed ^ 4, &dims[1..2], other), Input::between(seed ^ 5, &dims[1..2], View::Contiguous, 0.1, 2.0));
        let eval = |t: &[Tensor], activation| {
            let of = |input: &Input| input.tensor()?.to_dtype(t[0].dtype());
            batch_norm_eval(&t[0], &t[1], &t[2], &of(&mean)?, &of(&variance)?, t.get(3), 1e-2, activation)
        };
        if !relu || away_from_zero(&eval(&all, Activation::None).unwrap()) {
            check(&[&x, &weight, &bias, &residual], 1e-5, |t| eval(t, activation));
        }
        if !relu || away_from_zero(&eval(&all[..3], Activation::None).unwrap()) {
            check(&[&x, &weight, &bias], 1e-5, |t| eval(t, activation));
        }
    }
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn layer_norms(before in prop::collection::vec(1usize..4, 0..3), shape in prop::collection::vec(1usize..5, 1..3), affine in any::<bool>(), view in views(), other in views(), seed in any::<u64>()) {
        let x = Input::new(seed, &[before, shape.clone()].concat(), view);
        let (weight, bias) = (Input::new(seed ^ 1, &shape, other), Input::new(seed ^ 2, &shape, View::Contiguous));
        // With a large eps, so that rows of equal numbers have a derivative of common size.
        if affine {
            check(&[&x, &weight, &bias], 1e-4, |t| layer_norm(&t[0], &shape, Some(&t[1]), Some(&t[2]), 0.1));
        } else {
            check(&[&x], 1e-4, |t| layer_norm(&t[0], &shape, None, None, 0.1));
        }
    }

    #[test]
    fn group_norms(batch in 1usize..3, groups in 1usize..4, per_group in 1usize..3, sides in prop::collection::vec(1usize..4, 0..3), affine in any::<bool>(), view in views(), other in views(), seed in any::<u64>()) {
        let channels = groups * per_group;
        let x = Input::new(seed, &[vec![batch, channels], sides].concat(), view);
        let (weight, bias) = (Input::new(seed ^ 1, &[channels], other), Input::new(seed ^ 2, &[channels], View::Narrowed));
        for norm in [group_norm, group_norm_silu] {
            if affine {
                check(&[&x, &weight, &bias], 1e-4, |t| norm(&t[0], groups, Some(&t[1]), Some(&t[2]), 0.1));
            } else {
                check(&[&x], 1e-4, |t| norm(&t[0], groups, None, None, 0.1));
            }
        }
    }

    #[test]
    fn probabilities(dims in prop::collection::vec(1usize..6, 1..4), pick in any::<prop::sample::Index>(), view in views(), seed in any::<u64>()) {
        let dim = pick.index(dims.len());
        let x = Input::between(seed, &dims, view, -3.0, 3.0);
        check(&[&x], 1e-5, |t| softmax(&t[0], dim));
        check(&[&x], 1e-5, |t| log_softmax(&t[0], dim));
    }
}

proptest! {
    #![proptest_config(cases(6))]

    #[test]
    fn large_batches(batch in 2usize..20, channels in 1usize..40, height in 1usize..20, width in 1usize..20, view in views(), seed in any::<u64>()) {
        let dims = [batch, channels, height, width];
        let view = if matches!(view, View::Broadcast) { View::Transposed } else { view };
        let x = Input::new(seed, &dims, view);
        let (weight, bias) = (Input::new(seed ^ 1, &[channels], View::Contiguous), Input::new(seed ^ 2, &[channels], View::Contiguous));
        check_values(&[&x, &weight, &bias], 1e-4, |t| Ok(batch_norm_train(&t[0], &t[1], &t[2], None, 1e-1, Activation::None)?.0));
    }
}
