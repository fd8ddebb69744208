//! The table of cases, one file a family of operators.

mod catch_up;
mod convolution;
mod convolution1d;
mod elementwise;
mod indexing;
mod losses;
mod matmul;
mod normalisation;
mod optimiser;
mod pooling;
mod resize;
mod row_norms;

use crate::case::{Case, Mode};

/// Forward, backward, and both.
const DIFFERENTIABLE: &[Mode] = &[Mode::Forward, Mode::Backward, Mode::ForwardBackward];
/// Operators whose forward pass writes the gradient as well: a backward pass by itself says nothing.
const FUSED: &[Mode] = &[Mode::Forward, Mode::ForwardBackward];
/// Operators that are not differentiated.
const FORWARD: &[Mode] = &[Mode::Forward];

/// Batches of the activations after each stage of a CIFAR ResNet.
const STAGES: [[usize; 4]; 3] = [[64, 16, 32, 32], [64, 32, 16, 16], [64, 64, 8, 8]];

/// All cases.
pub fn cases() -> Vec<Case> {
    [
        convolution::cases(),
        convolution1d::cases(),
        normalisation::cases(),
        row_norms::cases(),
        pooling::cases(),
        elementwise::cases(),
        indexing::cases(),
        matmul::cases(),
        losses::cases(),
        resize::cases(),
        catch_up::cases(),
        optimiser::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// `64x16x32x32`.
fn text(dims: &[usize]) -> String {
    let sides: Vec<String> = dims.iter().map(usize::to_string).collect();
    sides.join("x")
}

/// How many elements a shape has.
fn count(dims: &[usize]) -> usize {
    dims.iter().product()
}

#[cfg(test)]
mod tests {
    use super::cases;

    #[test]
    fn no_two_cases_are_the_same() {
        let mut names: Vec<_> = cases()
            .iter()
            .map(|case| (case.kernel, case.size.clone()))
            .collect();
        let total = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), total);
    }

    #[test]
    fn work_is_positive_in_every_mode() {
        for case in cases() {
            for &mode in case.modes {
                let work = case.work(mode);
                assert!(
                    work.bytes > 0.0 && work.flops >= 0.0,
                    "{} {} {mode:?}",
                    case.kernel,
                    case.size
                );
            }
        }
    }
}
