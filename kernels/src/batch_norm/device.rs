//! The operator where its tensors are on a GPU: statistics stay there, as one tensor of `f64`.

use super::cuda::{self, Backward, Channels};
use super::grid::Grid;
use super::{BatchNorm, BatchStatistics, Gradients, Statistics};
use crate::activation::Activation;
use crate::cuda::{View, hold, tensor};
use candle_core::{CpuStorage, CudaStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};

/// Means, then variances, `[2, channels]`, and what is added to the variances.
pub(super) struct DeviceStatistics {
    pub(super) moments: Tensor,
    pub(super) eps: f64,
}

/// The moments of x, measured on its device.
pub(super) fn measure(
    op: &'static str,
    x: &Tensor,
    grid: &Grid,
    eps: f64,
) -> Result<DeviceStatistics> {
    let moments = x.apply_op1_no_bwd(&Moments(op, grid))?;
    Ok(DeviceStatistics { moments, eps })
}

impl DeviceStatistics {
    /// Given statistics, `[channels]` each.
    pub(super) fn given(mean: &Tensor, variance: &Tensor, eps: f64) -> Result<Self> {
        let moments = Tensor::stack(&[&mean.detach(), &variance.detach()], 0)?;
        let moments = moments.to_dtype(DType::F64)?;
        Ok(Self { moments, eps })
    }

    pub(super) fn of_batch(&self, dtype: DType, count: usize) -> Result<BatchStatistics> {
        Ok(BatchStatistics {
            mean: self.moments.get(0)?.to_dtype(dtype)?,
            variance: self.moments.get(1)?.to_dtype(dtype)?,
            count,
        })
    }
}

struct Moments<'a>(&'static str, &'a Grid);

impl CustomOp1 for Moments<'_> {
    fn name(&self) -> &'static str {
        self.0
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        candle_core::bail!("{}: on the CPU statistics are not a tensor", self.0)
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let view = View::of(self.0, "x", x, layout)?;
        let moments = cuda::moments(&x.device, self.0, view, self.1)?;
        Ok((moments, Shape::from((2, self.1.channels))))
    }
}

impl BatchNorm {
    fn on_device(&self) -> Result<&DeviceStatistics> {
        match &self.statistics {
            Statistics::Device(statistics) => Ok(statistics),
            Statistics::Host { .. } => {
                candle_core::bail!("{}: the statistics are on another device", self.op)
            }
        }
    }

    pub(super) fn forward_on_device(
        &self,
        x: (&CudaStorage, &Layout),
        packed: (&CudaStorage, &Layout),
        residual: Option<(&CudaStorage, &Layout)>,
    ) -> Result<(CudaStorage, Shape)> {
        let statistics = self.on_device()?;
        let moments = hold(self.op, "statistics", &statistics.moments);
        let channels = Channels {
            parameters: View::of(self.op, "weight", packed.0, packed.1)?,
            statistics: moments.view()?,
            eps: statistics.eps,
        };
        let residual = residual
            .map(|(storage, layout)| View::of(self.op, "residual", storage, layout))
            .transpose()?;
        let view = View::of(self.op, "x", x.0, x.1)?;
        let (device, grid) = (&x.0.device, &self.grid);
        let y = cuda::forward(
            device,
            self.op,
            view,
            residual,
            &channels,
            grid,
            self.activation,
        )?;
        Ok((y, x.1.shape().clone()))
    }

    pub(super) fn backward_on_device(
        &self,
        x: &Tensor,
        packed: &Tensor,
        residual: Option<&Tensor>,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<Gradients> {
        let statistics = self.on_device()?;
        let gradient = gradient.contiguous()?;
        let masked = self.activation == Activation::Relu;
        let residual_wanted = residual.is_some_and(Tensor::track_op);
        let wanted = [x.track_op(), packed.track_op(), residual_wanted && masked];
        let held = [("x", x), ("gradient", &gradient), ("output", output)]
            .map(|(argument, tensor)| hold(self.op, argument, tensor));
        let moments = hold(self.op, "statistics", &statistics.moments);
        let parameters = hold(self.op, "weight", packed);
        let backward = Backward {
            x: held[0].view()?,
            gradient: held[1].view()?,
            output: masked.then(|| held[2].view()).transpose()?,
            channels: Channels {
                parameters: parameters.view()?,
                statistics: moments.view()?,
                eps: statistics.eps,
            },
            of_batch: self.of_batch,
        };
        let found = backward.run(held[0].device()?, self.op, &self.grid, wanted)?;
        let as_tensor = |found: Option<CudaStorage>, like: &Tensor| {
            found.map(|found| tensor(found, like.shape()))
        };
        Ok(Gradients {
            x: as_tensor(found.x, x),
            packed: as_tensor(found.packed, packed),
            // With no activation the residual's gradient is the result's.
            residual: if residual_wanted && !masked {
                Some(gradient.clone())
            } else {
                as_tensor(found.masked, x)
            },
        })
    }
}
