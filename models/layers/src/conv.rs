//! A 2-D convolution, and the convolution + batch norm + residual + activation that networks are made of.

use crate::{BatchNorm2d, Mode, init};
use candle_core::{Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use taper_kernels::{Activation, Conv2dGeometry};

/// `weight` `[out, in / groups, kernel, kernel]`, optional `bias` `[out]`.
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    geometry: Conv2dGeometry,
}

impl Conv2d {
    /// Without bias, PyTorch's default initialisation.
    pub fn new(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        geometry: Conv2dGeometry,
        vb: VarBuilder,
    ) -> Result<Self> {
        let fan_in = inputs / geometry.groups.max(1) * kernel * kernel;
        let hint = init::default_uniform(fan_in);
        Self::with_init(inputs, outputs, kernel, geometry, hint, None, vb)
    }

    /// With initialisations of one's own; `bias: None` means no bias.
    pub fn with_init(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        geometry: Conv2dGeometry,
        weight: Init,
        bias: Option<Init>,
        vb: VarBuilder,
    ) -> Result<Self> {
        let shape = (outputs, inputs / geometry.groups.max(1), kernel, kernel);
        let bias = bias
            .map(|hint| vb.get_with_hints(outputs, "bias", hint))
            .transpose()?;
        Ok(Self {
            weight: vb.get_with_hints(shape, "weight", weight)?,
            bias,
            geometry,
        })
    }

    /// `[out, in / groups, kernel, kernel]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `[out]`, if there is one.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// Stride, padding, dilation, groups.
    pub fn geometry(&self) -> &Conv2dGeometry {
        &self.geometry
    }
}

impl Module for Conv2d {
    /// `[batch, in, height, width]` → `[batch, out, height', width']`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        taper_kernels::conv2d(x, &self.weight, self.bias.as_ref(), &self.geometry)
    }
}

/// `activation(bn(conv(x)) + residual)`: one call, so that kernels can fuse it.
pub fn conv_bn_act(
    conv: &Conv2d,
    bn: &BatchNorm2d,
    x: &Tensor,
    residual: Option<&Tensor>,
    activation: Activation,
    mode: Mode,
) -> Result<Tensor> {
    bn.forward_act(&conv.forward(x)?, residual, activation, mode)
}
