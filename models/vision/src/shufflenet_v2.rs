//! ShuffleNetV2 for CIFAR: `cifar_shufflenetv2`.
//!
//! Source: arXiv:1807.11164, as in RepDistiller `models/ShuffleNetv2.py`.

use crate::blocks::{
    ConvBn, ConvInit, IMAGE_CHANNELS, chain, check_positive, interleave, pooled_head,
};
use crate::{Classifier, Trunk};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};
use taper_kernels::{Activation, Conv2dGeometry};
use taper_layers::{Linear, Mode};

/// Channels of the stem.
const STEM: usize = 24;

/// Shape of a [`ShuffleNetV2`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShuffleNetV2Config {
    /// Number of classes.
    pub classes: usize,
    /// Channels of the three stages, even.
    pub widths: [usize; 3],
    /// Blocks in each stage after the one that halves the map.
    pub blocks: [usize; 3],
    /// Channels of the last 1x1 convolution.
    pub last: usize,
}

impl ShuffleNetV2Config {
    /// The paper's 1x: stages of 116, 232, 464 channels.
    pub const fn x1_0(classes: usize) -> Self {
        Self {
            classes,
            widths: [116, 232, 464],
            blocks: [3, 7, 3],
            last: 1024,
        }
    }
}

fn unit(
    shape: (usize, usize, usize),
    geometry: Conv2dGeometry,
    index: usize,
    vb: &VarBuilder,
) -> Result<ConvBn> {
    let names = (format!("conv{index}"), format!("bn{index}"));
    ConvBn::new(shape, geometry, ConvInit::Default, vb, names)
}

/// 1x1 with ReLU, depthwise 3x3 without, 1x1 with: the branch that both kinds of block have.
#[derive(Debug, Clone)]
struct Branch {
    first: ConvBn,
    depthwise: ConvBn,
    last: ConvBn,
}

impl Branch {
    /// Parts numbered from `index`.
    fn new(
        (inputs, outputs, stride): (usize, usize, usize),
        index: usize,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let pointwise = Conv2dGeometry::default();
        let depthwise = Conv2dGeometry::with(stride, 1).grouped(outputs);
        Ok(Self {
            first: unit((inputs, outputs, 1), pointwise, index, vb)?,
            depthwise: unit((outputs, outputs, 3), depthwise, index + 1, vb)?,
            last: unit((outputs, outputs, 1), pointwise, index + 2, vb)?,
        })
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let units = [
            (&self.first, Activation::Relu),
            (&self.depthwise, Activation::None),
            (&self.last, Activation::Relu),
        ];
        chain(&units, x, mode)
    }
}

/// Both halves of the output come from the whole input, at half the resolution.
#[derive(Debug, Clone)]
struct DownBlock {
    left_depthwise: ConvBn,
    left_pointwise: ConvBn,
    right: Branch,
}

impl DownBlock {
    fn new(inputs: usize, outputs: usize, vb: VarBuilder) -> Result<Self> {
        let half = outputs / 2;
        let depthwise = Conv2dGeometry::with(2, 1).grouped(inputs);
        let pointwise = Conv2dGeometry::default();
        Ok(Self {
            left_depthwise: unit((inputs, inputs, 3), depthwise, 1, &vb)?,
            left_pointwise: unit((inputs, half, 1), pointwise, 2, &vb)?,
            right: Branch::new((inputs, half, 2), 3, &vb)?,
        })
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let units = [
            (&self.left_depthwise, Activation::None),
            (&self.left_pointwise, Activation::Relu),
        ];
        let left = chain(&units, x, mode)?;
        interleave(&left, &self.right.forward(x, mode)?)
    }
}

/// The first half of the channels passes as it is, the second goes through the branch.
#[derive(Debug, Clone)]
struct SplitBlock(Branch);

impl SplitBlock {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let half = x.dim(1)? / 2;
        let kept = x.narrow(1, 0, half)?;
        let moved = x.narrow(1, half, half)?.contiguous()?;
        interleave(&kept, &self.0.forward(&moved, mode)?)
    }
}

#[derive(Debug, Clone)]
struct Stage {
    down: DownBlock,
    blocks: Vec<SplitBlock>,
}

impl Stage {
    fn new(inputs: usize, width: usize, blocks: usize, vb: VarBuilder) -> Result<Self> {
        let half = width / 2;
        let block = |index: usize| {
            let vb = vb.pp(index + 1);
            Ok(SplitBlock(Branch::new((half, half, 1), 1, &vb)?))
        };
        Ok(Self {
            down: DownBlock::new(inputs, width, vb.pp(0))?,
            blocks: (0..blocks).map(block).collect::<Result<_>>()?,
        })
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let x = self.down.forward(x, mode)?;
        self.blocks
            .iter()
            .try_fold(x, |x, block| block.forward(&x, mode))
    }
}

/// 1x1 stem, three stages, 1x1 convolution, global mean, `linear`.
#[derive(Debug, Clone)]
pub struct ShuffleNetV2 {
    stem: ConvBn,
    stages: Vec<Stage>,
    last: ConvBn,
    linear: Linear,
    classes: usize,
}

impl ShuffleNetV2 {
    /// Parameters: `conv1`, `bn1`, `layer{s}.0.{conv,bn}{1..5}`, `layer{s}.{i}.{conv,bn}{1,2,3}`, `conv2`, `bn2`, `linear`.
    ///
    /// # Errors
    /// A zero count or an odd width in `config`, or what `vb` reports.
    pub fn new(config: &ShuffleNetV2Config, vb: VarBuilder) -> Result<Self> {
        let smallest = config.widths.into_iter().min().unwrap_or(0);
        check_positive(
            "ShuffleNetV2",
            &[
                ("classes", config.classes),
                ("widths", smallest),
                ("last", config.last),
            ],
        )?;
        if let Some(odd) = config.widths.into_iter().find(|width| width % 2 == 1) {
            candle_core::bail!("ShuffleNetV2: `widths` must be even, found {odd}");
        }
        let pointwise = Conv2dGeometry::default();
        let mut inputs = STEM;
        let mut stages = Vec::with_capacity(config.widths.len());
        for (index, (width, blocks)) in config.widths.into_iter().zip(config.blocks).enumerate() {
            let vb = vb.pp(format!("layer{}", index + 1));
            stages.push(Stage::new(inputs, width, blocks, vb)?);
            inputs = width;
        }
        Ok(Self {
            stem: unit((IMAGE_CHANNELS, STEM, 1), pointwise, 1, &vb)?,
            stages,
            last: unit((inputs, config.last, 1), pointwise, 2, &vb)?,
            linear: Linear::new(config.last, config.classes, vb.pp("linear"))?,
            classes: config.classes,
        })
    }
}

impl Classifier for ShuffleNetV2 {
    /// Stages: stem and the three stages; `last` is the 1x1 convolution's output after its ReLU.
    fn trunk(&self, x: &Tensor, mode: Mode) -> Result<Trunk> {
        let mut y = self.stem.relu(x, mode)?;
        let mut stages = vec![y.clone()];
        for stage in &self.stages {
            y = stage.forward(&y, mode)?;
            stages.push(y.clone());
        }
        let last = self.last.relu(&y, mode)?;
        Ok(Trunk { stages, last })
    }

    fn head(&self, last: &Tensor, _mode: Mode) -> Result<(Tensor, Tensor)> {
        pooled_head(last, &self.linear)
    }

    fn classes(&self) -> usize {
        self.classes
    }
}
