//! Dropout whose masks come from a seeded stream.

use candle_core::{Result, Tensor};
use rand::RngCore;
use taper_kernels::random::Random;

/// Whether a forward pass drops activations, and where its masks come from.
#[derive(Debug)]
pub enum Dropout<'a> {
    /// Nothing is dropped.
    Off,
    /// Every layer with dropout draws the key of its mask from this stream, in the order of the forward pass.
    On(&'a mut Random),
}

impl Dropout<'_> {
    /// x with each element set to 0 with `probability` and divided by 1 − `probability` otherwise.
    ///
    /// # Errors
    /// A probability outside 0..1 or a type that is no float.
    pub(crate) fn apply(&mut self, x: &Tensor, probability: f64) -> Result<Tensor> {
        match self {
            Self::On(random) if probability > 0.0 => {
                taper_kernels::dropout(x, probability, random.next_u64())
            }
            _ => Ok(x.clone()),
        }
    }
}
