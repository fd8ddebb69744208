//! The catch-up loss: every head against its target and against the true velocity.

#[cfg(feature = "cuda")]
use super::cuda;
#[cfg(feature = "cuda")]
use super::views::with_views;
use super::{Samples, cpu, require_like};
#[cfg(feature = "cuda")]
use crate::cuda::{View, tensor};
use crate::element::Element;
use crate::kept::times;
use crate::operand::{require_shape, slice, unsupported, value_error, with_slice, with_slices};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const OP: &str = "catchup_loss";

/// The weights of [`catchup_loss`].
#[derive(Clone, Copy, Debug)]
pub struct CatchUpWeights<'a> {
    /// w1 of every head: the distance from the catch-up target.
    pub catch_up: &'a [f64],
    /// w2 of every head: the distance from the true velocity.
    pub truth: &'a [f64],
    /// ω of every sample, `[batch]`, of type `f64` where the predictions are `f64`, else `f32`; 1 if not given.
    pub samples: Option<&'a Tensor>,
}

/// `1/D Σ_j Σ_b ω_b Σ_d [w1_j (P_j − T_j)² + w2_j (P_j − g)²]`, a scalar; D counts the elements of one head.
///
/// * `predictions` P_j and `targets` u_j: n of each, `[batch, …]`
/// * `velocity` g = z − x: like them
/// * `mask` m: `u8`, `[batch]`; T_j is u_j where it is not 0 (everywhere if not given), else g as a constant
///
/// Shao et al. 2023 (arXiv:2305.10769), loss of the published code with its mask.
/// Differentiable in the predictions and in g (for a learned coupling):
/// `dP_j = 2/D ω [w1_j (P_j − T_j) + w2_j (P_j − g)]`,
/// `dg = −2/D ω Σ_j w2_j (P_j − g)`; the pass that computes the loss writes those of the tracked
/// arguments. Targets get no gradient, and targets of masked samples are never read, so they may be NaN.
/// Moves (3n + 1) · 4 bytes an element in `f32` (4 more for dg). Squares are added in runs of 8
/// a vector lane, the runs in `f64`; both are fixed by the shape. The mean over nothing is
/// NaN, as in PyTorch.
///
/// # Errors
/// If there is no prediction, or a count, shape or type does not fit.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use taper_kernels::{CatchUpWeights, catchup_loss};
/// let tensor = |value: f32| Tensor::new(&[[value]], &Device::Cpu);
/// let weights = CatchUpWeights { catch_up: &[1.0], truth: &[10.0], samples: None };
/// let loss = catchup_loss(&[&tensor(3.)?], &[&tensor(1.)?], &tensor(2.)?, None, &weights)?;
/// assert_eq!(loss.to_scalar::<f32>()?, 14.0); // (3 − 1)² + 10 (3 − 2)²
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn catchup_loss(
    predictions: &[&Tensor],
    targets: &[&Tensor],
    velocity: &Tensor,
    mask: Option<&Tensor>,
    weights: &CatchUpWeights<'_>,
) -> Result<Tensor> {
    let samples = check(predictions, targets, velocity, mask, weights)?;
    let contiguous = |tensors: &[&Tensor]| -> Result<Vec<Tensor>> {
        tensors.iter().map(|tensor| tensor.contiguous()).collect()
    };
    let (predictions, velocity) = (contiguous(predictions)?, velocity.contiguous()?);
    let detached = |tensors: &[Tensor]| tensors.iter().map(Tensor::detach).collect();
    let of_samples = weights.samples.map(|samples| samples.detach().contiguous());
    let operands = Arc::new(Operands {
        samples,
        predictions: detached(&predictions),
        targets: detached(&contiguous(targets)?),
        velocity: velocity.detach(),
        mask: mask.map(Tensor::contiguous).transpose()?,
        weights: weights
            .catch_up
            .iter()
            .copied()
            .zip(weights.truth.iter().copied())
            .collect(),
        of_samples: of_samples.transpose()?,
        gradients: predictions
            .iter()
            .chain([&velocity])
            .map(Slot::of)
            .collect(),
    });
    let mut loss = predictions[0].apply_op1(CatchUpLoss(operands.clone()))?;
    // The operator has one operand: the gradients of the others hang on operators that
    // hand the scalar on.
    for (slot, tensor) in predictions.iter().chain([&velocity]).enumerate().skip(1) {
        if tensor.track_op() {
            let operands = operands.clone();
            loss = loss.apply_op2(tensor, Attach { operands, slot })?;
        }
    }
    Ok(loss)
}

fn check(
    predictions: &[&Tensor],
    targets: &[&Tensor],
    velocity: &Tensor,
    mask: Option<&Tensor>,
    weights: &CatchUpWeights<'_>,
) -> Result<Samples> {
    let Some(&first) = predictions.first() else {
        return Err(value_error(
            OP,
            "predictions",
            "an empty list",
            "one or more tensors",
        ));
    };
    let samples = Samples::of(OP, "predictions", first)?;
    for (argument, found) in [
        ("targets", targets.len()),
        ("weights.catch_up", weights.catch_up.len()),
        ("weights.truth", weights.truth.len()),
    ] {
        if found != predictions.len() {
            let expected = format!("{}, one for each prediction", predictions.len());
            return Err(value_error(
                OP,
                argument,
                format!("a list of {found}"),
                expected,
            ));
        }
    }
    require_like(
        OP,
        first,
        predictions.iter().map(|&tensor| ("predictions", tensor)),
    )?;
    require_like(OP, first, targets.iter().map(|&tensor| ("targets", tensor)))?;
    require_like(OP, first, [("velocity", velocity)])?;
    if let Some(mask) = mask {
        require_shape(OP, "mask", mask, &[samples.batch])?;
        if mask.dtype() != DType::U8 {
            return Err(crate::KernelError::DType {
                op: OP,
                argument: "mask",
                found: mask.dtype(),
                expected: "U8".to_owned(),
            }
            .into());
        }
    }
    if let Some(of_samples) = weights.samples {
        samples.require_scalars(OP, "weights.samples", of_samples, first)?;
    }
    Ok(samples)
}

/// A gradient of the loss: absent where nobody may ask for it.
struct Slot {
    wanted: bool,
    kept: Mutex<Option<Tensor>>,
}

impl Slot {
    fn of(tensor: &Tensor) -> Self {
        Self {
            wanted: tensor.track_op(),
            kept: Mutex::new(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Tensor>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that the loss is made of, detached, and the gradients that a pass over it has written.
struct Operands {
    samples: Samples,
    predictions: Vec<Tensor>,
    targets: Vec<Tensor>,
    velocity: Tensor,
    mask: Option<Tensor>,
    /// (w1, w2) of every head.
    weights: Vec<(f64, f64)>,
    of_samples: Option<Tensor>,
    /// Of every prediction, then of the velocity.
    gradients: Vec<Slot>,
}

impl Operands {
    /// The loss; gradients that are wanted go to their slots.
    fn pass<T: Element>(&self) -> Result<T> {
        let of_samples: Vec<f64> = match &self.of_samples {
            Some(weights) => weights.to_dtype(DType::F64)?.to_vec1()?,
            None => vec![1.0; self.samples.batch],
        };
        let mask: Vec<bool> = match &self.mask {
            Some(mask) => mask
                .to_vec1::<u8>()?
                .into_iter()
                .map(|mask| mask != 0)
                .collect(),
            None => vec![true; self.samples.batch],
        };
        let found = with_slices::<T, _>(OP, "predictions", &self.predictions, |predictions| {
            with_slices::<T, _>(OP, "targets", &self.targets, |targets| {
                with_slice::<T, _>(OP, "velocity", &self.velocity, |velocity| {
                    let loss = cpu::Loss {
                        samples: self.samples,
                        predictions,
                        targets,
                        velocity,
                        mask: &mask,
                        weights: &self.weights,
                        of_samples: &of_samples,
                    };
                    let wanted = self.wanted();
                    Ok(loss.run(&wanted[..predictions.len()], wanted[predictions.len()]))
                })
            })
        })?;
        let gradients = found.of_predictions.into_iter().chain([found.of_velocity]);
        for (slot, values) in self.gradients.iter().zip(gradients) {
            if let Some(values) = values {
                let device = &candle_core::Device::Cpu;
                *slot.lock() = Some(Tensor::from_vec(values, self.velocity.shape(), device)?);
            }
        }
        Ok(T::from_f64(found.loss))
    }

    fn wanted(&self) -> Vec<bool> {
        self.gradients.iter().map(|slot| slot.wanted).collect()
    }

    /// A gradient times that of the loss.
    fn gradient(&self, slot: usize, upstream: &Tensor) -> Result<Option<Tensor>> {
        let slot = &self.gradients[slot];
        if !slot.wanted {
            return Ok(None);
        }
        #[cfg(feature = "cuda")]
        if upstream.device().is_cuda() {
            return self.gradient_on_device(slot, upstream).map(Some);
        }
        let kept = slot.lock().clone();
        kept.map(|kept| times(OP, &kept, upstream)).transpose()
    }
}

#[cfg(feature = "cuda")]
impl Operands {
    fn pass_on_device(&self, device: &candle_core::CudaDevice) -> Result<CudaStorage> {
        let one = std::slice::from_ref::<Tensor>;
        let mask: Vec<Tensor> = self.mask.iter().cloned().collect();
        let of_samples: Vec<Tensor> = self.of_samples.iter().cloned().collect();
        let wanted = self.wanted();
        let heads = self.predictions.len();
        let found = with_views(OP, "predictions", &self.predictions, |predictions| {
            with_views(OP, "targets", &self.targets, |targets| {
                with_views(OP, "velocity", one(&self.velocity), |velocity| {
                    with_views(OP, "mask", &mask, |mask| {
                        with_views(OP, "weights.samples", &of_samples, |of_samples| {
                            let loss = cuda::Loss {
                                samples: self.samples,
                                predictions,
                                targets,
                                velocity: velocity[0],
                                mask: mask.first().copied(),
                                weights: &self.weights,
                                of_samples: of_samples.first().copied(),
                            };
                            loss.run(device, &wanted[..heads], wanted[heads])
                        })
                    })
                })
            })
        })?;
        let gradients = found.of_predictions.into_iter().chain([found.of_velocity]);
        for (slot, gradient) in self.gradients.iter().zip(gradients) {
            if let Some(gradient) = gradient {
                *slot.lock() = Some(tensor(gradient, self.velocity.shape()));
            }
        }
        Ok(found.loss)
    }

    /// The gradient times that of the loss, which stays on the device: reading it would make the host wait.
    ///
    /// It is scaled in place, which costs nothing where the factor is 1: so it is handed out once,
    /// and another backward pass computes it anew.
    fn gradient_on_device(&self, slot: &Slot, upstream: &Tensor) -> Result<Tensor> {
        let mut kept = slot.lock().take();
        if kept.is_none() {
            self.pass_on_device(upstream.device().as_cuda_device()?)?;
            kept = slot.lock().take();
        }
        let Some(kept) = kept else {
            candle_core::bail!("{OP}: the pass wrote no gradient");
        };
        kept.inplace_op2(&upstream.contiguous()?, &ScaleInPlace)?;
        Ok(kept)
    }
}

/// `values ← values · factor` for a factor on the same device.
#[cfg(feature = "cuda")]
struct ScaleInPlace;

#[cfg(feature = "cuda")]
impl candle_core::InplaceOp2 for ScaleInPlace {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        candle_core::bail!("{OP}: gradients on the CPU are not scaled in place")
    }

    fn cuda_fwd(
        &self,
        values: &mut CudaStorage,
        layout: &Layout,
        factor: &CudaStorage,
        factor_layout: &Layout,
    ) -> Result<()> {
        let device = values.device().clone();
        let form = (values.dtype(), layout.shape().elem_count());
        let factor = View::of(OP, "gradient", factor, factor_layout)?;
        cuda::scale_in_place(&device, values, form, factor)
    }
}

/// The loss, as a function of the first prediction.
struct CatchUpLoss(Arc<Operands>);

impl CustomOp1 for CatchUpLoss {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, first: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let loss = match first.dtype() {
            DType::F32 => CpuStorage::F32(vec![self.0.pass()?]),
            DType::F64 => CpuStorage::F64(vec![self.0.pass()?]),
            other => return Err(unsupported(OP, "predictions", other)),
        };
        Ok((loss, Shape::from(())))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, first: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        Ok((self.0.pass_on_device(first.device())?, Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        self.0.gradient(0, gradient)
    }
}

/// The loss, unchanged, tied to one more tensor whose gradient is known.
struct Attach {
    operands: Arc<Operands>,
    slot: usize,
}

impl CustomOp2 for Attach {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        loss: &CpuStorage,
        layout: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let loss = match loss {
            CpuStorage::F32(_) => CpuStorage::F32(slice(OP, loss, layout)?.to_vec()),
            _ => CpuStorage::F64(slice(OP, loss, layout)?.to_vec()),
        };
        Ok((loss, Shape::from(())))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        loss: &CudaStorage,
        layout: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        Ok((loss.try_clone(layout)?, Shape::from(())))
    }

    fn bwd(
        &self,
        loss: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let of_tensor = self.operands.gradient(self.slot, gradient)?;
        Ok((loss.track_op().then(|| gradient.clone()), of_tensor))
    }
}
