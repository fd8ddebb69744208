//! MobileNetV2 for CIFAR, half as wide: `cifar_mobilenetv2`.
//!
//! Source: arXiv:1801.04381 with plain ReLU, as in RepDistiller `models/mobilenetv2.py`.

use crate::blocks::{
    ConvBn, ConvInit, IMAGE_CHANNELS, check_positive, linear_zero_bias, pooled_head,
};
use crate::{Classifier, Trunk};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};
use taper_kernels::{Activation, BlockView, Conv2dGeometry};
use taper_layers::{Linear, Mode, TrainingRun, init};

/// Channels of the stem at width 1.
const STEM: usize = 32;
/// Channels of the last 1x1 convolution, whatever the width up to 1.
const LAST: usize = 1280;
/// Standard deviation of the linear layer's initial weight.
const LINEAR_STDEV: f64 = 0.01;
/// Groups of blocks after which the original takes a feature; the last is the last group.
const TAPS: [usize; 4] = [1, 2, 4, 6];

/// One row of the paper's table 2: channels at width 1, blocks, stride of the first block.
struct Group {
    channels: usize,
    blocks: usize,
    stride: usize,
}

const fn group(channels: usize, blocks: usize, stride: usize) -> Group {
    Group {
        channels,
        blocks,
        stride,
    }
}

/// The groups of blocks; the first expands by 1, the others by the configured factor.
/// The 24-channel group keeps the resolution here: images have 32 pixels, not 224.
const GROUPS: [Group; 7] = [
    group(16, 1, 1),
    group(24, 2, 1),
    group(32, 3, 2),
    group(64, 4, 2),
    group(96, 3, 1),
    group(160, 3, 2),
    group(320, 1, 1),
];

/// Shape of a [`MobileNetV2`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MobileNetV2Config {
    /// Number of classes.
    pub classes: usize,
    /// Factor by which a block widens inside (the first group's is 1).
    pub expansion: usize,
    /// Factor on all widths but the last, truncated to whole channels.
    pub width: f64,
    /// Whether ReLU follows the last 1x1 convolution. NORM's student has none there
    /// (arXiv:2305.13803, official code), so its merged form sets this to false.
    #[serde(default = "yes")]
    pub final_relu: bool,
}

const fn yes() -> bool {
    true
}

impl MobileNetV2Config {
    /// Expansion 6, width 0.5.
    pub const fn half(classes: usize) -> Self {
        Self {
            classes,
            expansion: 6,
            width: 0.5,
            final_relu: true,
        }
    }

    fn channels(&self, at_width_1: usize) -> usize {
        (at_width_1 as f64 * self.width) as usize
    }

    fn last(&self) -> usize {
        if self.width > 1.0 {
            self.channels(LAST)
        } else {
            LAST
        }
    }
}

/// 1x1 expansion, depthwise 3x3, 1x1 projection without activation.
#[derive(Debug, Clone)]
struct InvertedResidual {
    expand: ConvBn,
    depthwise: ConvBn,
    project: ConvBn,
    residual: bool,
}

impl InvertedResidual {
    fn new(
        (inputs, outputs, stride): (usize, usize, usize),
        expansion: usize,
        vb: VarBuilder,
    ) -> Result<Self> {
        let vb = vb.pp("conv");
        let inner = inputs * expansion;
        let pointwise = Conv2dGeometry::default();
        let depthwise = Conv2dGeometry::with(stride, 1).grouped(inner);
        let unit = |shape, geometry, slot: usize| {
            ConvBn::new(shape, geometry, ConvInit::FanOut, &vb, (slot, slot + 1))
        };
        Ok(Self {
            expand: unit((inputs, inner, 1), pointwise, 0)?,
            depthwise: unit((inner, inner, 3), depthwise, 3)?,
            project: unit((inner, outputs, 1), pointwise, 6)?,
            residual: stride == 1 && inputs == outputs,
        })
    }

    /// Adds the block to a run.
    fn push<'a>(&'a self, run: &mut TrainingRun<'a>, input: BlockView) -> BlockView {
        let y = self.expand.push(run, input, None, Activation::Relu);
        let y = self.depthwise.push(run, y, None, Activation::Relu);
        let residual = self.residual.then_some(input);
        self.project.push(run, y, residual, Activation::None)
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let y = self.expand.relu(x, mode)?;
        let y = self.depthwise.relu(&y, mode)?;
        let residual = self.residual.then_some(x);
        self.project.forward(&y, residual, Activation::None, mode)
    }
}

/// Stem, seven groups of inverted residuals, 1x1 convolution, global mean, `classifier.0`.
#[derive(Debug, Clone)]
pub struct MobileNetV2 {
    stem: ConvBn,
    groups: Vec<Vec<InvertedResidual>>,
    last: ConvBn,
    last_activation: Activation,
    classifier: Linear,
    classes: usize,
}

impl MobileNetV2 {
    /// Parameters: `conv1.{0,1}`, `blocks.{s}.{i}.conv.{0,1,3,4,6,7}`, `conv2.{0,1}`, `classifier.0`.
    ///
    /// # Errors
    /// A zero count in `config`, or what `vb` reports.
    pub fn new(config: &MobileNetV2Config, vb: VarBuilder) -> Result<Self> {
        let stem = config.channels(STEM);
        check_positive(
            "MobileNetV2",
            &[
                ("classes", config.classes),
                ("expansion", config.expansion),
                ("width × 16", config.channels(GROUPS[0].channels)),
            ],
        )?;
        let unit = |shape: (usize, usize, usize), stride, name: &str| {
            let geometry = Conv2dGeometry::with(stride, shape.2 / 2);
            ConvBn::new(shape, geometry, ConvInit::FanOut, &vb.pp(name), (0, 1))
        };
        let mut inputs = stem;
        let mut groups = Vec::with_capacity(GROUPS.len());
        for (index, group) in GROUPS.iter().enumerate() {
            let expansion = if index == 0 { 1 } else { config.expansion };
            let outputs = config.channels(group.channels);
            let mut blocks = Vec::with_capacity(group.blocks);
            for block in 0..group.blocks {
                let stride = if block == 0 { group.stride } else { 1 };
                let vb = vb.pp("blocks").pp(index).pp(block);
                let shape = (inputs, outputs, stride);
                blocks.push(InvertedResidual::new(shape, expansion, vb)?);
                inputs = outputs;
            }
            groups.push(blocks);
        }
        let last = config.last();
        let weight = init::normal(LINEAR_STDEV);
        let head = vb.pp("classifier").pp(0);
        Ok(Self {
            stem: unit((IMAGE_CHANNELS, stem, 3), 2, "conv1")?,
            groups,
            last: unit((inputs, last, 1), 1, "conv2")?,
            last_activation: if config.final_relu {
                Activation::Relu
            } else {
                Activation::None
            },
            classifier: linear_zero_bias(last, config.classes, weight, head)?,
            classes: config.classes,
        })
    }
}

impl Classifier for MobileNetV2 {
    /// Stages: stem, then the outputs of groups 1, 2, 4, 6; `last` is the 1x1 convolution's output.
    fn trunk(&self, x: &Tensor, mode: Mode) -> Result<Trunk> {
        let mut y = self.stem.relu(x, mode)?;
        let mut stages = vec![y.clone()];
        let mut first = 0;
        for tap in TAPS {
            let mut blocks = self.groups[first..=tap].iter().flatten();
            first = tap + 1;
            y = match mode {
                Mode::Train => {
                    let mut run = TrainingRun::new();
                    blocks.fold(BlockView::Raw(0), |view, block| block.push(&mut run, view));
                    run.forward(&y)?
                }
                Mode::Eval => blocks.try_fold(y, |y, block| block.forward(&y, mode))?,
            };
            stages.push(y.clone());
        }
        let last = self.last.forward(&y, None, self.last_activation, mode)?;
        Ok(Trunk { stages, last })
    }

    fn head(&self, last: &Tensor, _mode: Mode) -> Result<(Tensor, Tensor)> {
        pooled_head(last, &self.classifier)
    }

    fn classes(&self) -> usize {
        self.classes
    }
}
