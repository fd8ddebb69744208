//! The depthwise kernels.

use super::*;

#[test]
fn depthwise_kernels_match_the_specification() {
    for (batch, channels, input, kernel, stride, padding, dilation) in [
        (2, 9, (32, 32), (3, 3), 1, 1, 1),
        (3, 16, (16, 16), (3, 3), 1, 1, 1),
        (2, 5, (8, 8), (3, 3), 1, 1, 1),
        (2, 5, (7, 7), (3, 3), 2, 1, 1),
        (2, 3, (33, 30), (3, 3), 2, 1, 1),
        (2, 8, (28, 28), (5, 5), 2, 2, 1),
        (1, 8, (14, 20), (7, 7), 1, 3, 1),
        (1, 2, (12, 21), (3, 3), 1, 2, 2),
        (1, 1, (1, 1), (3, 3), 1, 1, 1),
        (2, 4, (10, 19), (3, 2), 3, 0, 1),
        (1, 6, (1, 200), (1, 15), 1, 7, 1),
        (1, 3, (4, 4), (1, 1), 1, 0, 1),
        (1, 3, (5, 40), (1, 1), 2, 1, 1),
    ] {
        let padding = if kernel.0 == 1 && kernel.1 > 1 {
            (0, padding)
        } else {
            (padding, padding)
        };
        let geometry = geometry((stride, stride), padding, (dilation, dilation), channels);
        check(
            Method::Depthwise,
            &problem(batch, (channels, channels), input, kernel, geometry),
            2e-5,
        );
    }
}
