//! VGG with batch norm for CIFAR: `vgg8`, `vgg11`, `vgg13`, `vgg16`, `vgg19`.
//!
//! Source: arXiv:1409.1556 table 1 without its large linear layers, as in RepDistiller `models/vgg.py`.

use crate::blocks::{ConvBn, IMAGE_CHANNELS, check_positive, linear_zero_bias, pooled_head};
use crate::{Classifier, Trunk};
use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use serde::{Deserialize, Serialize};
use taper_kernels::{Conv2dGeometry, Pool2dGeometry, max_pool2d};
use taper_layers::{BatchNorm2d, Conv2d, Linear, Mode, init};

/// Widths of the five blocks.
const WIDTHS: [usize; 5] = [64, 128, 256, 512, 512];
/// Standard deviation of the linear layer's initial weight.
const LINEAR_STDEV: f64 = 0.01;
/// Height of an image for which the original pools before its last block too.
const HEIGHT_OF_FOURTH_POOL: usize = 64;
/// Slots that a convolution, its batch norm and its ReLU take in a block's list of modules.
const SLOTS: usize = 3;

/// Shape of a [`Vgg`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VggConfig {
    /// Number of classes.
    pub classes: usize,
    /// Convolutions in each of the five blocks.
    pub convolutions: [usize; 5],
}

impl VggConfig {
    /// One convolution a block.
    pub const fn vgg8(classes: usize) -> Self {
        Self {
            classes,
            convolutions: [1, 1, 1, 1, 1],
        }
    }

    /// Convolutions 1, 1, 2, 2, 2.
    pub const fn vgg11(classes: usize) -> Self {
        Self {
            classes,
            convolutions: [1, 1, 2, 2, 2],
        }
    }

    /// Two convolutions a block.
    pub const fn vgg13(classes: usize) -> Self {
        Self {
            classes,
            convolutions: [2, 2, 2, 2, 2],
        }
    }

    /// Convolutions 2, 2, 3, 3, 3.
    pub const fn vgg16(classes: usize) -> Self {
        Self {
            classes,
            convolutions: [2, 2, 3, 3, 3],
        }
    }

    /// Convolutions 2, 2, 4, 4, 4.
    pub const fn vgg19(classes: usize) -> Self {
        Self {
            classes,
            convolutions: [2, 2, 4, 4, 4],
        }
    }
}

/// Five blocks of 3x3 convolutions with max-pools between, global mean, `classifier`.
#[derive(Debug, Clone)]
pub struct Vgg {
    blocks: Vec<Vec<ConvBn>>,
    classifier: Linear,
    classes: usize,
}

impl Vgg {
    /// Parameters: `block{0..4}.{j}` (convolutions with bias at j = 0, 3, …, batch norms at 1, 4, …), `classifier`.
    ///
    /// # Errors
    /// A zero count in `config`, or what `vb` reports.
    pub fn new(config: &VggConfig, vb: VarBuilder) -> Result<Self> {
        check_positive(
            "VGG",
            &[
                ("classes", config.classes),
                (
                    "convolutions",
                    config.convolutions.into_iter().min().unwrap_or(0),
                ),
            ],
        )?;
        let mut blocks = Vec::with_capacity(WIDTHS.len());
        let mut inputs = IMAGE_CHANNELS;
        for (index, (width, count)) in WIDTHS.into_iter().zip(config.convolutions).enumerate() {
            let vb = vb.pp(format!("block{index}"));
            let mut block = Vec::with_capacity(count);
            for convolution in 0..count {
                block.push(unit(inputs, width, convolution * SLOTS, &vb)?);
                inputs = width;
            }
            blocks.push(block);
        }
        let weight = init::normal(LINEAR_STDEV);
        let head = vb.pp("classifier");
        Ok(Self {
            blocks,
            classifier: linear_zero_bias(inputs, config.classes, weight, head)?,
            classes: config.classes,
        })
    }
}

/// A convolution with bias at `slot` and its batch norm at the next.
fn unit(inputs: usize, outputs: usize, slot: usize, vb: &VarBuilder) -> Result<ConvBn> {
    let conv = Conv2d::with_init(
        inputs,
        outputs,
        3,
        Conv2dGeometry::with(1, 1),
        init::kaiming_normal_fan_out(outputs, 3),
        Some(Init::Const(0.0)),
        vb.pp(slot),
    )?;
    let bn = BatchNorm2d::new(outputs, vb.pp(slot + 1))?;
    Ok(ConvBn::from_parts(conv, bn))
}

impl Classifier for Vgg {
    /// Stages: each block after its last ReLU; `last` is the fifth.
    fn trunk(&self, x: &Tensor, mode: Mode) -> Result<Trunk> {
        let halve = Pool2dGeometry::square(2, 2, 0);
        let height = x.dim(2)?;
        let mut last = x.clone();
        let mut stages = Vec::with_capacity(self.blocks.len());
        for (index, block) in self.blocks.iter().enumerate() {
            if (1..4).contains(&index) || index == 4 && height == HEIGHT_OF_FOURTH_POOL {
                last = max_pool2d(&last, &halve)?;
            }
            for unit in block {
                last = unit.relu(&last, mode)?;
            }
            stages.push(last.clone());
        }
        Ok(Trunk { stages, last })
    }

    fn head(&self, last: &Tensor, _mode: Mode) -> Result<(Tensor, Tensor)> {
        pooled_head(last, &self.classifier)
    }

    fn classes(&self) -> usize {
        self.classes
    }
}
