//! The pieces that several families share.

use candle_core::{Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use taper_kernels::{Activation, BlockView, Conv2dGeometry, global_avg_pool2d};
use taper_layers::{BatchNorm2d, Conv2d, Linear, Mode, RunNorm, TrainingRun, conv_bn_act, init};

/// Channels of an input image.
pub(crate) const IMAGE_CHANNELS: usize = 3;

/// Which initialisation a family gives its convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConvInit {
    /// PyTorch's own: uniform in ±1/√fan_in.
    Default,
    /// N(0, √(2 / (k·k·out))).
    FanOut,
    /// N(0, √(2 / (k·k·in))), PyTorch's `kaiming_normal_` as it is.
    FanIn,
}

impl ConvInit {
    fn hint(self, inputs: usize, outputs: usize, kernel: usize, groups: usize) -> Init {
        let fan_in = inputs / groups.max(1) * kernel * kernel;
        match self {
            Self::Default => init::default_uniform(fan_in),
            Self::FanOut => init::kaiming_normal_fan_out(outputs, kernel),
            Self::FanIn => init::normal((2.0 / fan_in.max(1) as f64).sqrt()),
        }
    }
}

/// A convolution that keeps the family's initialisation.
pub(crate) fn conv2d(
    (inputs, outputs, kernel): (usize, usize, usize),
    geometry: Conv2dGeometry,
    init: ConvInit,
    vb: VarBuilder,
) -> Result<Conv2d> {
    let hint = init.hint(inputs, outputs, kernel, geometry.groups);
    Conv2d::with_init(inputs, outputs, kernel, geometry, hint, None, vb)
}

/// A convolution without bias and the batch norm after it.
#[derive(Debug, Clone)]
pub(crate) struct ConvBn {
    conv: Conv2d,
    bn: BatchNorm2d,
}

impl ConvBn {
    /// `shape` is (inputs, outputs, kernel); the parts lie at `vb.conv` and `vb.bn`.
    pub(crate) fn new(
        shape: (usize, usize, usize),
        geometry: Conv2dGeometry,
        init: ConvInit,
        vb: &VarBuilder,
        (conv, bn): (impl ToString, impl ToString),
    ) -> Result<Self> {
        Ok(Self {
            conv: conv2d(shape, geometry, init, vb.pp(conv))?,
            bn: BatchNorm2d::new(shape.1, vb.pp(bn))?,
        })
    }

    /// The same around a convolution that is there already.
    pub(crate) fn from_parts(conv: Conv2d, bn: BatchNorm2d) -> Self {
        Self { conv, bn }
    }

    /// `activation(bn(conv(x)) + residual)`.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        activation: Activation,
        mode: Mode,
    ) -> Result<Tensor> {
        conv_bn_act(&self.conv, &self.bn, x, residual, activation, mode)
    }

    /// Adds `activation(bn(conv(input)) + residual)` to a run; the view of the result.
    pub(crate) fn push<'a>(
        &'a self,
        run: &mut TrainingRun<'a>,
        input: BlockView,
        residual: Option<BlockView>,
        activation: Activation,
    ) -> BlockView {
        let norm = RunNorm {
            bn: &self.bn,
            residual,
            activation,
        };
        BlockView::Normed(run.push(&self.conv, input, None, Some(norm)))
    }

    /// `relu(bn(conv(x)))`.
    pub(crate) fn relu(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.forward(x, None, Activation::Relu, mode)
    }

    /// `bn(conv(x))`.
    pub(crate) fn plain(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.forward(x, None, Activation::None, mode)
    }
}

/// Units one after the other, in training as one operator.
pub(crate) fn chain(units: &[(&ConvBn, Activation)], x: &Tensor, mode: Mode) -> Result<Tensor> {
    match mode {
        Mode::Train => {
            let mut run = TrainingRun::new();
            let mut view = BlockView::Raw(0);
            for (unit, activation) in units {
                view = unit.push(&mut run, view, None, *activation);
            }
            run.forward(x)
        }
        Mode::Eval => units.iter().try_fold(x.clone(), |x, (unit, activation)| {
            unit.forward(&x, None, *activation, mode)
        }),
    }
}

/// Global mean, then a linear layer: `[batch, channels, height, width]` → (`[batch, channels]`, `[batch, classes]`).
pub(crate) fn pooled_head(last: &Tensor, linear: &Linear) -> Result<(Tensor, Tensor)> {
    let embedding = global_avg_pool2d(last)?;
    let logits = linear.forward(&embedding)?;
    Ok((embedding, logits))
}

/// The linear layer of a family that overrides PyTorch's default: given weight law, bias 0.
pub(crate) fn linear_zero_bias(
    inputs: usize,
    classes: usize,
    weight: Init,
    vb: VarBuilder,
) -> Result<Linear> {
    Linear::with_init(inputs, classes, weight, Init::Const(0.0), vb)
}

/// Rejects a configuration with a zero where a count is needed, before any tensor is made.
pub(crate) fn check_positive(model: &str, counts: &[(&str, usize)]) -> Result<()> {
    match counts.iter().find(|(_, count)| *count == 0) {
        Some((name, _)) => candle_core::bail!("{model}: `{name}` is 0, it must be at least 1"),
        None => Ok(()),
    }
}

/// `[batch, groups·n, height, width]` → the same, channel (g, i) moved to (i, g).
///
/// Source: ShuffleNet, arXiv:1707.01083 §3.1.
pub(crate) fn channel_shuffle(x: &Tensor, groups: usize) -> Result<Tensor> {
    if groups == 1 {
        return Ok(x.clone());
    }
    let (batch, channels, height, width) = x.dims4()?;
    x.reshape((batch, groups, channels / groups, height * width))?
        .transpose(1, 2)?
        .contiguous()?
        .reshape((batch, channels, height, width))
}

/// The channels of `a` and `b`, equal in number, by turns: concatenation and a shuffle of two groups in one copy.
pub(crate) fn interleave(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (batch, channels, height, width) = a.dims4()?;
    Tensor::stack(&[a, b], 2)?.reshape((batch, 2 * channels, height, width))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn interleaving_is_concatenation_and_shuffle() -> Result<()> {
        let x = Tensor::arange(0f32, 2. * 6. * 4., &Device::Cpu)?.reshape((2, 6, 2, 2))?;
        let (a, b) = (x.narrow(1, 0, 3)?, x.narrow(1, 3, 3)?);
        let expected = channel_shuffle(&x, 2)?.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(
            interleave(&a, &b)?.flatten_all()?.to_vec1::<f32>()?,
            expected
        );
        // Channel 1 of the result is channel 0 of the second group.
        assert_eq!(expected[4], 12.);
        Ok(())
    }

    #[test]
    fn shuffle_of_one_group_changes_nothing() -> Result<()> {
        let x = Tensor::zeros((1, 4, 1, 1), DType::F32, &Device::Cpu)?;
        assert_eq!(channel_shuffle(&x, 1)?.id(), x.id());
        Ok(())
    }
}
