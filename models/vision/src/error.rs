//! What can go wrong before a network exists.

use taper_layers::UnknownModel;
use thiserror::Error;

/// Errors of the registry and of weights that do not suit a model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VisionError {
    /// No registered model has this name.
    #[error(transparent)]
    UnknownModel(#[from] UnknownModel),
    /// A weights file lacks the tensor that tells the number of classes.
    #[error("tensor {tensor}: missing; {model} needs it with shape [classes, {columns}]")]
    MissingHead {
        /// The model.
        model: &'static str,
        /// The last linear layer's weight.
        tensor: &'static str,
        /// Its number of columns.
        columns: usize,
    },
    /// The tensor that tells the number of classes has a shape that the model cannot use.
    #[error("tensor {tensor}: found shape {found:?}; {model} needs [classes, {columns}]")]
    HeadShape {
        /// The model.
        model: &'static str,
        /// The last linear layer's weight.
        tensor: &'static str,
        /// Shape in the file.
        found: Vec<usize>,
        /// Number of columns that the model needs.
        columns: usize,
    },
    /// Candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
