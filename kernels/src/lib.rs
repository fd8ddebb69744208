//! Hand-written differentiable operators on Candle tensors.
//!
//! One folder an operator: `mod.rs` is the public function and its derivative,
//! `cpu.rs` the specification and the fast CPU code. Candle's own operators of the
//! same names are wrong, cut the gradient or are slow where training needs them.

pub mod conv2d;
pub mod random;
pub mod threads;

pub use conv2d::{Conv2dError, Conv2dGeometry, conv2d};
