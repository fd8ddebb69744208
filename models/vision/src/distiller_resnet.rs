//! CIFAR ResNets with one ReLU a stage: `distiller_resnet8` … `distiller_resnet32`.
//!
//! Source: karanchahal/distiller (arXiv:1912.10850) `models/cifar10/resnet.py`, class `ResNetSmall`.

use crate::blocks::{ConvInit, check_positive};
use crate::residual::{BlockStyle, ResidualTrunk, ShortcutKind};
use crate::{Classifier, Trunk};
use candle_core::{Module, Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};
use taper_kernels::adaptive_avg_pool2d;
use taper_layers::{Linear, Mode};

/// Channels of the stem: wider than the stages.
const STEM: usize = 64;
/// Widths of the three stages.
const WIDTHS: [usize; 3] = [16, 32, 64];
/// Rows and columns that the last pool leaves (4x4 windows over an 8x8 map).
const POOLED: usize = 2;

/// Shape of a [`DistillerResNet`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistillerResNetConfig {
    /// Number of classes.
    pub classes: usize,
    /// Basic blocks in each stage.
    pub blocks: usize,
}

impl DistillerResNetConfig {
    /// One block a stage.
    pub const fn resnet8(classes: usize) -> Self {
        Self { classes, blocks: 1 }
    }

    /// Two blocks a stage.
    pub const fn resnet14(classes: usize) -> Self {
        Self { classes, blocks: 2 }
    }

    /// Three blocks a stage.
    pub const fn resnet20(classes: usize) -> Self {
        Self { classes, blocks: 3 }
    }

    /// Four blocks a stage.
    pub const fn resnet26(classes: usize) -> Self {
        Self { classes, blocks: 4 }
    }

    /// Five blocks a stage.
    pub const fn resnet32(classes: usize) -> Self {
        Self { classes, blocks: 5 }
    }
}

/// Stem, three stages of basic blocks, mean over quarters of the map, `linear`.
#[derive(Debug, Clone)]
pub struct DistillerResNet {
    trunk: ResidualTrunk,
    linear: Linear,
    classes: usize,
}

impl DistillerResNet {
    /// Parameters: `conv1`, `bn1`, `layer{1,2,3}.{i}.{conv1,bn1,conv2,bn2,shortcut.{0,1}}`, `linear`.
    ///
    /// # Errors
    /// A zero count in `config`, or what `vb` reports.
    pub fn new(config: &DistillerResNetConfig, vb: VarBuilder) -> Result<Self> {
        let counts = [("classes", config.classes), ("blocks", config.blocks)];
        check_positive("distiller ResNet", &counts)?;
        let style = BlockStyle {
            bottleneck: false,
            shortcut: ShortcutKind::Projection("shortcut"),
            init: ConvInit::Default,
            relu_inside: false,
        };
        let stages = WIDTHS.map(|width| (width, config.blocks));
        let trunk = ResidualTrunk::new(&style, STEM, &stages, &vb)?;
        let inputs = trunk.outputs() * POOLED * POOLED;
        Ok(Self {
            trunk,
            linear: Linear::new(inputs, config.classes, vb.pp("linear"))?,
            classes: config.classes,
        })
    }
}

impl Classifier for DistillerResNet {
    fn trunk(&self, x: &Tensor, mode: Mode) -> Result<Trunk> {
        self.trunk.forward(x, mode)
    }

    fn head(&self, last: &Tensor, _mode: Mode) -> Result<(Tensor, Tensor)> {
        let embedding = adaptive_avg_pool2d(last, (POOLED, POOLED))?.flatten_from(1)?;
        let logits = self.linear.forward(&embedding)?;
        Ok((embedding, logits))
    }

    fn classes(&self) -> usize {
        self.classes
    }
}
