//! What every image classifier answers.

use candle_core::{Result, Tensor};
use taper_layers::Mode;

/// Everything that a distiller, a class activation map or a proxy reads from one forward pass.
#[derive(Debug, Clone)]
pub struct Features {
    /// Feature maps `[batch, channels, height, width]` in the model's order (f0, f1, …), without the embedding.
    pub stages: Vec<Tensor>,
    /// What the last linear layer reads, `[batch, features]`.
    pub embedding: Tensor,
    /// Class scores before the softmax, `[batch, classes]`.
    pub logits: Tensor,
}

/// A forward pass up to the point where the head begins.
#[derive(Debug, Clone)]
pub struct Trunk {
    /// As [`Features::stages`].
    pub stages: Vec<Tensor>,
    /// The last feature map `[batch, channels, height, width]`: where NORM's module and class
    /// activation maps attach (arXiv:2305.13803). It is not always one of the stages.
    pub last: Tensor,
}

/// An image classifier in two parts: trunk (feature maps) and head (embedding and logits).
pub trait Classifier: Send + Sync {
    /// `[batch, 3, height, width]`, already normalised → stages and last feature map.
    ///
    /// # Errors
    /// Whatever a kernel reports: other channels, other type of number, an image that is too small.
    fn trunk(&self, x: &Tensor, mode: Mode) -> Result<Trunk>;

    /// [`Trunk::last`], or a map of the same shape put in its place → (embedding, logits).
    ///
    /// # Errors
    /// As [`trunk`](Self::trunk).
    fn head(&self, last: &Tensor, mode: Mode) -> Result<(Tensor, Tensor)>;

    /// The head upon the trunk.
    ///
    /// # Errors
    /// As [`trunk`](Self::trunk).
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Features> {
        let Trunk { stages, last } = self.trunk(x, mode)?;
        let (embedding, logits) = self.head(&last, mode)?;
        Ok(Features {
            stages,
            embedding,
            logits,
        })
    }

    /// Number of classes, the length of a row of logits.
    fn classes(&self) -> usize;
}
