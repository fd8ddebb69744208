//! Each fast kernel, at each instruction set, against the specification in f64.

use super::cpu;
use super::geometry::{Conv2dGeometry, Problem};
use super::select::Method;
use crate::random::stream;
use crate::simd::Level;
use crate::threads::set_threads;
use rand::Rng;

/// A problem from batch, channels, input, kernel and geometry.
fn problem(
    batch: usize,
    channels: (usize, usize),
    input: (usize, usize),
    kernel: (usize, usize),
    geometry: Conv2dGeometry,
) -> Problem {
    Problem {
        batch,
        in_channels: channels.0,
        out_channels: channels.1,
        input,
        kernel,
        output: geometry
            .output_size(input, kernel)
            .expect("the kernel fits"),
        geometry,
    }
}

fn random(count: usize, seed: u64) -> Vec<f32> {
    let mut stream = stream(seed, "kernel test", 0);
    (0..count)
        .map(|_| stream.random::<f32>() * 2.0 - 1.0)
        .collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// The largest difference, relative to the root mean square of what is expected.
fn relative_error(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square: f64 = expected.iter().map(|value| value * value).sum();
    let scale = (square / expected.len().max(1) as f64).sqrt().max(1e-30);
    let difference = found
        .iter()
        .zip(expected)
        .map(|(&a, b)| (f64::from(a) - b).abs());
    difference.fold(0.0, |most, value| {
        if value.is_nan() {
            value
        } else {
            f64::max(most, value)
        }
    }) / scale
}

/// The three passes of `method`, each against the specification.
fn check(method: Method, p: &Problem, tolerance: f64) {
    let x = random(p.input_len(), 1);
    let w = random(p.weight_len(), 2);
    let dy = random(p.output_len(), 3);
    let bias = random(p.out_channels, 4);
    let y64 = cpu::forward(p, &wide(&x), &wide(&w), Some(&wide(&bias)));
    let dx64 = cpu::input_gradient(p, &wide(&dy), &wide(&w));
    let dw64 = cpu::weight_gradient(p, &wide(&x), &wide(&dy));
    for level in Level::available() {
        for (pass, error) in [
            (
                "forward",
                relative_error(&method.forward(level, p, &x, &w, Some(&bias)), &y64),
            ),
            (
                "input gradient",
                relative_error(&method.input_gradient(level, p, &dy, &w), &dx64),
            ),
            (
                "weight gradient",
                relative_error(&method.weight_gradient(level, p, &x, &dy), &dw64),
            ),
        ] {
            assert!(
                error < tolerance,
                "{method:?} {level:?} {pass} of {p:?}: {error:e}"
            );
        }
    }
}

#[test]
fn winograd_matches_the_specification() {
    for (batch, channels, size, padding) in [
        (2, (16, 16), (4, 4), 1),
        (3, (16, 32), (8, 8), 1),
        (13, (32, 16), (8, 8), 1),
        (5, (48, 80), (7, 7), 1),
        (2, (16, 16), (9, 13), 1),
        (2, (96, 16), (14, 14), 1),
        (1, (32, 64), (28, 28), 1),
        (1, (16, 16), (33, 70), 1),
        (2, (16, 48), (12, 9), 0),
        (2, (16, 32), (10, 6), 2),
        (19, (112, 144), (4, 4), 1),
    ] {
        let geometry = Conv2dGeometry {
            padding: (padding, padding),
            ..Conv2dGeometry::default()
        };
        check(
            Method::Winograd,
            &problem(batch, channels, size, (3, 3), geometry),
            1e-4,
        );
    }
}

#[test]
fn winograd_takes_different_paddings_along_the_axes() {
    let geometry = Conv2dGeometry {
        padding: (0, 2),
        ..Conv2dGeometry::default()
    };
    check(
        Method::Winograd,
        &problem(2, (16, 16), (11, 6), (3, 3), geometry),
        1e-4,
    );
}

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

const fn geometry(
    stride: (usize, usize),
    padding: (usize, usize),
    dilation: (usize, usize),
    groups: usize,
) -> Conv2dGeometry {
    Conv2dGeometry {
        stride,
        padding,
        dilation,
        groups,
    }
}

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
    ] {
        check(
            Method::Blocked,
            &problem(batch, channels, input, kernel, geometry),
            2e-5,
        );
    }
}

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

/// Bits of the three passes.
fn passes(method: Method, p: &Problem) -> [Vec<u32>; 3] {
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    let (x, w, dy) = (
        random(p.input_len(), 1),
        random(p.weight_len(), 2),
        random(p.output_len(), 3),
    );
    let level = Level::best();
    [
        bits(method.forward(level, p, &x, &w, None)),
        bits(method.input_gradient(level, p, &dy, &w)),
        bits(method.weight_gradient(level, p, &x, &dy)),
    ]
}

#[test]
fn results_do_not_depend_on_the_thread_count() {
    for p in [
        problem(9, (32, 16), (8, 8), (3, 3), Conv2dGeometry::same(3)),
        problem(10, (16, 16), (32, 32), (3, 3), Conv2dGeometry::same(3)),
        problem(5, (128, 128), (8, 8), (3, 3), Conv2dGeometry::same(3)),
        problem(5, (16, 32), (9, 8), (3, 3), Conv2dGeometry::with(2, 1)),
        problem(3, (3, 16), (20, 20), (3, 3), Conv2dGeometry::same(3)),
        problem(3, (24, 64), (20, 20), (1, 1), Conv2dGeometry::default()),
        problem(
            5,
            (12, 12),
            (9, 9),
            (3, 3),
            Conv2dGeometry::same(3).grouped(12),
        ),
        problem(
            5,
            (12, 24),
            (9, 9),
            (3, 3),
            Conv2dGeometry::with(2, 1).grouped(3),
        ),
    ] {
        let method = Method::choose(&p);
        let runs = [1, 2, 3].map(|threads| {
            set_threads(threads);
            passes(method, &p)
        });
        set_threads(0);
        assert!(
            runs[0] == runs[1] && runs[0] == runs[2],
            "{method:?} of {p:?}"
        );
    }
}

#[test]
fn nan_and_infinity_reach_the_outputs_they_touch() {
    for p in [problem(
        2,
        (16, 16),
        (8, 8),
        (3, 3),
        Conv2dGeometry::same(3),
    )] {
        let method = Method::choose(&p);
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = random(p.input_len(), 1);
            let (w, dy) = (random(p.weight_len(), 2), random(p.output_len(), 3));
            x[5] = bad;
            let y = method.forward(Level::best(), &p, &x, &w, None);
            let expected = cpu::forward(&p, &x, &w, None);
            for (found, expected) in y.iter().zip(&expected) {
                assert!(
                    expected.is_finite() || !found.is_finite(),
                    "{method:?} {p:?}"
                );
            }
            let dw = method.weight_gradient(Level::best(), &p, &x, &dy);
            let expected = cpu::weight_gradient(&p, &x, &dy);
            for (found, expected) in dw.iter().zip(&expected) {
                assert!(
                    expected.is_finite() || !found.is_finite(),
                    "{method:?} {p:?}"
                );
            }
        }
    }
}
