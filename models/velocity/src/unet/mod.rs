//! The U-Net that SongUNet and ADM have in common: encoder, middle, decoder with skips, heads.

mod attention;
mod block;
mod embedding;
mod names;
mod plan;
mod start;

pub use attention::QkvOrder;
pub(crate) use block::Style;
pub(crate) use names::Dialect;
pub(crate) use plan::Plan;
pub(crate) use start::Start;

use crate::check::{check_class, check_times};
use crate::{Dropout, VelocityNetwork};
use block::Block;
use candle_core::{Module, Result, Tensor};
use embedding::Embedding;
use taper_layers::{Conv2d, GroupNorm};

/// Labels that a forward pass may be conditioned on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Labels<'a> {
    /// `[batch]` `u32`, where and only where the network has classes.
    pub class: Option<&'a Tensor>,
    /// `[batch, augment]` in the type of x: how each image was augmented (EDM, appendix F.2); none means not at all.
    pub augment: Option<&'a Tensor>,
}

/// Norm, SiLU and 3x3 convolution upon the last feature map.
#[derive(Debug, Clone)]
struct Head {
    norm: GroupNorm,
    conv: Conv2d,
}

/// A block of the decoder.
#[derive(Debug, Clone)]
struct DecoderBlock {
    block: Block,
    /// Whether it reads a feature map of the encoder beside the latest one.
    joins: bool,
}

/// A U-Net over images; [`SongUNetConfig`](crate::SongUNetConfig) and [`AdmConfig`](crate::AdmConfig) describe it.
#[derive(Debug, Clone)]
pub struct UNet {
    embedding: Embedding,
    stem: Conv2d,
    encoder: Vec<Block>,
    middle: [Block; 2],
    decoder: Vec<DecoderBlock>,
    heads: Vec<Head>,
    classes: Option<usize>,
    inputs: usize,
    /// Height and width are multiples of this: 2 for each level below the first.
    multiple: usize,
    phi: Option<f64>,
}

impl UNet {
    /// [`VelocityNetwork::forward`], with augmentation labels too.
    ///
    /// # Errors
    /// As there; augmentation labels of another shape, or for a network that has no use for them.
    pub fn forward_labelled(
        &self,
        x: &Tensor,
        t: &Tensor,
        labels: Labels<'_>,
        mut dropout: Dropout<'_>,
    ) -> Result<Vec<Tensor>> {
        self.check(x, labels)?;
        let times = check_times(t, x)?;
        let (class, augment) = (labels.class, labels.augment);
        let embedding = self.embedding.forward(&times, class, augment, x.dtype())?;
        let mut x = self.stem.forward(x)?;
        let mut skips = Vec::with_capacity(1 + self.encoder.len());
        skips.push(x.clone());
        for block in &self.encoder {
            x = block.forward(&x, &embedding, &mut dropout)?;
            skips.push(x.clone());
        }
        for block in &self.middle {
            x = block.forward(&x, &embedding, &mut dropout)?;
        }
        let balance = self.balance(&times);
        for DecoderBlock { block, joins } in &self.decoder {
            if *joins && let Some(skip) = skips.pop() {
                x = taper_kernels::join_channels(&x, &skip, balance.as_deref())?;
            }
            x = block.forward(&x, &embedding, &mut dropout)?;
        }
        self.heads
            .iter()
            .map(|head| head.conv.forward(&head.norm.forward_silu(&x)?))
            .collect()
    }

    fn check(&self, x: &Tensor, labels: Labels<'_>) -> Result<()> {
        check_class(labels.class, self.classes, x)?;
        let (inputs, multiple) = (self.inputs, self.multiple);
        let fits = matches!(*x.dims(), [_, channels, height, width] if channels == inputs
            && height > 0 && height.is_multiple_of(multiple)
            && width > 0 && width.is_multiple_of(multiple));
        if !fits {
            candle_core::bail!(
                "x: found shape {:?}, the network reads [batch, {inputs}, height, width], height and width multiples of {multiple}",
                x.dims()
            );
        }
        match (labels.augment, self.embedding.augment()) {
            (None, _) => Ok(()),
            (Some(labels), Some(width)) if labels.dims() == [x.dim(0)?, width] => Ok(()),
            (Some(labels), Some(width)) => candle_core::bail!(
                "augment: found shape {:?}, the network reads [{}, {width}]",
                labels.dims(),
                x.dim(0)?
            ),
            (Some(_), None) => {
                candle_core::bail!(
                    "augment: the network has no augmentation labels; leave them out"
                )
            }
        }
    }

    /// Factors of the decoder's map and of the skip: 2φ(t) and 2(1 − φ(t)), φ(t) = φ + (1 − 2φ)·t.
    ///
    /// The "shakedrop" of Catch-Up Distillation, which drops nothing.
    fn balance(&self, times: &[f64]) -> Option<Vec<(f64, f64)>> {
        let start = self.phi?;
        let factors = times.iter().map(|t| {
            let phi = start + (1.0 - 2.0 * start) * t;
            (2.0 * phi, 2.0 * (1.0 - phi))
        });
        Some(factors.collect())
    }
}

impl VelocityNetwork for UNet {
    fn heads(&self) -> usize {
        self.heads.len()
    }

    fn classes(&self) -> Option<usize> {
        self.classes
    }

    /// `x` is `[batch, channels, height, width]`.
    fn forward(
        &self,
        x: &Tensor,
        t: &Tensor,
        class: Option<&Tensor>,
        dropout: Dropout<'_>,
    ) -> Result<Vec<Tensor>> {
        let labels = Labels {
            class,
            augment: None,
        };
        self.forward_labelled(x, t, labels, dropout)
    }
}
