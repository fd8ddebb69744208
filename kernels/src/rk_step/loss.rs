//! The catch-up loss: every head against its target and against the true velocity.

use super::{Samples, cpu, require_like};
use crate::element::Element;
use crate::kept::scaled;
use crate::operand::{require_shape, slice, unsupported, value_error, with_slice, with_slices};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor};
use std::sync::{Arc, OnceLock};

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
    let slot = |tensor: &Tensor| tensor.track_op().then(OnceLock::new);
    let gradients = Arc::new(Gradients {
        predictions: predictions.iter().map(slot).collect(),
        velocity: slot(&velocity),
    });
    let op = CatchUpLoss {
        samples,
        predictions: detached(&predictions[1..]),
        targets: contiguous(targets)?.iter().map(Tensor::detach).collect(),
        velocity: velocity.detach(),
        mask: mask.map(Tensor::contiguous).transpose()?,
        weights: weights
            .catch_up
            .iter()
            .copied()
            .zip(weights.truth.iter().copied())
            .collect(),
        of_samples: weights
            .samples
            .map(|samples| samples.detach().contiguous())
            .transpose()?,
        gradients: gradients.clone(),
    };
    let mut loss = predictions[0].apply_op1(op)?;
    for (index, prediction) in predictions.iter().enumerate().skip(1) {
        loss = attach(loss, prediction, &gradients, Some(index))?;
    }
    attach(loss, &velocity, &gradients, None)
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

/// The gradients of the loss that a backward pass may ask for.
struct Gradients {
    predictions: Vec<Option<OnceLock<Tensor>>>,
    velocity: Option<OnceLock<Tensor>>,
}

impl Gradients {
    /// The slot of a prediction, or of the velocity.
    fn slot(&self, prediction: Option<usize>) -> Option<&OnceLock<Tensor>> {
        match prediction {
            Some(index) => self.predictions[index].as_ref(),
            None => self.velocity.as_ref(),
        }
    }
}

/// The operand is the first prediction; the others are tied to the result by [`Attach`].
struct CatchUpLoss {
    samples: Samples,
    /// All but the first.
    predictions: Vec<Tensor>,
    targets: Vec<Tensor>,
    velocity: Tensor,
    mask: Option<Tensor>,
    /// (w1, w2) of every head.
    weights: Vec<(f64, f64)>,
    of_samples: Option<Tensor>,
    gradients: Arc<Gradients>,
}

impl CatchUpLoss {
    fn forward<T: Element>(&self, first: &[T], shape: &Shape) -> Result<CpuStorage> {
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
        let others = &self.predictions;
        let found = with_slices::<T, _>(OP, "predictions", others, |others| {
            with_slices::<T, _>(OP, "targets", &self.targets, |targets| {
                with_slice::<T, _>(OP, "velocity", &self.velocity, |velocity| {
                    let predictions: Vec<&[T]> = std::iter::once(first)
                        .chain(others.iter().copied())
                        .collect();
                    let loss = cpu::Loss {
                        samples: self.samples,
                        predictions: &predictions,
                        targets,
                        velocity,
                        mask: &mask,
                        weights: &self.weights,
                        of_samples: &of_samples,
                    };
                    let wanted: Vec<bool> = self
                        .gradients
                        .predictions
                        .iter()
                        .map(Option::is_some)
                        .collect();
                    Ok(loss.run(&wanted, self.gradients.velocity.is_some()))
                })
            })
        })?;
        let keep = |slot: Option<&OnceLock<Tensor>>, values: Option<Vec<T>>| -> Result<()> {
            if let (Some(slot), Some(values)) = (slot, values) {
                let gradient = Tensor::from_vec(values, shape, &candle_core::Device::Cpu)?;
                slot.get_or_init(|| gradient);
            }
            Ok(())
        };
        for (index, values) in found.of_predictions.into_iter().enumerate() {
            keep(self.gradients.slot(Some(index)), values)?;
        }
        keep(self.gradients.slot(None), found.of_velocity)?;
        Ok(T::to_cpu_storage_owned(vec![T::from_f64(found.loss)]))
    }
}

impl CustomOp1 for CatchUpLoss {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let loss = match storage.dtype() {
            DType::F32 => self.forward::<f32>(slice(OP, storage, layout)?, layout.shape())?,
            DType::F64 => self.forward::<f64>(slice(OP, storage, layout)?, layout.shape())?,
            other => return Err(unsupported(OP, "predictions", other)),
        };
        Ok((loss, Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        scaled(OP, self.gradients.slot(Some(0)), gradient)
    }
}

/// The loss, unchanged, tied to one more tensor whose gradient is known.
fn attach(
    loss: Tensor,
    tensor: &Tensor,
    gradients: &Arc<Gradients>,
    prediction: Option<usize>,
) -> Result<Tensor> {
    if !tensor.track_op() {
        return Ok(loss);
    }
    let gradients = gradients.clone();
    loss.apply_op2(
        tensor,
        Attach {
            gradients,
            prediction,
        },
    )
}

struct Attach {
    gradients: Arc<Gradients>,
    prediction: Option<usize>,
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

    fn bwd(
        &self,
        loss: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let of_tensor = scaled(OP, self.gradients.slot(self.prediction), gradient)?;
        Ok((loss.track_op().then(|| gradient.clone()), of_tensor))
    }
}
