//! What every velocity network answers.

use candle_core::{Result, Tensor};

use crate::Dropout;

/// A network that gives the velocity dx/dt at (x, t), one tensor a head.
///
/// Time runs from 0 (data) to 1 (noise): x_t = t·z + (1 − t)·x (arXiv:2209.03003).
/// The networks of EDM read their noise label in the place of t (see [`Preconditioning`](crate::Preconditioning)),
/// and a coupling network gives the mean and the log-variance of its noise, one after the other along the channels.
pub trait VelocityNetwork: Send + Sync {
    /// Number of heads: 1, or the order n of a network for RK23 or RK34.
    fn heads(&self) -> usize;

    /// Number of classes of a class-conditional network.
    fn classes(&self) -> Option<usize>;

    /// The velocities at (x, t), head 1 first; each has the batch of x.
    ///
    /// * `x`: `[batch, …]`, `f32` or `f64` as the parameters
    /// * `t`: `[batch]`, `f32` or `f64`; no gradient flows into it
    /// * `class`: `[batch]` `u32`, where and only where the network has classes
    ///
    /// # Errors
    /// Another shape or type than the network reads; a class that is missing, not wanted or out of range.
    fn forward(
        &self,
        x: &Tensor,
        t: &Tensor,
        class: Option<&Tensor>,
        dropout: Dropout<'_>,
    ) -> Result<Vec<Tensor>>;
}
