//! A 2-D convolution, and the convolution + batch norm + residual + activation that networks are made of.

use crate::{BatchNorm2d, Mode, init};
use candle_core::{Module, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use taper_kernels::{Activation, Conv2dGeometry};

/// `weight` `[out, in / groups, kernel, kernel]`, optional `bias` `[out]`.
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    geometry: Conv2dGeometry,
}

impl Conv2d {
    /// Without bias, PyTorch's default initialisation.
    pub fn new(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        geometry: Conv2dGeometry,
        vb: VarBuilder,
    ) -> Result<Self> {
        let fan_in = inputs / geometry.groups.max(1) * kernel * kernel;
        let hint = init::default_uniform(fan_in);
        Self::with_init(inputs, outputs, kernel, geometry, hint, None, vb)
    }

    /// With initialisations of one's own; `bias: None` means no bias.
    pub fn with_init(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        geometry: Conv2dGeometry,
        weight: Init,
        bias: Option<Init>,
        vb: VarBuilder,
    ) -> Result<Self> {
        let shape = (outputs, inputs / geometry.groups.max(1), kernel, kernel);
        let bias = bias
            .map(|hint| vb.get_with_hints(outputs, "bias", hint))
            .transpose()?;
        Ok(Self {
            weight: vb.get_with_hints(shape, "weight", weight)?,
            bias,
            geometry,
        })
    }

    /// `[out, in / groups, kernel, kernel]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `[out]`, if there is one.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// Stride, padding, dilation, groups.
    pub fn geometry(&self) -> &Conv2dGeometry {
        &self.geometry
    }
}

impl Module for Conv2d {
    /// `[batch, in, height, width]` → `[batch, out, height', width']`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        taper_kernels::conv2d(x, &self.weight, self.bias.as_ref(), &self.geometry)
    }
}

/// `activation(bn(conv(x)) + residual)`, as one operator where the kernels have one.
///
/// In training the convolution is fused with its batch norm (a bias only moves the mean, which the norm
/// takes away again: it enters the running mean, and its gradient is 0); for evaluation without gradient
/// the batch norm is folded into the convolution. Otherwise the operators run one by one.
pub fn conv_bn_act(
    conv: &Conv2d,
    bn: &BatchNorm2d,
    x: &Tensor,
    residual: Option<&Tensor>,
    activation: Activation,
    mode: Mode,
) -> Result<Tensor> {
    let (gamma, beta, mean, variance, eps) = bn.affine();
    match (mode, &conv.bias) {
        (Mode::Train, bias) => {
            let beta = match bias {
                // Zeros, but on the tape: with a gradient of 0 the bias is reached by weight decay.
                Some(bias) => &(beta + bias.sub(bias)?)?,
                None => beta,
            };
            let (y, mut statistics) = taper_kernels::conv_bn_act(
                x,
                &conv.weight,
                gamma,
                beta,
                residual,
                &conv.geometry,
                eps,
                activation,
            )?;
            if let Some(bias) = bias {
                statistics.mean = (statistics.mean + bias.detach())?;
            }
            bn.update_running(&statistics)?;
            Ok(y)
        }
        (Mode::Eval, bias) if !learns(&[x, &conv.weight, gamma, beta], residual) => {
            let (weight, bias) = taper_kernels::fold_batch_norm(
                &conv.weight,
                bias.as_ref(),
                gamma,
                beta,
                (mean, variance),
                eps,
            )?;
            taper_kernels::conv_bias_act(x, &weight, &bias, residual, &conv.geometry, activation)
        }
        _ => bn.forward_act(&conv.forward(x)?, residual, activation, mode),
    }
}

/// Whether a gradient may be asked for.
fn learns(tensors: &[&Tensor], residual: Option<&Tensor>) -> bool {
    tensors.iter().any(|tensor| tensor.track_op()) || residual.is_some_and(Tensor::track_op)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ParameterStore;
    use candle_core::{DType, Device};
    use rand_distr::{Distribution, StandardNormal};

    fn noise(shape: &[usize], label: &str) -> Result<Tensor> {
        let mut random = taper_kernels::random::stream(1, label, 0);
        let count = shape.iter().product();
        let values: Vec<f64> = StandardNormal
            .sample_iter(&mut random)
            .take(count)
            .collect();
        Tensor::from_vec(values, shape, &Device::Cpu)
    }

    fn close(a: &Tensor, b: &Tensor) -> Result<()> {
        let difference = (a - b)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f64>()?;
        assert!(difference < 1e-10, "{difference}");
        Ok(())
    }

    /// The fused forms equal the operators one by one, statistics included, with and without bias.
    #[test]
    fn fused_and_one_by_one() -> Result<()> {
        let x = noise(&[3, 4, 5, 6], "x")?;
        let residual = noise(&[3, 8, 5, 6], "residual")?;
        for bias in [None, Some(init::normal(1.0))] {
            let (fused, apart) = (
                ParameterStore::new(2, &Device::Cpu),
                ParameterStore::new(2, &Device::Cpu),
            );
            let layers = |vb: VarBuilder| -> Result<_> {
                let geometry = Conv2dGeometry::with(1, 1);
                let hint = init::normal(0.3);
                let conv = Conv2d::with_init(4, 8, 3, geometry, hint, bias, vb.pp("conv"))?;
                Ok((conv, BatchNorm2d::new(8, vb.pp("bn"))?))
            };
            let (conv, bn) = layers(fused.var_builder(DType::F64))?;
            let (other_conv, other_bn) = layers(apart.var_builder(DType::F64))?;
            let relu = Activation::Relu;
            let y = conv_bn_act(&conv, &bn, &x, Some(&residual), relu, Mode::Train)?;
            let z = other_conv.forward(&x)?;
            let other = other_bn.forward_act(&z, Some(&residual), relu, Mode::Train)?;
            close(&y, &other)?;
            for (name, tensor) in fused.state() {
                let same = apart.state()[&name].to_dtype(DType::F64)?;
                close(&tensor.to_dtype(DType::F64)?, &same)?;
            }
            // Over frozen tensors the batch norm is folded; over learning ones it is not.
            let (frozen_conv, frozen_bn) = layers(fused.frozen(DType::F64))?;
            let eval = |conv: &Conv2d, bn: &BatchNorm2d| {
                conv_bn_act(conv, bn, &x, Some(&residual), relu, Mode::Eval)
            };
            let folded = eval(&frozen_conv, &frozen_bn)?;
            assert!(!folded.track_op());
            let learning = eval(&conv, &bn)?;
            assert!(learning.track_op());
            close(&folded, &learning)?;
        }
        Ok(())
    }
}
