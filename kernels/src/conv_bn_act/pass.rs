//! The two passes of the fused operator, over slices of `f32` or `f64`.

use super::{ConvBnAct, OP, Operand, Saved};
use crate::activation::Activation;
use crate::batch_norm::cpu::{self, Backward, Channels};
use crate::batch_norm::inverse_deviation;
use crate::conv2d::Convolve;
use crate::element::Element;
use crate::operand::{slice, with_slice};
use candle_core::{CpuStorage, DType, Result, Tensor};

/// The gradients that were asked for.
pub(super) struct Gradients {
    pub(super) x: Option<Tensor>,
    pub(super) packed: Option<Tensor>,
    pub(super) residual: Option<Tensor>,
}

/// The three parameters of the packed one.
fn split<T>(packed: &[T], channels: usize) -> (&[T], &[T], &[T]) {
    let (weight, rest) = packed.split_at(packed.len() - 2 * channels);
    let (gamma, beta) = rest.split_at(channels);
    (weight, gamma, beta)
}

impl ConvBnAct {
    pub(super) fn forward_as<T: Element + Convolve>(
        &self,
        x: Operand,
        packed: Operand,
        residual: Option<Operand>,
    ) -> Result<CpuStorage> {
        let x = slice::<T>(OP, x.0, x.1)?;
        let (weight, gamma, beta) = split(
            slice::<T>(OP, packed.0, packed.1)?,
            self.problem.out_channels,
        );
        let residual = residual
            .map(|(storage, layout)| slice(OP, storage, layout))
            .transpose()?;
        let z = T::forward(&self.problem, x, weight, None);
        let (mean, variance) = cpu::moments(&z, &self.grid);
        let inverse = inverse_deviation(variance.clone(), self.eps);
        let channels = Channels {
            mean: &mean,
            inverse_deviation: &inverse,
            weight: gamma,
            bias: beta,
        };
        let output = cpu::forward(&z, residual, &channels, &self.grid, self.activation);
        let z = self.tracked.then(|| T::to_cpu_storage_owned(z));
        // An operator object serves one call; of two, the first to come would be kept.
        let _ = self.saved.set(Saved { z, mean, variance });
        Ok(T::to_cpu_storage_owned(output))
    }

    pub(super) fn backward(
        &self,
        x: &Tensor,
        packed: &Tensor,
        residual: Option<&Tensor>,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<Gradients> {
        match x.dtype() {
            DType::F32 => self.backward_as::<f32>(x, packed, residual, output, gradient),
            _ => self.backward_as::<f64>(x, packed, residual, output, gradient),
        }
    }

    fn backward_as<T: Element + Convolve>(
        &self,
        x: &Tensor,
        packed: &Tensor,
        residual: Option<&Tensor>,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<Gradients> {
        let Some(Saved {
            z: Some(z),
            mean,
            variance,
        }) = self.saved.get()
        else {
            candle_core::bail!("{OP}: the forward pass kept nothing for a gradient");
        };
        let z = T::cpu_storage_as_slice(z)?;
        let inverse = inverse_deviation(variance.clone(), self.eps);
        let masked = self.activation == Activation::Relu;
        let residual_wanted = residual.is_some_and(Tensor::track_op);
        let parameters = packed.track_op();
        let values = |name, tensor, body: &mut dyn FnMut(&[T]) -> Result<()>| {
            with_slice(OP, name, tensor, |values| body(values))
        };
        let mut found = Gradients {
            x: None,
            packed: None,
            residual: None,
        };
        values("weight", packed, &mut |packed_values| {
            let (weight, gamma, beta) = split(packed_values, self.problem.out_channels);
            let channels = || Channels {
                mean,
                inverse_deviation: &inverse,
                weight: gamma,
                bias: beta,
            };
            values("output", output, &mut |output| {
                values("gradient", gradient, &mut |gradient| {
                    let backward = Backward {
                        x: z,
                        gradient,
                        output: masked.then_some(output),
                        channels: channels(),
                        grid: &self.grid,
                        of_batch: true,
                    };
                    let norm = backward.run(
                        x.track_op() || parameters,
                        parameters,
                        residual_wanted && masked,
                    );
                    if let Some(masked) = norm.masked {
                        found.residual = Some(Tensor::from_vec(
                            masked,
                            self.problem.output_shape(),
                            x.device(),
                        )?);
                    }
                    let Some(dz) = norm.x else { return Ok(()) };
                    if x.track_op() {
                        let dx = T::input_gradient(&self.problem, &dz, weight);
                        found.x = Some(Tensor::from_vec(dx, x.shape(), x.device())?);
                    }
                    if let Some(norm_parameters) = norm.packed {
                        values("input", x, &mut |x_values| {
                            let mut all = T::weight_gradient(&self.problem, x_values, &dz);
                            all.extend_from_slice(&norm_parameters);
                            let len = all.len();
                            found.packed = Some(Tensor::from_vec(all, len, x.device())?);
                            Ok(())
                        })?;
                    }
                    Ok(())
                })
            })
        })?;
        if residual_wanted && !masked {
            // With no activation the residual's gradient is the result's.
            found.residual = Some(gradient.clone());
        }
        Ok(found)
    }
}
