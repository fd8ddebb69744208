//! Batch normalisation over channels, with running statistics.

use crate::Mode;
use candle_core::{DType, Result, Tensor, Var};
use candle_nn::{Init, VarBuilder};
use taper_kernels::{Activation, BatchStatistics};

/// PyTorch's default `eps`.
pub const DEFAULT_EPS: f64 = 1e-5;
/// PyTorch's default `momentum`: the share of a new batch in the running statistics.
pub const DEFAULT_MOMENTUM: f64 = 0.1;

/// `weight`, `bias`, `running_mean`, `running_var` `[channels]` and the counter `num_batches_tracked`.
#[derive(Debug, Clone)]
pub struct BatchNorm2d {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    num_batches_tracked: Tensor,
    eps: f64,
    momentum: f64,
}

impl BatchNorm2d {
    /// Weight 1, bias 0, `eps` 1e-5, `momentum` 0.1.
    pub fn new(channels: usize, vb: VarBuilder) -> Result<Self> {
        Self::with_eps(channels, DEFAULT_EPS, vb)
    }

    /// With an `eps` of one's own.
    pub fn with_eps(channels: usize, eps: f64, vb: VarBuilder) -> Result<Self> {
        let get = |name, value| vb.get_with_hints(channels, name, Init::Const(value));
        Ok(Self {
            weight: get("weight", 1.0)?,
            bias: get("bias", 0.0)?,
            running_mean: get("running_mean", 0.0)?,
            running_var: get("running_var", 1.0)?,
            num_batches_tracked: vb.get_with_hints_dtype(
                (),
                "num_batches_tracked",
                Init::Const(0.0),
                DType::I64,
            )?,
            eps,
            momentum: DEFAULT_MOMENTUM,
        })
    }

    /// `[batch, channels, height, width]` → the same.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.forward_act(x, None, Activation::None, mode)
    }

    /// `activation(bn(x) + residual)`.
    pub fn forward_act(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        activation: Activation,
        mode: Mode,
    ) -> Result<Tensor> {
        match mode {
            Mode::Train => {
                let (y, statistics) = taper_kernels::batch_norm_train(
                    x,
                    &self.weight,
                    &self.bias,
                    residual,
                    self.eps,
                    activation,
                )?;
                self.update_running(&statistics)?;
                Ok(y)
            }
            Mode::Eval => taper_kernels::batch_norm_eval(
                x,
                &self.weight,
                &self.bias,
                &self.running_mean,
                &self.running_var,
                residual,
                self.eps,
                activation,
            ),
        }
    }

    /// `running ← (1 - momentum) running + momentum batch`, with the unbiased batch variance, as PyTorch.
    pub(crate) fn update_running(&self, statistics: &BatchStatistics) -> Result<()> {
        let blend = |running: &Tensor, batch: &Tensor| -> Result<()> {
            let batch = batch.detach().to_dtype(running.dtype())?;
            let old = (running.detach() * (1.0 - self.momentum))?;
            Var::from_tensor(running)?.set(&(old + (batch * self.momentum)?)?)
        };
        blend(&self.running_mean, &statistics.mean)?;
        blend(&self.running_var, &statistics.unbiased_variance()?)?;
        let seen = self.num_batches_tracked.detach();
        Var::from_tensor(&self.num_batches_tracked)?.set(&(&seen + seen.ones_like()?)?)
    }

    /// Scale γ, shift β, running mean and variance `[channels]`, and eps: what folding needs.
    pub fn affine(&self) -> (&Tensor, &Tensor, &Tensor, &Tensor, f64) {
        (
            &self.weight,
            &self.bias,
            &self.running_mean,
            &self.running_var,
            self.eps,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ParameterStore;
    use candle_core::Device;

    /// The running statistics follow PyTorch's rule, and a frozen twin sees them.
    #[test]
    fn running_statistics() -> Result<()> {
        let store = ParameterStore::new(0, &Device::Cpu);
        let bn = BatchNorm2d::new(1, store.var_builder(DType::F64))?;
        let twin = BatchNorm2d::new(1, store.frozen(DType::F64))?;
        let x = Tensor::new(&[1f64, 2., 3., 6.], &Device::Cpu)?.reshape((2, 1, 1, 2))?;
        bn.forward(&x, Mode::Train)?;
        // mean 3, unbiased variance 14/3.
        let mean = store.get("running_mean").unwrap().to_vec1::<f64>()?[0];
        let var = twin.running_var.to_vec1::<f64>()?[0];
        assert!((mean - 0.3).abs() < 1e-12, "{mean}");
        assert!((var - (0.9 + 0.1 * 14. / 3.)).abs() < 1e-12, "{var}");
        let seen = store.get("num_batches_tracked").unwrap();
        assert_eq!(seen.to_scalar::<i64>()?, 1);
        Ok(())
    }
}
