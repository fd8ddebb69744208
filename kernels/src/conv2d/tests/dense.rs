//! The direct and blocked kernels: kernels, strides, paddings, dilations, groups.

use super::*;

/// Batch, channels, input, kernel, geometry.
type Dense = (
    usize,
    (usize, usize),
    (usize, usize),
    (usize, usize),
    Conv2dGeometry,
);

/// Kernels, strides, paddings, dilations, groups, odd sizes and channels.
const DENSE: &[Dense] = &[
    (
        2,
        (3, 16),
        (32, 32),
        (3, 3),
        geometry((1, 1), (1, 1), (1, 1), 1),
    ),
    (
        3,
        (16, 32),
        (8, 8),
        (3, 3),
        geometry((2, 2), (1, 1), (1, 1), 1),
    ),
    (
        2,
        (19, 23),
        (9, 13),
        (3, 3),
        geometry((2, 2), (1, 1), (1, 1), 1),
    ),
    (
        2,
        (16, 24),
        (7, 7),
        (1, 1),
        geometry((1, 1), (0, 0), (1, 1), 1),
    ),
    (
        9,
        (24, 40),
        (14, 14),
        (1, 1),
        geometry((1, 1), (0, 0), (1, 1), 1),
    ),
    (
        2,
        (17, 5),
        (9, 8),
        (1, 1),
        geometry((2, 2), (0, 0), (1, 1), 1),
    ),
    (
        2,
        (7, 1),
        (11, 12),
        (5, 5),
        geometry((1, 1), (2, 2), (1, 1), 1),
    ),
    (
        1,
        (5, 9),
        (17, 15),
        (7, 7),
        geometry((2, 2), (3, 3), (1, 1), 1),
    ),
    (
        1,
        (1, 1),
        (1, 1),
        (1, 1),
        geometry((1, 1), (0, 0), (1, 1), 1),
    ),
    (
        1,
        (2, 2),
        (1, 1),
        (3, 3),
        geometry((1, 1), (1, 1), (1, 1), 1),
    ),
    (
        2,
        (32, 16),
        (4, 4),
        (3, 3),
        geometry((1, 1), (1, 1), (1, 1), 1),
    ),
    (
        2,
        (8, 8),
        (6, 5),
        (3, 3),
        geometry((2, 2), (1, 1), (1, 1), 1),
    ),
    (
        2,
        (16, 8),
        (12, 12),
        (3, 3),
        geometry((1, 1), (2, 2), (2, 2), 1),
    ),
    (
        2,
        (18, 12),
        (10, 11),
        (3, 2),
        geometry((3, 1), (0, 1), (1, 2), 1),
    ),
    (
        2,
        (8, 8),
        (10, 11),
        (2, 2),
        geometry((3, 4), (0, 0), (1, 1), 1),
    ),
    (
        3,
        (12, 24),
        (9, 9),
        (3, 3),
        geometry((1, 1), (1, 1), (1, 1), 4),
    ),
    (
        2,
        (36, 38),
        (8, 8),
        (3, 3),
        geometry((2, 2), (1, 1), (1, 1), 2),
    ),
    (
        2,
        (6, 18),
        (9, 9),
        (3, 3),
        geometry((2, 2), (1, 1), (1, 1), 6),
    ),
    (
        1,
        (128, 136),
        (28, 28),
        (3, 3),
        geometry((1, 1), (1, 1), (1, 1), 1),
    ),
    (
        1,
        (300, 16),
        (40, 40),
        (3, 3),
        geometry((1, 1), (1, 1), (1, 1), 1),
    ),
    (
        1,
        (4, 4),
        (3, 3),
        (1, 1),
        geometry((1, 1), (2, 2), (1, 1), 1),
    ),
    (
        1,
        (4, 6),
        (5, 6),
        (2, 2),
        geometry((2, 3), (4, 4), (3, 3), 1),
    ),
    (
        2,
        (16, 16),
        (1, 50),
        (1, 9),
        geometry((1, 1), (0, 4), (1, 1), 1),
    ),
];

#[test]
fn direct_kernels_match_the_specification() {
    for &(batch, channels, input, kernel, geometry) in DENSE {
        check(
            Method::Direct,
            &problem(batch, channels, input, kernel, geometry),
            2e-5,
        );
    }
}

#[test]
fn blocked_kernels_match_the_specification() {
    for (batch, channels, input, kernel, geometry) in [
        (
            3,
            (16, 32),
            (8, 8),
            (3, 3),
            geometry((2, 2), (1, 1), (1, 1), 1),
        ),
        (
            2,
            (32, 48),
            (9, 13),
            (3, 3),
            geometry((2, 2), (1, 1), (1, 1), 1),
        ),
        (
            2,
            (48, 64),
            (7, 7),
            (3, 3),
            geometry((1, 1), (1, 1), (1, 1), 1),
        ),
        (
            1,
            (16, 16),
            (1, 1),
            (3, 3),
            geometry((1, 1), (1, 1), (1, 1), 1),
        ),
        (
            1,
            (16, 16),
            (5, 6),
            (2, 2),
            geometry((2, 3), (4, 4), (3, 3), 1),
        ),
        (
            2,
            (32, 96),
            (10, 11),
            (3, 2),
            geometry((3, 1), (0, 1), (1, 2), 2),
        ),
        (
            1,
            (128, 80),
            (28, 28),
            (5, 5),
            geometry((1, 1), (2, 2), (1, 1), 1),
        ),
        (
            1,
            (256, 16),
            (40, 40),
            (3, 3),
            geometry((1, 1), (1, 1), (1, 1), 1),
        ),
        (
            2,
            (64, 32),
            (15, 14),
            (7, 7),
            geometry((2, 2), (3, 3), (1, 1), 1),
        ),
        (
            2,
            (64, 32),
            (15, 14),
            (1, 1),
            geometry((2, 2), (0, 0), (1, 1), 1),
        ),
        (
            5,
            (64, 64),
            (9, 9),
            (3, 3),
            geometry((1, 1), (1, 1), (1, 1), 4),
        ),
        // One pixel a row.
        (
            2,
            (32, 48),
            (50, 1),
            (5, 1),
            geometry((2, 1), (2, 0), (1, 1), 1),
        ),
        (
            1,
            (16, 16),
            (9, 3),
            (2, 1),
            geometry((2, 3), (0, 0), (1, 1), 1),
        ),
        (
            2,
            (32, 64),
            (21, 1),
            (4, 1),
            geometry((3, 1), (4, 0), (2, 1), 2),
        ),
        // Many weights: some taps at a time, some channels a task.
        (
            1,
            (144, 256),
            (13, 3),
            (31, 1),
            geometry((2, 1), (15, 0), (1, 1), 1),
        ),
    ] {
        check(
            Method::Blocked,
            &problem(batch, channels, input, kernel, geometry),
            2e-5,
        );
    }
}
