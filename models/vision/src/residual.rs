//! Residual blocks and stages of blocks, under the names of the original at hand.

use crate::blocks::{ConvBn, ConvInit};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use taper_kernels::{Activation, BlockView, Conv2dGeometry, Pool2dGeometry, avg_pool2d};
use taper_layers::{Mode, TrainingRun};

/// How a block's input reaches its sum where the shape changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShortcutKind {
    /// 1x1 convolution and batch norm at `NAME.0` and `NAME.1`.
    Projection(&'static str),
    /// Option A of arXiv:1512.03385 §4.2: every second pixel, zero channels on both sides.
    Padding,
}

#[derive(Debug, Clone)]
enum Shortcut {
    Identity,
    Projection(ConvBn),
    Padding { stride: usize, channels: usize },
}

impl Shortcut {
    fn new(
        kind: ShortcutKind,
        (inputs, outputs, stride): (usize, usize, usize),
        init: ConvInit,
        vb: &VarBuilder,
    ) -> Result<Self> {
        if stride == 1 && inputs == outputs {
            return Ok(Self::Identity);
        }
        match kind {
            ShortcutKind::Projection(name) => {
                let geometry = Conv2dGeometry::with(stride, 0);
                let shape = (inputs, outputs, 1);
                let unit = ConvBn::new(shape, geometry, init, &vb.pp(name), (0, 1))?;
                Ok(Self::Projection(unit))
            }
            ShortcutKind::Padding => Ok(Self::Padding {
                stride,
                channels: (outputs - inputs) / 2,
            }),
        }
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        match self {
            Self::Identity => Ok(x.clone()),
            Self::Projection(unit) => unit.plain(x, mode),
            Self::Padding { stride, channels } => {
                // The mean over a window of one pixel is that pixel.
                let every_other = Pool2dGeometry::square(1, *stride, 0);
                avg_pool2d(x, &every_other, true)?.pad_with_zeros(1, *channels, *channels)
            }
        }
    }
}

/// Two or three convolutions, and the ReLU after the sum (or its absence).
#[derive(Debug, Clone)]
pub(crate) struct Block {
    inner: Vec<ConvBn>,
    last: ConvBn,
    shortcut: Shortcut,
    activation: Activation,
}

/// What all blocks of a network have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockStyle {
    /// Three convolutions (1x1, 3x3 with the stride, 1x1 to four times the width) in place of two 3x3.
    pub(crate) bottleneck: bool,
    pub(crate) shortcut: ShortcutKind,
    pub(crate) init: ConvInit,
    /// Whether ReLU follows every sum, or the last one of a stage only.
    pub(crate) relu_inside: bool,
}

/// Output channels of a bottleneck over its width (arXiv:1512.03385 §4.1).
pub(crate) const BOTTLENECK_EXPANSION: usize = 4;

impl BlockStyle {
    /// Channels that come out of a block of this width.
    pub(crate) fn outputs(&self, width: usize) -> usize {
        if self.bottleneck {
            width * BOTTLENECK_EXPANSION
        } else {
            width
        }
    }

    /// (inputs, outputs, kernel, stride) of each convolution.
    fn convolutions(
        &self,
        inputs: usize,
        width: usize,
        stride: usize,
    ) -> Vec<(usize, usize, usize, usize)> {
        if self.bottleneck {
            let outputs = self.outputs(width);
            vec![
                (inputs, width, 1, 1),
                (width, width, 3, stride),
                (width, outputs, 1, 1),
            ]
        } else {
            vec![(inputs, width, 3, stride), (width, width, 3, 1)]
        }
    }
}

impl Block {
    /// Parts at `conv1`, `bn1`, `conv2`, …, and the shortcut's.
    fn new(
        style: &BlockStyle,
        (inputs, width, stride): (usize, usize, usize),
        activation: Activation,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let unit = |(index, (inputs, outputs, kernel, stride)): (usize, _)| {
            let geometry = Conv2dGeometry::with(stride, kernel / 2);
            let names = (format!("conv{}", index + 1), format!("bn{}", index + 1));
            ConvBn::new((inputs, outputs, kernel), geometry, style.init, vb, names)
        };
        let mut convolutions = style.convolutions(inputs, width, stride);
        let last = convolutions.split_off(convolutions.len() - 1);
        let depth = convolutions.len();
        Ok(Self {
            inner: convolutions
                .into_iter()
                .enumerate()
                .map(unit)
                .collect::<Result<_>>()?,
            last: unit((depth, last[0]))?,
            shortcut: Shortcut::new(
                style.shortcut,
                (inputs, style.outputs(width), stride),
                style.init,
                vb,
            )?,
            activation,
        })
    }

    /// Adds the block to a run; `None` if its shortcut is no convolution.
    fn push<'a>(&'a self, run: &mut TrainingRun<'a>, input: BlockView) -> Option<BlockView> {
        let residual = match &self.shortcut {
            Shortcut::Identity => input,
            Shortcut::Projection(unit) => unit.push(run, input, None, Activation::None),
            Shortcut::Padding { .. } => return None,
        };
        let mut y = input;
        for unit in &self.inner {
            y = unit.push(run, y, None, Activation::Relu);
        }
        Some(self.last.push(run, y, Some(residual), self.activation))
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let mut y = x.clone();
        for unit in &self.inner {
            y = unit.relu(&y, mode)?;
        }
        let residual = self.shortcut.forward(x, mode)?;
        self.last
            .forward(&y, Some(&residual), self.activation, mode)
    }
}

/// A run of blocks at one resolution: the first may change width and stride.
#[derive(Debug, Clone)]
pub(crate) struct Stage(Vec<Block>);

impl Stage {
    /// Blocks at `0`, `1`, ….
    pub(crate) fn new(
        style: &BlockStyle,
        blocks: usize,
        (inputs, width, stride): (usize, usize, usize),
        vb: VarBuilder,
    ) -> Result<Self> {
        let block = |index: usize| {
            let (inputs, stride) = if index == 0 {
                (inputs, stride)
            } else {
                (style.outputs(width), 1)
            };
            let activation = if style.relu_inside || index + 1 == blocks {
                Activation::Relu
            } else {
                Activation::None
            };
            Block::new(style, (inputs, width, stride), activation, &vb.pp(index))
        };
        Ok(Self((0..blocks).map(block).collect::<Result<_>>()?))
    }

    pub(crate) fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let mut blocks = self.0.iter().peekable();
        let mut y = x.clone();
        while let Some(block) = blocks.next() {
            let mut run = TrainingRun::new();
            let pushed = match mode {
                Mode::Train => block.push(&mut run, BlockView::Raw(0)),
                Mode::Eval => None,
            };
            let Some(mut view) = pushed else {
                y = block.forward(&y, mode)?;
                continue;
            };
            // As many blocks as there are: only the stage's result is looked at.
            while let Some(next) = blocks.peek().and_then(|block| block.push(&mut run, view)) {
                view = next;
                blocks.next();
            }
            y = run.forward(&y)?;
        }
        Ok(y)
    }
}

/// A 3x3 stem and stages of residual blocks: the trunk that the four ResNet families share.
#[derive(Debug, Clone)]
pub(crate) struct ResidualTrunk {
    stem: ConvBn,
    stages: Vec<Stage>,
    outputs: usize,
}

impl ResidualTrunk {
    /// Stem at `conv1`, `bn1`; stages `(width, blocks)` at `layer1`, `layer2`, …; all but the first halve the map.
    pub(crate) fn new(
        style: &BlockStyle,
        stem: usize,
        stages: &[(usize, usize)],
        vb: &VarBuilder,
    ) -> Result<Self> {
        let shape = (crate::blocks::IMAGE_CHANNELS, stem, 3);
        let mut inputs = stem;
        let mut built = Vec::with_capacity(stages.len());
        for (index, &(width, blocks)) in stages.iter().enumerate() {
            let stride = if index == 0 { 1 } else { 2 };
            let vb = vb.pp(format!("layer{}", index + 1));
            built.push(Stage::new(style, blocks, (inputs, width, stride), vb)?);
            inputs = style.outputs(width);
        }
        Ok(Self {
            stem: ConvBn::new(
                shape,
                Conv2dGeometry::with(1, 1),
                style.init,
                vb,
                ("conv1", "bn1"),
            )?,
            stages: built,
            outputs: inputs,
        })
    }

    /// Channels of the last feature map.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// The stem's ReLU and the last ReLU of each stage; `last` is the last of them.
    pub(crate) fn forward(&self, x: &Tensor, mode: Mode) -> Result<crate::Trunk> {
        let mut last = self.stem.relu(x, mode)?;
        let mut stages = vec![last.clone()];
        for stage in &self.stages {
            last = stage.forward(&last, mode)?;
            stages.push(last.clone());
        }
        Ok(crate::Trunk { stages, last })
    }
}
