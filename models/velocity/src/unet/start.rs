//! Initial values of a U-Net's layers.

use candle_nn::Init;
use taper_layers::init;

/// The part a layer plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Any other.
    Inner,
    /// Ends a residual branch or the network: starts at or near 0.
    Last,
    /// Makes queries, keys and values.
    Attention,
}

/// How a family draws its first weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Uniform after Glorot and Bengio, biases 0; last layers × 1e-5, attention × √0.2 (EDM `SongUNet`).
    Xavier,
    /// PyTorch's default for weights and biases; last layers 0 (EDM `DhariwalUNet`, guided-diffusion).
    Kaiming,
}

impl Start {
    /// Weight and bias of a layer of so many inputs and outputs, kernel positions counted.
    pub(crate) fn of(self, part: Part, fan_in: usize, fan_out: usize) -> (Init, Init) {
        match (self, part) {
            (Self::Xavier, _) => {
                let scale = match part {
                    Part::Inner => 1.0,
                    Part::Last => 1e-5,
                    Part::Attention => 0.2f64.sqrt(),
                };
                let bound = scale * (6.0 / (fan_in + fan_out) as f64).sqrt();
                let weight = Init::Uniform {
                    lo: -bound,
                    up: bound,
                };
                (weight, Init::Const(0.0))
            }
            (Self::Kaiming, Part::Last) => (Init::Const(0.0), Init::Const(0.0)),
            (Self::Kaiming, _) => (init::default_uniform(fan_in), init::default_uniform(fan_in)),
        }
    }
}
