//! Weights, look-ahead, and what is out of range.

use super::config;
use crate::objectives::StepSize;
use crate::objectives::catch_up::{CatchUpConfig, Stages, Weighting};

/// Section 5: the look-ahead of published and of chosen weights.
#[test]
fn look_ahead() {
    let published = config(3, Stages::Paper);
    for (head, expected) in [(1, 1.0 / 32.0), (2, 3.0 / 64.0), (3, 1.0 / 16.0)] {
        let found = published.look_ahead(head).unwrap();
        assert!((found - expected).abs() < 1e-12, "{head}: {found}");
    }
    for steps in [1, 2, 4, 16] {
        for step_size in [StepSize::Uniform, StepSize::Origin, StepSize::Rule] {
            let chosen = CatchUpConfig {
                weighting: Weighting::ForSteps { steps },
                step_size,
                ..CatchUpConfig::default()
            };
            let found = chosen.look_ahead(1).unwrap();
            assert!((found * 2.0 * steps as f64 - 1.0).abs() < 1e-12, "{steps}");
            let (catch_up, truth) = chosen.weights(0.3);
            assert!((catch_up + truth - 2.0).abs() < 1e-12);
            if step_size == StepSize::Uniform {
                assert!((catch_up / truth - 16.0 / steps as f64).abs() < 1e-9);
            }
        }
    }
    let adaptive = CatchUpConfig {
        weighting: Weighting::Adaptive,
        ..CatchUpConfig::default()
    };
    assert_eq!(adaptive.weights(0.25), (0.5, 1.5));
    assert_eq!(adaptive.look_ahead(1), None);
}

#[test]
fn bad_settings_are_named() {
    let good = CatchUpConfig::default();
    let weighting = |weighting| CatchUpConfig {
        weighting,
        ..good.clone()
    };
    for (field, bad) in [
        (
            "order",
            CatchUpConfig {
                order: 4,
                ..good.clone()
            },
        ),
        (
            "reciprocal",
            CatchUpConfig {
                reciprocal: 0,
                ..good.clone()
            },
        ),
        (
            "weighting",
            weighting(Weighting::Fixed {
                catch_up: -1.0,
                truth: 1.0,
            }),
        ),
        ("weighting", weighting(Weighting::ForSteps { steps: 0 })),
        (
            "weighting",
            CatchUpConfig {
                order: 2,
                ..weighting(Weighting::Adaptive)
            },
        ),
    ] {
        let message = bad.validate().unwrap_err().to_string();
        assert!(
            message.starts_with(&format!("catch_up.{field}: ")),
            "{message}"
        );
    }
}
