//! A linear layer, `y = x Wᵀ + b`.

use crate::init;
use candle_core::{Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};

/// `weight` `[out, in]`, `bias` `[out]`.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// PyTorch's default initialisation.
    pub fn new(inputs: usize, outputs: usize, vb: VarBuilder) -> Result<Self> {
        let hint = init::default_uniform(inputs);
        Self::with_init(inputs, outputs, hint, hint, vb)
    }

    /// With initialisations of one's own.
    pub fn with_init(
        inputs: usize,
        outputs: usize,
        weight: Init,
        bias: Init,
        vb: VarBuilder,
    ) -> Result<Self> {
        Ok(Self {
            weight: vb.get_with_hints((outputs, inputs), "weight", weight)?,
            bias: vb.get_with_hints(outputs, "bias", bias)?,
        })
    }

    /// `[out, in]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `[out]`.
    pub fn bias(&self) -> &Tensor {
        &self.bias
    }
}

impl Module for Linear {
    /// `[batch, in]` → `[batch, out]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        taper_kernels::linear(x, &self.weight, Some(&self.bias))
    }
}
