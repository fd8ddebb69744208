//! What velocity networks learn from: flow matching, Catch-Up Distillation and the baselines beside them.

pub mod catch_up;
pub mod consistency;
pub mod coupling;
pub mod progressive;
mod times;

pub use times::{StepSize, TIME_FLOOR, Times};

use candle_core::{Result, Tensor};
use taper_kernels::{CatchUpWeights, catchup_loss};

/// Mean square of `prediction − target`, a scalar; `target` keeps its gradient.
///
/// # Errors
/// If shapes or types differ.
pub fn mean_square(prediction: &Tensor, target: &Tensor) -> Result<Tensor> {
    let weights = CatchUpWeights {
        catch_up: &[0.0],
        truth: &[1.0],
        samples: None,
    };
    catchup_loss(&[prediction], &[target], target, None, &weights)
}
