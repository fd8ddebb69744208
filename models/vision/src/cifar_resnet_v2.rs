//! CIFAR ResNets of four stages: `cifar_resnet18`, `cifar_resnet50`.
//!
//! Not torchvision's: 3x3 stem without stride or pool, keys `shortcut` and `linear`.
//! Source: arXiv:1512.03385 table 1, as in mdistiller `mdistiller/models/cifar/resnetv2.py`.

use crate::blocks::{ConvInit, check_positive, pooled_head};
use crate::residual::{BlockStyle, ResidualTrunk, ShortcutKind};
use crate::{Classifier, Trunk};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};
use taper_layers::{Linear, Mode};

/// Channels of the stem.
const STEM: usize = 64;
/// Widths of the four stages, before a bottleneck's expansion.
const WIDTHS: [usize; 4] = [64, 128, 256, 512];

/// Shape of a [`CifarResNetV2`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CifarResNetV2Config {
    /// Number of classes.
    pub classes: usize,
    /// Blocks in each stage.
    pub blocks: [usize; 4],
    /// Bottlenecks (1x1, 3x3, 1x1) in place of basic blocks.
    pub bottleneck: bool,
}

impl CifarResNetV2Config {
    /// Basic blocks 2, 2, 2, 2.
    pub const fn resnet18(classes: usize) -> Self {
        Self {
            classes,
            blocks: [2, 2, 2, 2],
            bottleneck: false,
        }
    }

    /// Bottlenecks 3, 4, 6, 3.
    pub const fn resnet50(classes: usize) -> Self {
        Self {
            classes,
            blocks: [3, 4, 6, 3],
            bottleneck: true,
        }
    }
}

/// Stem, four stages, global mean, `linear`.
#[derive(Debug, Clone)]
pub struct CifarResNetV2 {
    trunk: ResidualTrunk,
    linear: Linear,
    classes: usize,
}

impl CifarResNetV2 {
    /// Parameters: `conv1`, `bn1`, `layer{1..4}.{i}.{conv{1,2,3},bn{1,2,3},shortcut.{0,1}}`, `linear`.
    ///
    /// # Errors
    /// A zero count in `config`, or what `vb` reports.
    pub fn new(config: &CifarResNetV2Config, vb: VarBuilder) -> Result<Self> {
        check_positive(
            "CIFAR ResNet of four stages",
            &[
                ("classes", config.classes),
                ("blocks", config.blocks.into_iter().min().unwrap_or(0)),
            ],
        )?;
        let style = BlockStyle {
            bottleneck: config.bottleneck,
            shortcut: ShortcutKind::Projection("shortcut"),
            init: ConvInit::FanOut,
            relu_inside: true,
        };
        let stages: Vec<_> = WIDTHS.into_iter().zip(config.blocks).collect();
        let trunk = ResidualTrunk::new(&style, STEM, &stages, &vb)?;
        let linear = Linear::new(trunk.outputs(), config.classes, vb.pp("linear"))?;
        Ok(Self {
            trunk,
            linear,
            classes: config.classes,
        })
    }
}

impl Classifier for CifarResNetV2 {
    fn trunk(&self, x: &Tensor, mode: Mode) -> Result<Trunk> {
        self.trunk.forward(x, mode)
    }

    fn head(&self, last: &Tensor, _mode: Mode) -> Result<(Tensor, Tensor)> {
        pooled_head(last, &self.linear)
    }

    fn classes(&self) -> usize {
        self.classes
    }
}
