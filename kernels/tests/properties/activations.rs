//! Elementwise operators.

use crate::support::{Input, assert_same, cases, check, check_twice, check_values, values, views};
use proptest::prelude::*;
use taper_kernels::{add_relu, relu};

fn dims() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![8 => 1usize..6, 1 => Just(0)], 0..5)
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn rectifiers(dims in dims(), view in views(), other in views(), seed in 0u64..1000) {
        let x = Input::spread(seed, &dims, view);
        check(&[&x], 0.0, |x| relu(&x[0]));
        let expected: Vec<f64> = values(&x.tensor().unwrap()).into_iter().map(|x| x.max(0.0)).collect();
        assert_same(&relu(&x.tensor().unwrap()).unwrap(), &expected, 0.0);
        // Too small to move a sum across 0.
        let b = Input::between(seed, &dims, other, -0.001, 0.001);
        check(&[&x, &b], 1e-6, |t| add_relu(&t[0], &t[1]));
        check_twice(&x, add_relu);
    }

    #[test]
    fn large_rectifiers(length in 15_000usize..60_000, seed in 0u64..1000) {
        let (a, b) = (Input::new(seed, &[length], crate::support::View::Contiguous), Input::new(seed ^ 1, &[length], crate::support::View::Contiguous));
        check_values(&[&a], 0.0, |t| relu(&t[0]));
        check_values(&[&a, &b], 1e-6, |t| add_relu(&t[0], &t[1]));
    }
}
