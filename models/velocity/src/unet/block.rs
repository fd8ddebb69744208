//! The residual block of the U-Nets, with resampling, time conditioning and attention.

use super::attention::{Attention, QkvOrder};
use super::names::BlockPaths;
use super::start::{Part, Start};
use crate::Dropout;
use candle_core::{D, Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use taper_kernels::{Conv2dGeometry, Pool2dGeometry};
use taper_layers::{Conv2d, GroupNorm, Linear};

/// Channels of a group where there are fewer than [`MOST_GROUPS`] times as many (EDM).
const LEAST_CHANNELS_A_GROUP: usize = 4;
const MOST_GROUPS: usize = 32;

/// What the blocks of a network have in common.
#[derive(Debug, Clone)]
pub(crate) struct Style {
    /// Width of the embedding that conditions the blocks.
    pub(crate) embedding: usize,
    /// Probability with which the input of the second convolution is dropped.
    pub(crate) dropout: f64,
    /// Added to a norm's variance.
    pub(crate) eps: f64,
    /// Always 32 groups (guided-diffusion), or fewer for less than 128 channels (EDM).
    pub(crate) always_32_groups: bool,
    /// Factor of every residual sum.
    pub(crate) residual_scale: f64,
    /// Whether the embedding gives scale and shift after the second norm, or a shift before it.
    pub(crate) scale_and_shift: bool,
    /// Whether a resampling block projects its skip although the widths match.
    pub(crate) project_resampled: bool,
    /// Channels of an attention head; `None`: one head.
    pub(crate) head_channels: Option<usize>,
    pub(crate) qkv_order: QkvOrder,
    pub(crate) start: Start,
    /// Whether resampling layers keep their filter in the state, as EDM's do.
    pub(crate) filter_in_state: bool,
}

impl Style {
    pub(crate) fn norm(&self, channels: usize, vb: VarBuilder) -> Result<GroupNorm> {
        let groups = match self.always_32_groups {
            true => MOST_GROUPS,
            false => (channels / LEAST_CHANNELS_A_GROUP).clamp(1, MOST_GROUPS),
        };
        GroupNorm::new(groups, channels, self.eps, vb)
    }
}

/// A convolution with bias that keeps the size.
pub(crate) fn conv(
    inputs: usize,
    outputs: usize,
    kernel: usize,
    start: Start,
    part: Part,
    vb: VarBuilder,
) -> Result<Conv2d> {
    let area = kernel * kernel;
    let (weight, bias) = start.of(part, inputs * area, outputs * area);
    let geometry = Conv2dGeometry::with(1, kernel / 2);
    Conv2d::with_init(inputs, outputs, kernel, geometry, weight, Some(bias), vb)
}

/// A linear layer with bias.
pub(crate) fn linear(
    inputs: usize,
    outputs: usize,
    start: Start,
    vb: VarBuilder,
) -> Result<Linear> {
    let (weight, bias) = start.of(Part::Inner, inputs, outputs);
    Linear::with_init(inputs, outputs, weight, bias, vb)
}

/// What a block does to the size of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resample {
    Keep,
    /// Doubles height and width: each pixel four times.
    Up,
    /// Halves height and width: the mean of 2x2 pixels.
    Down,
}

impl Resample {
    fn apply(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Keep => Ok(x.clone()),
            Self::Up => {
                let (_, _, height, width) = x.dims4()?;
                taper_kernels::resize_nearest2d(x, (2 * height, 2 * width))
            }
            Self::Down => taper_kernels::avg_pool2d(x, &Pool2dGeometry::square(2, 2, 0), false),
        }
    }
}

/// Widths and kind of one block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) resample: Resample,
    pub(crate) attention: bool,
}

/// `y = conv0(resample(silu(norm0(x))))`, conditioned, `conv1(dropout(silu(norm1(y))))`, plus the skip; attention.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    norm0: GroupNorm,
    conv0: Conv2d,
    affine: Linear,
    norm1: GroupNorm,
    conv1: Conv2d,
    skip: Option<Conv2d>,
    attention: Option<Attention>,
    resample: Resample,
    scale_and_shift: bool,
    residual_scale: f64,
    dropout: f64,
}

impl Block {
    pub(crate) fn new(form: Form, style: &Style, paths: &BlockPaths) -> Result<Self> {
        let Form {
            inputs,
            outputs,
            resample,
            attention,
        } = form;
        let (vb, names) = (&paths.residual, paths.names);
        let layer = |inputs, kernel, part, name| {
            conv(inputs, outputs, kernel, style.start, part, vb.pp(name))
        };
        let resampled = resample != Resample::Keep;
        let projects = inputs != outputs || (resampled && style.project_resampled);
        if resampled && style.filter_in_state {
            for name in [names.conv0, names.skip] {
                // Always the mean of 2x2: read for its shape alone.
                let filter = Init::Const(0.25);
                vb.pp(name)
                    .get_with_hints((1, 1, 2, 2), "resample_filter", filter)?;
            }
        }
        let conditions = if style.scale_and_shift { 2 } else { 1 } * outputs;
        let attention = attention
            .then(|| Attention::new(outputs, style, &names.attention, &paths.attention))
            .transpose()?;
        Ok(Self {
            norm0: style.norm(inputs, vb.pp(names.norm0))?,
            conv0: layer(inputs, 3, Part::Inner, names.conv0)?,
            affine: linear(
                style.embedding,
                conditions,
                style.start,
                vb.pp(names.affine),
            )?,
            norm1: style.norm(outputs, vb.pp(names.norm1))?,
            conv1: layer(outputs, 3, Part::Last, names.conv1)?,
            skip: projects
                .then(|| layer(inputs, 1, Part::Inner, names.skip))
                .transpose()?,
            attention,
            resample,
            scale_and_shift: style.scale_and_shift,
            residual_scale: style.residual_scale,
            dropout: style.dropout,
        })
    }

    /// `[batch, inputs, height, width]` and `[batch, embedding]` → `[batch, outputs, height', width']`.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        embedding: &Tensor,
        dropout: &mut Dropout<'_>,
    ) -> Result<Tensor> {
        let y = self.resample.apply(&self.norm0.forward_silu(x)?)?;
        let y = self.conditioned(&self.conv0.forward(&y)?, embedding)?;
        let y = self.conv1.forward(&dropout.apply(&y, self.dropout)?)?;
        let x = taper_kernels::add_scaled(&y, &self.shortcut(x)?, self.residual_scale)?;
        match &self.attention {
            Some(attention) => attention.forward(&x),
            None => Ok(x),
        }
    }

    /// silu of the second norm under the embedding.
    fn conditioned(&self, y: &Tensor, embedding: &Tensor) -> Result<Tensor> {
        let conditions = self.affine.forward(embedding)?;
        if !self.scale_and_shift {
            let shifted = taper_kernels::add_channels(y, &conditions)?;
            return self.norm1.forward_silu(&shifted);
        }
        let conditions = conditions.unsqueeze(D::Minus1)?.unsqueeze(D::Minus1)?;
        let channels = y.dim(1)?;
        let scale = (conditions.narrow(1, 0, channels)? + 1.0)?;
        let shift = conditions.narrow(1, channels, channels)?;
        let y = self.norm1.forward(y)?.broadcast_mul(&scale)?;
        taper_kernels::silu(&y.broadcast_add(&shift)?)
    }

    fn shortcut(&self, x: &Tensor) -> Result<Tensor> {
        match (&self.skip, self.resample) {
            (None, resample) => resample.apply(x),
            // A 1x1 convolution and the copying of pixels commute: convolve the few.
            (Some(skip), Resample::Up) => Resample::Up.apply(&skip.forward(x)?),
            (Some(skip), resample) => skip.forward(&resample.apply(x)?),
        }
    }
}
