//! Convolutions of one and two dimensions, fused and transposed.

use crate::support::{Input, View, bits, cases, check, check_values, values, views};
use candle_core::Tensor;
use proptest::prelude::*;
use taper_kernels::{
    Activation, Conv1dGeometry, Conv2dGeometry, ConvTranspose1dGeometry, conv_bias_act,
    conv_bn_act, conv_transpose1d, conv1d, conv2d,
};

/// Sizes of one convolution; `depthwise` has one channel a group.
#[derive(Debug, Clone)]
struct Case {
    input: [usize; 4],
    weight: [usize; 4],
    geometry: Conv2dGeometry,
}

prop_compose! {
    fn convolutions(channels: usize, side: usize)(
        batch in prop_oneof![6 => 1usize..3, 1 => Just(0)],
        groups in 1usize..4,
        per_group in (1..=channels, 1..=channels),
        size in (1..=side, 1..=side),
        kernel in (1usize..5, 1usize..5),
        stride in (1usize..4, 1usize..4),
        padding in (0usize..3, 0usize..3),
        dilation in (1usize..3, 1usize..3),
    ) -> Case {
        Case {
            input: [batch, groups * per_group.0, size.0, size.1],
            weight: [groups * per_group.1, per_group.0, kernel.0, kernel.1],
            geometry: Conv2dGeometry { stride, padding, dilation, groups },
        }
    }
}

impl Case {
    fn fits(&self) -> bool {
        let fits = |size: usize, kernel: usize, padding: usize, dilation: usize| {
            size + 2 * padding > dilation * (kernel - 1)
        };
        let Conv2dGeometry {
            padding, dilation, ..
        } = self.geometry;
        fits(self.input[2], self.weight[2], padding.0, dilation.0)
            && fits(self.input[3], self.weight[3], padding.1, dilation.1)
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn planes(case in convolutions(2, 6), bias in any::<bool>(), view in views(), other in views(), seed in any::<u64>()) {
        prop_assume!(case.fits());
        let (x, weight) = (Input::new(seed, &case.input, view), Input::new(seed ^ 1, &case.weight, other));
        let added = Input::new(seed ^ 2, &case.weight[..1], other);
        if bias {
            check(&[&x, &weight, &added], 1e-4, |t| conv2d(&t[0], &t[1], Some(&t[2]), &case.geometry));
        } else {
            check(&[&x, &weight], 1e-4, |t| conv2d(&t[0], &t[1], None, &case.geometry));
        }
    }

    #[test]
    fn lines(case in convolutions(2, 9), right in 0usize..3, bias in any::<bool>(), view in views(), other in views(), seed in any::<u64>()) {
        let Conv2dGeometry { stride, padding, dilation, groups } = case.geometry;
        let geometry = Conv1dGeometry { stride: stride.0, padding: (padding.0, right), dilation: dilation.0, groups };
        prop_assume!(case.input[2] + padding.0 + right > dilation.0 * (case.weight[2] - 1));
        let (x, weight) = (Input::new(seed, &case.input[..3], view), Input::new(seed ^ 1, &case.weight[..3], other));
        let added = Input::new(seed ^ 2, &case.weight[..1], other);
        if bias {
            check(&[&x, &weight, &added], 1e-4, |t| conv1d(&t[0], &t[1], Some(&t[2]), &geometry));
        } else {
            check(&[&x, &weight], 1e-4, |t| conv1d(&t[0], &t[1], None, &geometry));
        }
    }

    #[test]
    fn transposed_lines(batch in 0usize..3, groups in 1usize..3, per_group in (1usize..3, 1usize..3), length in 1usize..7, kernel in 1usize..5, stride in 1usize..4, padding in 0usize..3, dilation in 1usize..3, more in 0usize..3, bias in any::<bool>(), view in views(), other in views(), seed in any::<u64>()) {
        let geometry = ConvTranspose1dGeometry { stride, padding, dilation, groups, output_padding: more.min(stride.max(dilation) - 1) };
        prop_assume!(geometry.output_length(length, kernel).is_some());
        let x = Input::new(seed, &[batch, groups * per_group.0, length], view);
        let weight = Input::new(seed ^ 1, &[groups * per_group.0, per_group.1, kernel], other);
        let added = Input::new(seed ^ 2, &[groups * per_group.1], other);
        if bias {
            check(&[&x, &weight, &added], 1e-4, |t| conv_transpose1d(&t[0], &t[1], Some(&t[2]), &geometry));
        } else {
            check(&[&x, &weight], 1e-4, |t| conv_transpose1d(&t[0], &t[1], None, &geometry));
        }
    }

    #[test]
    fn fused(case in convolutions(2, 5), with_residual in any::<bool>(), relu in any::<bool>(), view in views(), seed in any::<u64>()) {
        prop_assume!(case.fits() && case.input[0] > 0);
        let x = Input::new(seed, &case.input, view);
        let weight = Input::new(seed ^ 1, &case.weight, View::Transposed);
        let (gamma, beta) = (Input::new(seed ^ 2, &case.weight[..1], View::Contiguous), Input::new(seed ^ 3, &case.weight[..1], View::Narrowed));
        let plain = conv2d(&x.tensor().unwrap(), &weight.tensor().unwrap(), None, &case.geometry).unwrap();
        let dims = plain.dims().to_vec();
        prop_assume!(dims[0] * dims[2] * dims[3] > 1);
        let residual = Input::new(seed ^ 4, &dims, view);
        let activation = if relu { Activation::Relu } else { Activation::None };
        let inputs: Vec<&Input> = [&x, &weight, &gamma, &beta, &residual].into_iter().take(4 + usize::from(with_residual)).collect();
        let fused = |t: &[Tensor], activation| Ok(conv_bn_act(&t[0], &t[1], &t[2], &t[3], t.get(4), &case.geometry, 0.1, activation)?.0);
        let tensors: Vec<Tensor> = inputs.iter().map(|input| input.tensor().unwrap()).collect();
        // No difference may step across the rectifier's kink.
        let before = values(&fused(&tensors, Activation::None).unwrap());
        if !relu || before.iter().all(|value| value.abs() > 1e-3) {
            check(&inputs, 1e-4, |t| fused(t, activation));
        }
    }
}

proptest! {
    #![proptest_config(cases(10))]

    #[test]
    fn large_planes(case in convolutions(20, 24), view in views(), seed in any::<u64>()) {
        prop_assume!(case.fits() && case.input[0] > 0);
        let (x, weight) = (Input::new(seed, &case.input, view), Input::new(seed ^ 1, &case.weight, View::Contiguous));
        let bias = Input::new(seed ^ 2, &case.weight[..1], View::Contiguous);
        check_values(&[&x, &weight, &bias], 2e-4, |t| conv2d(&t[0], &t[1], Some(&t[2]), &case.geometry));
        // Inference: the rectified sum of convolution, bias and residual.
        let single = [&x, &weight, &bias].map(|input| input.tensor().unwrap().to_dtype(candle_core::DType::F32).unwrap());
        let plain = conv2d(&single[0], &single[1], Some(&single[2]), &case.geometry).unwrap();
        let sum = taper_kernels::add_relu(&plain, &plain).unwrap();
        let fused = conv_bias_act(&single[0], &single[1], &single[2], Some(&plain), &case.geometry, Activation::Relu).unwrap();
        let distance = values(&fused).iter().zip(values(&sum)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        prop_assert!(distance < 1e-3, "{}", distance);
        prop_assert_eq!(bits(&fused).len(), bits(&sum).len());
    }

    #[test]
    fn large_depthwise_planes(channels in 1usize..40, size in (1usize..30, 1usize..30), kernel in prop_oneof![Just(3usize), Just(5)], stride in 1usize..3, view in views(), seed in any::<u64>()) {
        let geometry = Conv2dGeometry { groups: channels, ..Conv2dGeometry::with(stride, kernel / 2) };
        let (x, weight) = (Input::new(seed, &[2, channels, size.0, size.1], view), Input::new(seed ^ 1, &[channels, 1, kernel, kernel], View::Contiguous));
        check_values(&[&x, &weight], 2e-4, |t| conv2d(&t[0], &t[1], None, &geometry));
    }
}
