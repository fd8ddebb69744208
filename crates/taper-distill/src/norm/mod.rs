//! NORM: N-to-one representation matching (arXiv:2305.13803).
//!
//! A linear module expands the student's last feature map N times; each of the N slices is
//! matched to the same teacher feature; after training the module is folded away.

mod feature_transform;
mod loss;
mod merge;
mod weight_schedule;

pub use feature_transform::{FeatureTransform, FeatureTransformConfig, Transformed};
pub use loss::norm_loss;
pub use merge::{Merged, fold_into_linear, fold_transform};
pub use weight_schedule::WeightSchedule;
