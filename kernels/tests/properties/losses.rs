//! Losses, and the linear map before them.

use crate::support::{Input, View, cases, check, check_product, check_twice, check_values, views};
use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use taper_kernels::{
    binary_cross_entropy_with_logits, cross_entropy, linear, log_softmax, segment_match,
};

fn targets(seed: u64, batch: usize, classes: usize) -> Tensor {
    let targets: Vec<u32> = (0..batch as u64)
        .map(|index| ((seed.wrapping_add(index * 7919)) % classes as u64) as u32)
        .collect();
    Tensor::new(targets, &Device::Cpu).unwrap()
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn classes(batch in 1usize..6, classes in 1usize..9, smoothing in prop_oneof![Just(0.0), 0.0..=1.0], view in views(), seed in any::<u64>()) {
        let logits = Input::between(seed, &[batch, classes], view, -3.0, 3.0);
        let targets = targets(seed, batch, classes);
        check(&[&logits], 1e-5, |t| cross_entropy(&t[0], &targets, smoothing));
    }

    #[test]
    fn log_probabilities(before in prop::collection::vec(prop_oneof![6 => 1usize..5, 1 => Just(0)], 0..3), classes in 1usize..9, view in views(), seed in any::<u64>()) {
        let x = Input::between(seed, &[before, vec![classes]].concat(), view, -3.0, 3.0);
        check(&[&x], 1e-5, |t| log_softmax(&t[0], candle_core::D::Minus1));
    }

    #[test]
    fn binary(dims in prop::collection::vec(1usize..6, 0..4), view in views(), other in views(), seed in any::<u64>()) {
        let (logits, targets) = (Input::between(seed, &dims, view, -4.0, 4.0), Input::between(seed ^ 1, &dims, other, 0.0, 1.0));
        check(&[&logits, &targets], 1e-5, |t| binary_cross_entropy_with_logits(&t[0], &t[1]));
        check_twice(&logits, binary_cross_entropy_with_logits);
        let (x, y) = (crate::support::values(&logits.tensor().unwrap()), crate::support::values(&targets.tensor().unwrap()));
        let expected = x.iter().zip(&y).map(|(x, y)| y * (1.0 + (-x).exp()).ln() + (1.0 - y) * (1.0 + x.exp()).ln()).sum::<f64>() / x.len() as f64;
        let found = binary_cross_entropy_with_logits(&logits.tensor().unwrap(), &targets.tensor().unwrap()).unwrap();
        prop_assert!((found.to_scalar::<f64>().unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn segments(batch in 1usize..3, channels in 1usize..4, slices in 1usize..4, height in 1usize..4, width in 1usize..5, view in views(), other in views(), seed in any::<u64>()) {
        let expanded = Input::new(seed, &[batch, slices * channels, height, width], view);
        let teacher = Input::new(seed ^ 1, &[batch, channels, height, width], other);
        check(&[&expanded, &teacher], 1e-5, |t| segment_match(&t[0], &t[1], slices));
        check_twice(&teacher, |e, t| segment_match(e, t, 1));
    }

    #[test]
    fn linear_maps(batch in 0usize..5, inputs in 1usize..6, outputs in 1usize..6, bias in any::<bool>(), view in views(), other in views(), seed in any::<u64>()) {
        let (x, weight) = (Input::new(seed, &[batch, inputs], view), Input::new(seed ^ 1, &[outputs, inputs], other));
        let added = Input::new(seed ^ 2, &[outputs], view);
        if bias {
            check_product(&[&x, &weight, &added], 1e-5, |t| linear(&t[0], &t[1], Some(&t[2])));
        } else {
            check_product(&[&x, &weight], 1e-5, |t| linear(&t[0], &t[1], None));
        }
        let square = Input::new(seed, &[inputs, inputs], view);
        check_twice(&square, |x, weight| linear(x, weight, None));
    }
}

proptest! {
    #![proptest_config(cases(6))]

    #[test]
    fn large_losses(batch in 100usize..300, classes in 50usize..200, view in views(), seed in any::<u64>()) {
        let logits = Input::between(seed, &[batch, classes], view, -3.0, 3.0);
        let targets = targets(seed, batch, classes);
        check_values(&[&logits], 1e-5, |t| cross_entropy(&t[0], &targets, 0.1));
        check_values(&[&logits], 1e-5, |t| log_softmax(&t[0], candle_core::D::Minus1));
        let other = Input::between(seed ^ 1, &[batch, classes], View::Contiguous, 0.0, 1.0);
        check_values(&[&logits, &other], 1e-5, |t| binary_cross_entropy_with_logits(&t[0], &t[1]));
        let (expanded, teacher) = (Input::new(seed, &[3, 4 * 30, classes / 8, 9], view), Input::new(seed ^ 1, &[3, 30, classes / 8, 9], View::Contiguous));
        check_values(&[&expanded, &teacher], 1e-5, |t| segment_match(&t[0], &t[1], 4));
    }
}

#[test]
fn the_mean_of_no_losses_is_nan() -> candle_core::Result<()> {
    let empty = candle_core::Var::zeros((0, 3), DType::F32, &Device::Cpu)?;
    let loss = binary_cross_entropy_with_logits(&empty, &empty.zeros_like()?)?;
    assert!(loss.to_scalar::<f32>()?.is_nan());
    assert_eq!(
        loss.backward()?.get(&empty).map(Tensor::dims),
        Some(&[0, 3][..])
    );
    Ok(())
}
