//! Wide residual networks: `wrn_16_1` … `wrn_40_2`, `distiller_wrn_10_1`, `distiller_wrn_16_1`.
//!
//! Source: arXiv:1605.07146, as in RepDistiller `models/wrn.py` and karanchahal/distiller
//! `models/wide_resnet/wide_resnet_ab.py` (the same network under other names).

use crate::blocks::{
    ConvInit, IMAGE_CHANNELS, check_positive, conv2d, linear_zero_bias, pooled_head,
};
use crate::{Classifier, Trunk};
use candle_core::{Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use serde::{Deserialize, Serialize};
use taper_kernels::{Activation, BlockView, Conv2dGeometry};
use taper_layers::{BatchNorm2d, Conv2d, Linear, Mode, RunNorm, TrainingRun, init};

/// Channels of the stem, and of the first stage before widening.
const STEM: usize = 16;

/// Whose names the parameters carry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WideResNetNames {
    /// Stages `block1` …, head `fc`.
    #[default]
    Repdistiller,
    /// Stages `layer1` …, head `linear`.
    Distiller,
}

impl WideResNetNames {
    fn stage(self) -> &'static str {
        match self {
            Self::Repdistiller => "block",
            Self::Distiller => "layer",
        }
    }

    /// Path of the last linear layer.
    pub(crate) fn head(self) -> &'static str {
        match self {
            Self::Repdistiller => "fc",
            Self::Distiller => "linear",
        }
    }
}

/// Shape of a [`WideResNet`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WideResNetConfig {
    /// Number of classes.
    pub classes: usize,
    /// Blocks in each of the three stages: (depth - 4) / 6.
    pub blocks: usize,
    /// Factor on the widths 16, 32, 64.
    pub widen: usize,
    /// Whose parameter names.
    #[serde(default)]
    pub names: WideResNetNames,
    /// A 1x1 convolution with bias `transform.{weight,bias}` between the last stage and `bn1`:
    /// what is left of NORM's module after folding, since batch norm and ReLU stand between it
    /// and the linear layer here (arXiv:2305.13803).
    #[serde(default)]
    pub transform: bool,
}

impl WideResNetConfig {
    const fn plain(blocks: usize, widen: usize, names: WideResNetNames, classes: usize) -> Self {
        Self {
            classes,
            blocks,
            widen,
            names,
            transform: false,
        }
    }

    /// Depth 16, width 1.
    pub const fn wrn_16_1(classes: usize) -> Self {
        Self::plain(2, 1, WideResNetNames::Repdistiller, classes)
    }

    /// Depth 16, width 2.
    pub const fn wrn_16_2(classes: usize) -> Self {
        Self::plain(2, 2, WideResNetNames::Repdistiller, classes)
    }

    /// Depth 40, width 1.
    pub const fn wrn_40_1(classes: usize) -> Self {
        Self::plain(6, 1, WideResNetNames::Repdistiller, classes)
    }

    /// Depth 40, width 2.
    pub const fn wrn_40_2(classes: usize) -> Self {
        Self::plain(6, 2, WideResNetNames::Repdistiller, classes)
    }

    /// Depth 10, width 1, names of karanchahal/distiller.
    pub const fn distiller_wrn_10_1(classes: usize) -> Self {
        Self::plain(1, 1, WideResNetNames::Distiller, classes)
    }

    /// Depth 16, width 1, names of karanchahal/distiller.
    pub const fn distiller_wrn_16_1(classes: usize) -> Self {
        Self::plain(2, 1, WideResNetNames::Distiller, classes)
    }
}

/// Batch norm and ReLU before each of two 3x3 convolutions.
#[derive(Debug, Clone)]
struct Block {
    bn1: BatchNorm2d,
    conv1: Conv2d,
    bn2: BatchNorm2d,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl Block {
    fn new(inputs: usize, outputs: usize, stride: usize, vb: VarBuilder) -> Result<Self> {
        let conv = |inputs, kernel, stride, name: &str| {
            let geometry = Conv2dGeometry::with(stride, kernel / 2);
            let shape = (inputs, outputs, kernel);
            conv2d(shape, geometry, ConvInit::FanOut, vb.pp(name))
        };
        Ok(Self {
            bn1: BatchNorm2d::new(inputs, vb.pp("bn1"))?,
            conv1: conv(inputs, 3, stride, "conv1")?,
            bn2: BatchNorm2d::new(outputs, vb.pp("bn2"))?,
            conv2: conv(outputs, 3, 1, "conv2")?,
            shortcut: (inputs != outputs)
                .then(|| conv(inputs, 1, stride, "convShortcut"))
                .transpose()?,
        })
    }

    /// Adds the block to a run, in which `input` has this block's first norm; the number of its sum, whose
    /// norm is `next`.
    fn push<'a>(
        &'a self,
        run: &mut TrainingRun<'a>,
        input: usize,
        next: Option<RunNorm<'a>>,
    ) -> usize {
        let active = BlockView::Normed(input);
        let shortcut = match &self.shortcut {
            Some(shortcut) => BlockView::Raw(run.push(shortcut, active, None, None)),
            None => BlockView::Raw(input),
        };
        let norm = RunNorm::new(&self.bn2, Activation::Relu);
        let y = run.push(&self.conv1, active, None, Some(norm));
        run.push(&self.conv2, BlockView::Normed(y), Some(shortcut), next)
    }

    /// Where the width changes the shortcut starts from relu(bn1(x)), else from x.
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let active = self.bn1.forward_act(x, None, Activation::Relu, mode)?;
        let y = self.conv1.forward(&active)?;
        let y = self.bn2.forward_act(&y, None, Activation::Relu, mode)?;
        let y = self.conv2.forward(&y)?;
        match &self.shortcut {
            Some(shortcut) => shortcut.forward(&active)? + y,
            None => x + y,
        }
    }
}

/// A stage as one operator.
fn train_stage(blocks: &[Block], x: &Tensor) -> Result<Tensor> {
    let Some(first) = blocks.first() else {
        return Ok(x.clone());
    };
    let mut run = TrainingRun::with_input_norm(&first.bn1, Activation::Relu);
    let mut value = 0;
    for (index, block) in blocks.iter().enumerate() {
        let next = blocks.get(index + 1);
        let norm = next.map(|next| RunNorm::new(&next.bn1, Activation::Relu));
        value = block.push(&mut run, value, norm);
    }
    run.forward(x)
}

/// Stem, three stages of pre-activation blocks, `bn1`, ReLU, global mean, linear layer.
#[derive(Debug, Clone)]
pub struct WideResNet {
    stem: Conv2d,
    stages: Vec<Vec<Block>>,
    transform: Option<Conv2d>,
    bn: BatchNorm2d,
    linear: Linear,
    classes: usize,
}

impl WideResNet {
    /// Parameters: `conv1`, `block{1,2,3}.layer.{i}.{bn1,conv1,bn2,conv2,convShortcut}`, `bn1`, `fc`
    /// (or the other [`WideResNetNames`]).
    ///
    /// # Errors
    /// A zero count in `config`, or what `vb` reports.
    pub fn new(config: &WideResNetConfig, vb: VarBuilder) -> Result<Self> {
        check_positive(
            "wide ResNet",
            &[
                ("classes", config.classes),
                ("blocks", config.blocks),
                ("widen", config.widen),
            ],
        )?;
        let mut stages = Vec::with_capacity(3);
        let mut inputs = STEM;
        for (index, stride) in [1, 2, 2].into_iter().enumerate() {
            let outputs = (STEM * config.widen) << index;
            let vb = vb.pp(format!("{}{}", config.names.stage(), index + 1));
            let block = |block: usize| {
                let (inputs, stride) = if block == 0 {
                    (inputs, stride)
                } else {
                    (outputs, 1)
                };
                Block::new(inputs, outputs, stride, vb.pp("layer").pp(block))
            };
            stages.push((0..config.blocks).map(block).collect::<Result<Vec<_>>>()?);
            inputs = outputs;
        }
        // Uniform in ±1/√fan_in, PyTorch's default, with the bias set to 0 as the original does.
        let weight = init::default_uniform(inputs);
        let head = vb.pp(config.names.head());
        Ok(Self {
            stem: conv2d(
                (IMAGE_CHANNELS, STEM, 3),
                Conv2dGeometry::with(1, 1),
                ConvInit::FanOut,
                vb.pp("conv1"),
            )?,
            stages,
            transform: config
                .transform
                .then(|| transform(inputs, vb.pp("transform")))
                .transpose()?,
            bn: BatchNorm2d::new(inputs, vb.pp("bn1"))?,
            linear: linear_zero_bias(inputs, config.classes, weight, head)?,
            classes: config.classes,
        })
    }
}

/// The folded module: a 1x1 convolution with bias.
fn transform(channels: usize, vb: VarBuilder) -> Result<Conv2d> {
    let weight = init::kaiming_normal_fan_out(channels, 1);
    let bias = Some(Init::Const(0.0));
    let geometry = Conv2dGeometry::default();
    Conv2d::with_init(channels, channels, 1, geometry, weight, bias, vb)
}

impl Classifier for WideResNet {
    /// Stages: the bare stem, then each stage before batch norm and ReLU; `last` is the last of them,
    /// before `transform`.
    fn trunk(&self, x: &Tensor, mode: Mode) -> Result<Trunk> {
        let mut last = self.stem.forward(x)?;
        let mut stages = vec![last.clone()];
        for stage in &self.stages {
            last = match mode {
                Mode::Train => train_stage(stage, &last)?,
                Mode::Eval => stage
                    .iter()
                    .try_fold(last, |last, block| block.forward(&last, mode))?,
            };
            stages.push(last.clone());
        }
        Ok(Trunk { stages, last })
    }

    fn head(&self, last: &Tensor, mode: Mode) -> Result<(Tensor, Tensor)> {
        let transformed = match &self.transform {
            Some(transform) => &transform.forward(last)?,
            None => last,
        };
        let active = self
            .bn
            .forward_act(transformed, None, Activation::Relu, mode)?;
        pooled_head(&active, &self.linear)
    }

    fn classes(&self) -> usize {
        self.classes
    }
}
