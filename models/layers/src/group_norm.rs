//! Group norm, alone and with SiLU after it.

use candle_core::{Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};

/// `weight` and `bias` `[channels]`; mean and variance over each group of channels of each image.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// PyTorch's initialisation: weight 1, bias 0.
    ///
    /// # Errors
    /// If `groups` does not divide `channels`, or what `vb` reports.
    pub fn new(groups: usize, channels: usize, eps: f64, vb: VarBuilder) -> Result<Self> {
        if groups == 0 || !channels.is_multiple_of(groups) {
            candle_core::bail!("group norm: {groups} groups do not divide {channels} channels");
        }
        Ok(Self {
            weight: vb.get_with_hints(channels, "weight", Init::Const(1.0))?,
            bias: vb.get_with_hints(channels, "bias", Init::Const(0.0))?,
            groups,
            eps,
        })
    }

    /// silu of the norm, in the same passes over memory.
    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        taper_kernels::group_norm_silu(x, self.groups, weight, bias, self.eps)
    }
}

impl Module for GroupNorm {
    /// `[batch, channels, …]` → the same shape.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        taper_kernels::group_norm(x, self.groups, weight, bias, self.eps)
    }
}
