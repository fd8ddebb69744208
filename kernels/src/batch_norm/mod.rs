//! Batch normalisation with its affine step, residual addition and activation in one operator.

pub(crate) mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;
#[cfg(feature = "cuda")]
mod device;
pub(crate) mod grid;
pub(crate) mod sums;

use crate::activation::Activation;
use crate::element::Element;
use crate::operand::{
    require_dtype, require_float, require_shape, shape_error, slice, unsupported, value_error,
    with_slice,
};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor};
use cpu::{Backward, Channels};
use grid::Grid;

/// What [`batch_norm_train`] measured of its batch; no gradient flows through it.
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    /// Mean of every channel, `[channels]`.
    pub mean: Tensor,
    /// Biased variance of every channel (divided by [`count`](Self::count)), `[channels]`.
    pub variance: Tensor,
    /// How many values each channel was measured on: batch × height × width.
    pub count: usize,
}

impl BatchStatistics {
    /// The variance divided by `count - 1`, which PyTorch keeps as the running variance, `[channels]`.
    ///
    /// # Errors
    /// If the multiplication fails.
    pub fn unbiased_variance(&self) -> Result<Tensor> {
        let count = self.count as f64;
        self.variance.affine(count / (count - 1.0), 0.0)
    }
}

/// `act(weight · (x − mean) / √(variance + eps) + bias + residual)`, mean and variance over the batch.
///
/// * `x`: `[batch, channels]`, `[batch, channels, length]` or `[batch, channels, height, width]`
/// * `weight`, `bias`: `[channels]`
/// * `residual`: as x
///
/// Differentiable in all four (Ioffe and Szegedy 2015, algorithm 1, variance biased).
/// The forward pass reads x twice (the moments are combined in `f64` from pieces each
/// centred on its own mean, so a mean far above the deviation costs no accuracy), the
/// backward pass reads x, the result and its gradient twice and writes each gradient once.
///
/// # Errors
/// If a shape or type does not fit, or a channel has fewer than two values.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use taper_kernels::{Activation, batch_norm_train};
/// let x = Tensor::new(&[[1f32], [3.]], &Device::Cpu)?;
/// let (one, zero) = (Tensor::ones(1, DType::F32, &Device::Cpu)?, Tensor::zeros(1, DType::F32, &Device::Cpu)?);
/// let (y, statistics) = batch_norm_train(&x, &one, &zero, None, 0.0, Activation::None)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[-1.0], [1.0]]);
/// assert_eq!(statistics.unbiased_variance()?.to_vec1::<f32>()?, [2.0]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn batch_norm_train(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    residual: Option<&Tensor>,
    eps: f64,
    activation: Activation,
) -> Result<(Tensor, BatchStatistics)> {
    const OP: &str = "batch_norm_train";
    let grid = check(OP, x, [("weight", weight), ("bias", bias)], residual, eps)?;
    if grid.count() < 2 {
        return Err(shape_error(OP, "x", x, "more than one value per channel"));
    }
    let x = x.contiguous()?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        let measured = device::measure(OP, &x, &grid, eps)?;
        let statistics = measured.of_batch(x.dtype(), grid.count())?;
        let op = BatchNorm {
            op: OP,
            grid,
            statistics: Statistics::Device(measured),
            of_batch: true,
            activation,
        };
        return Ok((op.apply(&x, weight, bias, residual)?, statistics));
    }
    let (mean, variance) = match x.dtype() {
        DType::F32 => with_slice::<f32, _>(OP, "x", &x, |x| Ok(cpu::moments(x, &grid)))?,
        _ => with_slice::<f64, _>(OP, "x", &x, |x| Ok(cpu::moments(x, &grid)))?,
    };
    let as_tensor =
        |values: &[f64]| Tensor::from_slice(values, grid.channels, x.device())?.to_dtype(x.dtype());
    let statistics = BatchStatistics {
        mean: as_tensor(&mean)?,
        variance: as_tensor(&variance)?,
        count: grid.count(),
    };
    let op = BatchNorm {
        op: OP,
        grid,
        statistics: Statistics::host(mean, variance, eps),
        of_batch: true,
        activation,
    };
    Ok((op.apply(&x, weight, bias, residual)?, statistics))
}

/// [`batch_norm_train`] with given statistics instead of the batch's: evaluation, or a frozen norm.
///
/// `running_mean` and `running_var` are `[channels]`; differentiable in x, `weight`,
/// `bias` and `residual`.
///
/// # Errors
/// If a shape or type does not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use taper_kernels::{Activation, batch_norm_eval};
/// let value = |v: f32| Tensor::new(&[v], &Device::Cpu);
/// let x = Tensor::new(&[[5f32]], &Device::Cpu)?;
/// let y = batch_norm_eval(&x, &value(2.)?, &value(1.)?, &value(3.)?, &value(4.)?, None, 0.0, Activation::Relu)?;
/// assert_eq!(y.to_vec2::<f32>()?, [[3.0]]); // 2 · (5 − 3) / √4 + 1
/// # Ok::<(), candle_core::Error>(())
/// ```
#[allow(clippy::too_many_arguments)]
pub fn batch_norm_eval(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    running_mean: &Tensor,
    running_var: &Tensor,
    residual: Option<&Tensor>,
    eps: f64,
    activation: Activation,
) -> Result<Tensor> {
    const OP: &str = "batch_norm_eval";
    let named = [
        ("weight", weight),
        ("bias", bias),
        ("running_mean", running_mean),
        ("running_var", running_var),
    ];
    let grid = check(OP, x, named, residual, eps)?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        let given = device::DeviceStatistics::given(running_mean, running_var, eps)?;
        let op = BatchNorm {
            op: OP,
            grid,
            statistics: Statistics::Device(given),
            of_batch: false,
            activation,
        };
        return op.apply(&x.contiguous()?, weight, bias, residual);
    }
    let values = |tensor: &Tensor| tensor.detach().to_dtype(DType::F64)?.to_vec1::<f64>();
    let (mean, variance) = (values(running_mean)?, values(running_var)?);
    let op = BatchNorm {
        op: OP,
        grid,
        statistics: Statistics::host(mean, variance, eps),
        of_batch: false,
        activation,
    };
    op.apply(&x.contiguous()?, weight, bias, residual)
}

pub(crate) fn inverse_deviation(variance: Vec<f64>, eps: f64) -> Vec<f64> {
    variance
        .into_iter()
        .map(|variance| 1.0 / (variance + eps).sqrt())
        .collect()
}

/// The shape of x as the passes see it, once all arguments are known to fit.
fn check<const N: usize>(
    op: &'static str,
    x: &Tensor,
    parameters: [(&'static str, &Tensor); N],
    residual: Option<&Tensor>,
    eps: f64,
) -> Result<Grid> {
    require_float(op, "x", x)?;
    if !(2..=4).contains(&x.rank()) {
        return Err(shape_error(
            op,
            "x",
            x,
            "[batch, channels], [batch, channels, length] or [batch, channels, height, width]",
        ));
    }
    if eps.is_nan() || eps < 0.0 {
        return Err(value_error(op, "eps", eps, "a number of at least 0"));
    }
    let channels = x.dim(1)?;
    for (argument, tensor) in parameters {
        require_shape(op, argument, tensor, &[channels])?;
        require_dtype(op, argument, tensor, x.dtype())?;
    }
    if let Some(residual) = residual {
        require_shape(op, "residual", residual, x.dims())?;
        require_dtype(op, "residual", residual, x.dtype())?;
    }
    Ok(Grid::new(
        x.dim(0)?,
        channels,
        x.dims()[2..].iter().product(),
    ))
}

/// Weight and bias reach the operator as one tensor of `2 · channels`, since Candle's
/// operators have at most three operands; Candle's own derivative of the concatenation parts them.
struct BatchNorm {
    op: &'static str,
    grid: Grid,
    statistics: Statistics,
    of_batch: bool,
    activation: Activation,
}

/// Mean and 1 / deviation of every channel, where the tensors are.
enum Statistics {
    Host {
        mean: Vec<f64>,
        inverse_deviation: Vec<f64>,
    },
    #[cfg(feature = "cuda")]
    Device(device::DeviceStatistics),
}

impl Statistics {
    fn host(mean: Vec<f64>, variance: Vec<f64>, eps: f64) -> Self {
        Self::Host {
            mean,
            inverse_deviation: inverse_deviation(variance, eps),
        }
    }
}

impl BatchNorm {
    fn apply(
        self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let packed = Tensor::cat(&[weight, bias], 0)?;
        match residual {
            None => x.apply_op2(&packed, self),
            Some(residual) => x.apply_op3(&packed, &residual.contiguous()?, self),
        }
    }

    fn channels<'a, T: Element>(&'a self, packed: &'a [T]) -> Result<Channels<'a, T>> {
        let (weight, bias) = packed.split_at(self.grid.channels);
        match &self.statistics {
            Statistics::Host {
                mean,
                inverse_deviation,
            } => Ok(Channels {
                mean,
                inverse_deviation,
                weight,
                bias,
            }),
            #[cfg(feature = "cuda")]
            Statistics::Device(_) => {
                candle_core::bail!("{}: the statistics are on another device", self.op)
            }
        }
    }

    fn forward<T: Element>(
        &self,
        (x, x_layout): (&CpuStorage, &Layout),
        (packed, packed_layout): (&CpuStorage, &Layout),
        residual: Option<(&CpuStorage, &Layout)>,
    ) -> Result<CpuStorage> {
        let x = slice::<T>(self.op, x, x_layout)?;
        let channels = self.channels(slice(self.op, packed, packed_layout)?)?;
        let residual = residual
            .map(|(storage, layout)| slice(self.op, storage, layout))
            .transpose()?;
        Ok(T::to_cpu_storage_owned(cpu::forward(
            x,
            residual,
            &channels,
            &self.grid,
            self.activation,
        )))
    }

    fn backward(
        &self,
        x: &Tensor,
        packed: &Tensor,
        residual: Option<&Tensor>,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<Gradients> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            return self.backward_on_device(x, packed, residual, output, gradient);
        }
        match x.dtype() {
            DType::F32 => self.backward_as::<f32>(x, packed, residual, output, gradient),
            _ => self.backward_as::<f64>(x, packed, residual, output, gradient),
        }
    }

    fn backward_as<T: Element>(
        &self,
        x: &Tensor,
        packed: &Tensor,
        residual: Option<&Tensor>,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<Gradients> {
        let masked = self.activation == Activation::Relu;
        let residual_wanted = residual.is_some_and(Tensor::track_op);
        let found =
            with_slice::<T, _>(self.op, "x", x, |x_values| {
                with_slice(self.op, "weight", packed, |packed_values| {
                    with_slice(self.op, "output", output, |output| {
                        with_slice(self.op, "gradient", gradient, |gradient| {
                            let backward = Backward {
                                x: x_values,
                                gradient,
                                output: masked.then_some(output),
                                channels: self.channels(packed_values)?,
                                grid: &self.grid,
                                of_batch: self.of_batch,
                            };
                            Ok(backward.run(
                                x.track_op(),
                                packed.track_op(),
                                residual_wanted && masked,
                            ))
                        })
                    })
                })
            })?;
        let as_tensor = |values: Option<Vec<T>>, like: &Tensor| {
            values
                .map(|values| Tensor::from_vec(values, like.shape(), like.device()))
                .transpose()
        };
        Ok(Gradients {
            x: as_tensor(found.x, x)?,
            packed: as_tensor(found.packed, packed)?,
            // With no activation the residual's gradient is the result's.
            residual: if residual_wanted && !masked {
                Some(gradient.clone())
            } else {
                as_tensor(found.masked, x)?
            },
        })
    }
}

struct Gradients {
    x: Option<Tensor>,
    packed: Option<Tensor>,
    residual: Option<Tensor>,
}

impl CustomOp2 for BatchNorm {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        packed: &CpuStorage,
        packed_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let output = match x.dtype() {
            DType::F32 => self.forward::<f32>((x, x_layout), (packed, packed_layout), None)?,
            DType::F64 => self.forward::<f64>((x, x_layout), (packed, packed_layout), None)?,
            other => return Err(unsupported(self.op, "x", other)),
        };
        Ok((output, x_layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        packed: &CudaStorage,
        packed_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        self.forward_on_device((x, x_layout), (packed, packed_layout), None)
    }

    fn bwd(
        &self,
        x: &Tensor,
        packed: &Tensor,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradients = self.backward(x, packed, None, output, gradient)?;
        Ok((gradients.x, gradients.packed))
    }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        packed: &CpuStorage,
        packed_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let residual = Some((residual, residual_layout));
        let output = match x.dtype() {
            DType::F32 => self.forward::<f32>((x, x_layout), (packed, packed_layout), residual)?,
            DType::F64 => self.forward::<f64>((x, x_layout), (packed, packed_layout), residual)?,
            other => return Err(unsupported(self.op, "x", other)),
        };
        Ok((output, x_layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        packed: &CudaStorage,
        packed_layout: &Layout,
        residual: &CudaStorage,
        residual_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let residual = Some((residual, residual_layout));
        self.forward_on_device((x, x_layout), (packed, packed_layout), residual)
    }

    fn bwd(
        &self,
        x: &Tensor,
        packed: &Tensor,
        residual: &Tensor,
        output: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradients = self.backward(x, packed, Some(residual), output, gradient)?;
        Ok((gradients.x, gradients.packed, gradients.residual))
    }
}
