//! What holds for every kernel: bits that do not depend on the thread count, and NaN and infinity.

use super::*;
use crate::threads::set_threads;

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

/// What lies behind a plane in memory belongs to another filter.
#[test]
fn nan_stays_in_the_filters_of_its_channel() {
    for (channels, map, groups) in [((3, 5), (5, 7), 1), ((4, 6), (3, 3), 2)] {
        let geometry = Conv2dGeometry::same(3).grouped(groups);
        let p = problem(3, channels, map, (3, 3), geometry);
        let (mut x, dy) = (random(p.input_len(), 1), random(p.output_len(), 3));
        x[p.input_pixels()..2 * p.input_pixels()].fill(f32::NAN);
        for level in Level::available() {
            let dw = Method::Direct.weight_gradient(level, &p, &x, &dy);
            for (index, &value) in dw.iter().enumerate() {
                let (filter, channel) = (index / 9 / p.group_in(), index / 9 % p.group_in());
                let bad = channel == 1 && filter / p.group_out() == 0;
                assert_eq!(value.is_nan(), bad, "{level:?} {index} of {p:?}");
            }
        }
    }
}
