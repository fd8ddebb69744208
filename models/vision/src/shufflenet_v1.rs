//! ShuffleNet for CIFAR, three groups: `cifar_shufflenetv1`.
//!
//! Source: arXiv:1707.01083, as in RepDistiller `models/ShuffleNetv1.py`.

use crate::blocks::{
    ConvBn, ConvInit, IMAGE_CHANNELS, channel_shuffle, check_positive, pooled_head,
};
use crate::{Classifier, Trunk};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};
use taper_kernels::{Activation, Conv2dGeometry, Pool2dGeometry, avg_pool2d};
use taper_layers::{Linear, Mode};

/// Channels of the stem.
const STEM: usize = 24;
/// A bottleneck's inner width is its output's over this.
const REDUCTION: usize = 4;

/// Shape of a [`ShuffleNetV1`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShuffleNetV1Config {
    /// Number of classes.
    pub classes: usize,
    /// Channels of the three stages.
    pub widths: [usize; 3],
    /// Blocks in each stage.
    pub blocks: [usize; 3],
    /// Groups of the 1x1 convolutions.
    pub groups: usize,
}

impl ShuffleNetV1Config {
    /// Three groups; stages of 240, 480, 960 channels.
    pub const fn three_groups(classes: usize) -> Self {
        Self {
            classes,
            widths: [240, 480, 960],
            blocks: [4, 8, 4],
            groups: 3,
        }
    }
}

/// Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1; added to its input, or put beside its pooled input.
#[derive(Debug, Clone)]
struct Block {
    reduce: ConvBn,
    shuffle_groups: usize,
    depthwise: ConvBn,
    expand: ConvBn,
    downsamples: bool,
}

impl Block {
    /// `outputs` counts the channels that the convolutions make, without the pooled input's.
    fn new(
        (inputs, outputs): (usize, usize),
        downsamples: bool,
        groups: usize,
        vb: VarBuilder,
    ) -> Result<Self> {
        let middle = outputs / REDUCTION;
        // Few input channels: the first 1x1 convolution is not grouped, and so nothing is shuffled.
        let first_groups = if inputs == STEM { 1 } else { groups };
        let stride = if downsamples { 2 } else { 1 };
        let pointwise = |groups| Conv2dGeometry::default().grouped(groups);
        let depthwise = Conv2dGeometry::with(stride, 1).grouped(middle);
        let unit = |shape, geometry, conv, bn| {
            ConvBn::new(shape, geometry, ConvInit::Default, &vb, (conv, bn))
        };
        Ok(Self {
            reduce: unit((inputs, middle, 1), pointwise(first_groups), "conv1", "bn1")?,
            shuffle_groups: first_groups,
            depthwise: unit((middle, middle, 3), depthwise, "conv2", "bn2")?,
            expand: unit((middle, outputs, 1), pointwise(groups), "conv3", "bn3")?,
            downsamples,
        })
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let y = channel_shuffle(&self.reduce.relu(x, mode)?, self.shuffle_groups)?;
        let y = self.depthwise.relu(&y, mode)?;
        if !self.downsamples {
            return self.expand.forward(&y, Some(x), Activation::Relu, mode);
        }
        // Every block reads the output of a ReLU, so the pooled input needs none of its own.
        let pooled = avg_pool2d(x, &Pool2dGeometry::square(3, 2, 1), true)?;
        Tensor::cat(&[self.expand.relu(&y, mode)?, pooled], 1)
    }
}

/// 1x1 stem, three stages, global mean, `linear`.
#[derive(Debug, Clone)]
pub struct ShuffleNetV1 {
    stem: ConvBn,
    stages: Vec<Vec<Block>>,
    linear: Linear,
    classes: usize,
}

impl ShuffleNetV1 {
    /// Parameters: `conv1`, `bn1`, `layer{1,2,3}.{i}.{conv{1,2,3},bn{1,2,3}}`, `linear`.
    ///
    /// # Errors
    /// A count in `config` that is zero, a width that does not leave whole groups, or what `vb` reports.
    pub fn new(config: &ShuffleNetV1Config, vb: VarBuilder) -> Result<Self> {
        check_positive(
            "ShuffleNetV1",
            &[
                ("classes", config.classes),
                ("groups", config.groups),
                ("blocks", config.blocks.into_iter().min().unwrap_or(0)),
            ],
        )?;
        let mut inputs = STEM;
        let mut stages = Vec::with_capacity(config.widths.len());
        for (index, (width, blocks)) in config.widths.into_iter().zip(config.blocks).enumerate() {
            let Some(made) = width.checked_sub(inputs).filter(|&made| made >= REDUCTION) else {
                candle_core::bail!(
                    "ShuffleNetV1: `widths` must grow from stage to stage, found {width} after {inputs}"
                );
            };
            let vb = vb.pp(format!("layer{}", index + 1));
            let block = |block: usize| {
                let (shape, first) = if block == 0 {
                    ((inputs, made), true)
                } else {
                    ((width, width), false)
                };
                Block::new(shape, first, config.groups, vb.pp(block))
            };
            stages.push((0..blocks).map(block).collect::<Result<Vec<_>>>()?);
            inputs = width;
        }
        Ok(Self {
            stem: ConvBn::new(
                (IMAGE_CHANNELS, STEM, 1),
                Conv2dGeometry::default(),
                ConvInit::Default,
                &vb,
                ("conv1", "bn1"),
            )?,
            stages,
            linear: Linear::new(inputs, config.classes, vb.pp("linear"))?,
            classes: config.classes,
        })
    }
}

impl Classifier for ShuffleNetV1 {
    /// Stages: stem and the three stages, all after ReLU; `last` is the last of them.
    fn trunk(&self, x: &Tensor, mode: Mode) -> Result<Trunk> {
        let mut last = self.stem.relu(x, mode)?;
        let mut stages = vec![last.clone()];
        for stage in &self.stages {
            for block in stage {
                last = block.forward(&last, mode)?;
            }
            stages.push(last.clone());
        }
        Ok(Trunk { stages, last })
    }

    fn head(&self, last: &Tensor, _mode: Mode) -> Result<(Tensor, Tensor)> {
        pooled_head(last, &self.linear)
    }

    fn classes(&self) -> usize {
        self.classes
    }
}
