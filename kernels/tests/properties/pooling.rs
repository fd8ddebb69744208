//! Pooling with any window, stride, padding and rounding; resize.

use crate::support::{Input, cases, check, check_values, views};
use proptest::prelude::*;
use taper_kernels::{
    Pool1dGeometry, Pool2dGeometry, adaptive_avg_pool1d, adaptive_avg_pool2d, avg_pool1d,
    avg_pool2d, global_avg_pool2d, max_pool1d, max_pool2d, resize_bilinear2d, resize_nearest1d,
    resize_nearest2d,
};

prop_compose! {
    fn geometry()(window in (1usize..5, 1usize..5))(
        padding in (0..=window.0 / 2, 0..=window.1 / 2),
        stride in (1usize..4, 1usize..4),
        ceil_mode in any::<bool>(),
        window in Just(window),
    ) -> Pool2dGeometry {
        Pool2dGeometry { window, stride, padding, ceil_mode }
    }
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn windows(geometry in geometry(), batch in 0usize..3, channels in 1usize..3, height in 1usize..8, width in 1usize..8, include in any::<bool>(), view in views(), seed in 0u64..1000) {
        prop_assume!(geometry.output_size((height, width)).is_ok());
        let dims = [batch, channels, height, width];
        let x = Input::spread(seed, &dims, view);
        check(&[&x], 1e-6, |x| max_pool2d(&x[0], &geometry));
        check(&[&x], 1e-6, |x| avg_pool2d(&x[0], &geometry, include));
        let line = Input::spread(seed, &[batch, channels, width], view);
        let Pool2dGeometry { window, stride, padding, ceil_mode } = geometry;
        let geometry = Pool1dGeometry { window: window.1, stride: stride.1, padding: padding.1, ceil_mode };
        check(&[&line], 1e-6, |x| max_pool1d(&x[0], &geometry));
        check(&[&line], 1e-6, |x| avg_pool1d(&x[0], &geometry, include));
    }

    #[test]
    fn fitted_windows(batch in 0usize..3, channels in 1usize..3, size in (1usize..8, 1usize..8), output in (1usize..8, 1usize..8), view in views(), seed in any::<u64>()) {
        let x = Input::new(seed, &[batch, channels, size.0, size.1], view);
        check(&[&x], 1e-6, |x| adaptive_avg_pool2d(&x[0], output));
        check(&[&x], 1e-6, |x| global_avg_pool2d(&x[0]));
        let line = Input::new(seed, &[batch, channels, size.0], view);
        check(&[&line], 1e-6, |x| adaptive_avg_pool1d(&x[0], output.0));
    }

    #[test]
    fn resizes(batch in 0usize..3, channels in 1usize..3, size in (1usize..8, 1usize..8), output in (1usize..10, 1usize..10), corners in any::<bool>(), view in views(), seed in any::<u64>()) {
        let x = Input::new(seed, &[batch, channels, size.0, size.1], view);
        check(&[&x], 1e-5, |x| resize_bilinear2d(&x[0], output, corners));
        check(&[&x], 1e-6, |x| resize_nearest2d(&x[0], output));
        let line = Input::new(seed, &[batch, channels, size.0], view);
        check(&[&line], 1e-6, |x| resize_nearest1d(&x[0], output.0));
    }
}

proptest! {
    #![proptest_config(cases(6))]

    #[test]
    fn large_images(geometry in geometry(), channels in 1usize..20, height in 20usize..60, width in 20usize..60, view in views(), seed in any::<u64>()) {
        let x = Input::new(seed, &[3, channels, height, width], view);
        // Equal maxima have no gradient to compare, and a broadcast view has many.
        if !matches!(view, crate::support::View::Broadcast) {
            check_values(&[&x], 1e-5, |x| max_pool2d(&x[0], &geometry));
        }
        check_values(&[&x], 1e-5, |x| avg_pool2d(&x[0], &geometry, true));
        check_values(&[&x], 1e-5, |x| adaptive_avg_pool2d(&x[0], (7, 5)));
        check_values(&[&x], 1e-5, |x| global_avg_pool2d(&x[0]));
        check_values(&[&x], 1e-4, |x| resize_bilinear2d(&x[0], (width, height), false));
        // Coordinates are those of the type, as in PyTorch: other factors may choose other elements in f32.
        check_values(&[&x], 1e-5, |x| resize_nearest2d(&x[0], (2 * height, 3 * width)));
    }
}
