//! CIFAR ResNets of three stages: `resnet8` … `resnet110`, `resnet8x4`, `resnet32x4`.
//!
//! Source: arXiv:1512.03385 §4.2 with projections (option B), as in RepDistiller `models/resnet.py`.

use crate::blocks::{ConvInit, check_positive, pooled_head};
use crate::residual::{BlockStyle, ResidualTrunk, ShortcutKind};
use crate::{Classifier, Trunk};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};
use taper_layers::{Linear, Mode};

/// Widths of the stem and the three stages of the plain networks.
const WIDTHS: [usize; 4] = [16, 16, 32, 64];
/// Widths of the "x4" networks: the stem is twice as wide, the stages four times.
const WIDTHS_X4: [usize; 4] = [32, 64, 128, 256];

/// Shape of a [`CifarResNet`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CifarResNetConfig {
    /// Number of classes.
    pub classes: usize,
    /// Channels of the stem and of the three stages.
    pub widths: [usize; 4],
    /// Basic blocks in each stage.
    pub blocks: usize,
}

impl CifarResNetConfig {
    const fn plain(blocks: usize, classes: usize) -> Self {
        Self {
            classes,
            widths: WIDTHS,
            blocks,
        }
    }

    const fn wide(blocks: usize, classes: usize) -> Self {
        Self {
            classes,
            widths: WIDTHS_X4,
            blocks,
        }
    }

    /// One block a stage.
    pub const fn resnet8(classes: usize) -> Self {
        Self::plain(1, classes)
    }

    /// Two blocks a stage.
    pub const fn resnet14(classes: usize) -> Self {
        Self::plain(2, classes)
    }

    /// Three blocks a stage.
    pub const fn resnet20(classes: usize) -> Self {
        Self::plain(3, classes)
    }

    /// Five blocks a stage.
    pub const fn resnet32(classes: usize) -> Self {
        Self::plain(5, classes)
    }

    /// Seven blocks a stage.
    pub const fn resnet44(classes: usize) -> Self {
        Self::plain(7, classes)
    }

    /// Nine blocks a stage.
    pub const fn resnet56(classes: usize) -> Self {
        Self::plain(9, classes)
    }

    /// Eighteen blocks a stage.
    pub const fn resnet110(classes: usize) -> Self {
        Self::plain(18, classes)
    }

    /// One block a stage, four times as wide.
    pub const fn resnet8x4(classes: usize) -> Self {
        Self::wide(1, classes)
    }

    /// Five blocks a stage, four times as wide.
    pub const fn resnet32x4(classes: usize) -> Self {
        Self::wide(5, classes)
    }
}

/// Stem, three stages of basic blocks, global mean, `fc`.
#[derive(Debug, Clone)]
pub struct CifarResNet {
    trunk: ResidualTrunk,
    fc: Linear,
    classes: usize,
}

impl CifarResNet {
    /// Parameters: `conv1`, `bn1`, `layer{1,2,3}.{i}.{conv1,bn1,conv2,bn2,downsample.{0,1}}`, `fc`.
    ///
    /// # Errors
    /// A zero count in `config`, or what `vb` reports.
    pub fn new(config: &CifarResNetConfig, vb: VarBuilder) -> Result<Self> {
        let [stem, width1, width2, width3] = config.widths;
        let blocks = config.blocks;
        check_positive(
            "CIFAR ResNet",
            &[
                ("classes", config.classes),
                ("blocks", blocks),
                ("widths", config.widths.into_iter().min().unwrap_or(0)),
            ],
        )?;
        let style = BlockStyle {
            bottleneck: false,
            shortcut: ShortcutKind::Projection("downsample"),
            init: ConvInit::FanOut,
            relu_inside: true,
        };
        let stages = [(width1, blocks), (width2, blocks), (width3, blocks)];
        Ok(Self {
            trunk: ResidualTrunk::new(&style, stem, &stages, &vb)?,
            fc: Linear::new(width3, config.classes, vb.pp("fc"))?,
            classes: config.classes,
        })
    }
}

impl Classifier for CifarResNet {
    fn trunk(&self, x: &Tensor, mode: Mode) -> Result<Trunk> {
        self.trunk.forward(x, mode)
    }

    fn head(&self, last: &Tensor, _mode: Mode) -> Result<(Tensor, Tensor)> {
        pooled_head(last, &self.fc)
    }

    fn classes(&self) -> usize {
        self.classes
    }
}
