//! Elementwise operators.

use crate::support::{Input, assert_same, cases, check, check_twice, check_values, values, views};
use candle_core::{Result, Tensor};
use proptest::prelude::*;
use taper_kernels::{
    add_relu, elu, gelu, gelu_tanh, glu, hard_sigmoid, hard_swish, leaky_relu, mish, relu, relu6,
    selu, sigmoid, silu, softplus, tanh,
};

/// Every function of one number.
const FUNCTIONS: [fn(&Tensor) -> Result<Tensor>; 14] = [
    relu,
    |x| leaky_relu(x, 0.2),
    |x| elu(x, 1.5),
    selu,
    relu6,
    hard_sigmoid,
    hard_swish,
    sigmoid,
    tanh,
    softplus,
    silu,
    mish,
    gelu,
    gelu_tanh,
];

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
    fn functions(dims in dims(), number in 0..FUNCTIONS.len(), scale in prop_oneof![Just(1.0), Just(5.0)], view in views(), seed in 0u64..1000) {
        // Kinks lie at multiples of a hundredth, and the numbers between them.
        let x = Input::spread(seed, &dims, view);
        check(&[&x], 1e-5, |x| FUNCTIONS[number](&x[0]));
        let wide = Input::between(seed, &dims, view, -3.0 * scale, 3.0 * scale);
        check_values(&[&wide], 1e-5, |x| FUNCTIONS[number](&x[0]));
    }

    #[test]
    fn gates(dims in prop::collection::vec(1usize..5, 1..4), pick in any::<prop::sample::Index>(), view in views(), seed in any::<u64>()) {
        let axis = pick.index(dims.len());
        let mut dims = dims;
        dims[axis] *= 2;
        let x = Input::between(seed, &dims, view, -2.0, 2.0);
        check(&[&x], 1e-5, |x| glu(&x[0], axis));
    }

    #[test]
    fn large_rectifiers(length in 15_000usize..60_000, seed in 0u64..1000) {
        let (a, b) = (Input::new(seed, &[length], crate::support::View::Contiguous), Input::new(seed ^ 1, &[length], crate::support::View::Contiguous));
        check_values(&[&a], 0.0, |t| relu(&t[0]));
        check_values(&[&a, &b], 1e-6, |t| add_relu(&t[0], &t[1]));
    }
}
