//! Steps in place against the same rule written over whole tensors, in any shape.

use crate::support::{Input, View, assert_same, cases, values, views};
use candle_core::Var;
use proptest::prelude::*;
use taper_kernels::{AdamWHyper, SgdHyper, adamw_step, ema_step, sgd_step, squared_norm};

fn var(seed: u64, dims: &[usize], low: f64) -> Var {
    Input::between(seed, dims, View::Contiguous, low, 1.0).var
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn steps(dims in prop::collection::vec(0usize..6, 0..4), view in views(), seed in any::<u64>(), lr in 0.0..1.0, rate in 0.0..1.0, decay in 0.0..0.1, nesterov in any::<bool>(), first in any::<bool>()) {
        let gradient = Input::new(seed, &dims, view).tensor().unwrap().detach();
        let g = values(&gradient);
        let (param, velocity) = (var(seed ^ 1, &dims, -1.0), var(seed ^ 2, &dims, -1.0));
        let (p, v) = (values(&param), values(&velocity));
        let hyper = SgdHyper { lr, momentum: 0.9, dampening: if nesterov { 0.0 } else { rate }, nesterov, weight_decay: decay };
        sgd_step(&param, &gradient, &velocity, &hyper, first).unwrap();
        let moved: Vec<(f64, f64)> = (0..p.len())
            .map(|i| {
                let g = g[i] + decay * p[i];
                let v = if first { g } else { 0.9 * v[i] + (1.0 - hyper.dampening) * g };
                (p[i] - lr * if nesterov { g + 0.9 * v } else { v }, v)
            })
            .collect();
        assert_same(&param, &moved.iter().map(|pair| pair.0).collect::<Vec<_>>(), 1e-12);
        assert_same(&velocity, &moved.iter().map(|pair| pair.1).collect::<Vec<_>>(), 1e-12);

        let (param, average, square) = (var(seed ^ 1, &dims, -1.0), var(seed ^ 2, &dims, -1.0), var(seed ^ 3, &dims, 0.0));
        let (p, m, s) = (values(&param), values(&average), values(&square));
        let hyper = AdamWHyper { lr, beta1: 0.8, beta2: 0.95, eps: 1e-3, weight_decay: decay };
        adamw_step(&param, &gradient, &average, &square, &hyper, 3).unwrap();
        let expected: Vec<f64> = (0..p.len())
            .map(|i| {
                let (m, s) = (0.8 * m[i] + 0.2 * g[i], 0.95 * s[i] + 0.05 * g[i] * g[i]);
                let corrected = (s / (1.0 - 0.95f64.powi(3))).sqrt();
                p[i] * (1.0 - lr * decay) - lr * m / (1.0 - 0.8f64.powi(3)) / (corrected + 1e-3)
            })
            .collect();
        assert_same(&param, &expected, 1e-10);

        let average = var(seed ^ 4, &dims, -1.0);
        let before = values(&average);
        ema_step(&average, &gradient, rate).unwrap();
        let expected: Vec<f64> = before.iter().zip(&g).map(|(a, g)| rate * a + (1.0 - rate) * g).collect();
        assert_same(&average, &expected, 1e-12);
        let norm = g.iter().map(|g| g * g).sum::<f64>();
        prop_assert!((squared_norm(&gradient).unwrap() - norm).abs() <= 1e-12 * norm.max(1.0));
    }
}
