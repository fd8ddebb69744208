//! Winograd: map sizes, channel counts, paddings.

use super::*;

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
        (3, (16, 16), (32, 32), 1),
        (3, (16, 16), (22, 29), 0),
        (2, (16, 16), (21, 19), 2),
        (1, (16, 16), (9, 130), 1),
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
