//! CIFAR ResNets with parameter-free shortcuts: `akamaster_resnet20` … `akamaster_resnet56`.
//!
//! Source: arXiv:1512.03385 §4.2 with option A, as in akamaster/pytorch_resnet_cifar10 `resnet.py`.

use crate::blocks::{ConvInit, check_positive, pooled_head};
use crate::residual::{BlockStyle, ResidualTrunk, ShortcutKind};
use crate::{Classifier, Trunk};
use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use serde::{Deserialize, Serialize};
use taper_layers::{Linear, Mode, init};

/// Channels of the stem.
const STEM: usize = 16;
/// Widths of the three stages.
const WIDTHS: [usize; 3] = [16, 32, 64];

/// Shape of an [`AkamasterResNet`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AkamasterResNetConfig {
    /// Number of classes.
    pub classes: usize,
    /// Basic blocks in each stage.
    pub blocks: usize,
}

impl AkamasterResNetConfig {
    /// Three blocks a stage.
    pub const fn resnet20(classes: usize) -> Self {
        Self { classes, blocks: 3 }
    }

    /// Five blocks a stage.
    pub const fn resnet32(classes: usize) -> Self {
        Self { classes, blocks: 5 }
    }

    /// Seven blocks a stage.
    pub const fn resnet44(classes: usize) -> Self {
        Self { classes, blocks: 7 }
    }

    /// Nine blocks a stage.
    pub const fn resnet56(classes: usize) -> Self {
        Self { classes, blocks: 9 }
    }
}

/// Stem, three stages of basic blocks with shortcut A, global mean, `linear`.
#[derive(Debug, Clone)]
pub struct AkamasterResNet {
    trunk: ResidualTrunk,
    linear: Linear,
    classes: usize,
}

impl AkamasterResNet {
    /// Parameters: `conv1`, `bn1`, `layer{1,2,3}.{i}.{conv1,bn1,conv2,bn2}`, `linear`.
    ///
    /// # Errors
    /// A zero count in `config`, or what `vb` reports.
    pub fn new(config: &AkamasterResNetConfig, vb: VarBuilder) -> Result<Self> {
        let counts = [("classes", config.classes), ("blocks", config.blocks)];
        check_positive("akamaster ResNet", &counts)?;
        let style = BlockStyle {
            bottleneck: false,
            shortcut: ShortcutKind::Padding,
            init: ConvInit::FanIn,
            relu_inside: true,
        };
        let stages = WIDTHS.map(|width| (width, config.blocks));
        let trunk = ResidualTrunk::new(&style, STEM, &stages, &vb)?;
        let inputs = trunk.outputs();
        // The original's `kaiming_normal_` also covers the linear layer's weight, not its bias.
        let weight = init::normal((2.0 / inputs as f64).sqrt());
        let bias: Init = init::default_uniform(inputs);
        let vb = vb.pp("linear");
        Ok(Self {
            trunk,
            linear: Linear::with_init(inputs, config.classes, weight, bias, vb)?,
            classes: config.classes,
        })
    }
}

impl Classifier for AkamasterResNet {
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
