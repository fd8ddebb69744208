//! Binary cross-entropy of logits.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;

use crate::copy_strided::copy_strided;
#[cfg(feature = "cuda")]
use crate::cuda::View;
use crate::element::Element;
use crate::operand::{require_dtype, require_float, require_shape, slice, unsupported};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor};

const OP: &str = "binary_cross_entropy_with_logits";

/// The mean of `−y ln σ(x) − (1 − y) ln(1 − σ(x))` over all elements, a scalar.
///
/// * `logits` x and `targets` y: one shape; targets are probabilities, often 0 or 1
///
/// As `torch.nn.functional.binary_cross_entropy_with_logits`, computed as
/// `(1 − y) x − ln σ(x)` with `ln σ(x) = min(x, 0) − ln(1 + e^−|x|)`, in `f64`: no logit overflows.
/// With targets 0 and 1 this is the multilabel soft-margin loss of weakly supervised segmentation,
/// the mean of `ln(1 + e^((1 − 2y) x))`. Differentiable in both: `(σ(x) − y) / n` and `−x / n`.
/// Reads both tensors once; each gradient reads what it needs and is written once.
/// The mean over no elements is NaN, as in PyTorch.
///
/// # Errors
/// If shapes or types differ, or the type is neither `f32` nor `f64`.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let (logits, targets) = (Tensor::new(&[0f64, 200.], &Device::Cpu)?, Tensor::new(&[1f64, 1.], &Device::Cpu)?);
/// let loss = taper_kernels::binary_cross_entropy_with_logits(&logits, &targets)?;
/// assert!((loss.to_scalar::<f64>()? - 2f64.ln() / 2.0).abs() < 1e-15);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn binary_cross_entropy_with_logits(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    require_float(OP, "logits", logits)?;
    require_dtype(OP, "targets", targets, logits.dtype())?;
    require_shape(OP, "targets", targets, logits.dims())?;
    copy_strided(logits)?.apply_op2(&copy_strided(targets)?, BinaryCrossEntropy)
}

struct BinaryCrossEntropy;

impl BinaryCrossEntropy {
    fn forward<T: Element>(
        logits: (&CpuStorage, &Layout),
        targets: (&CpuStorage, &Layout),
    ) -> Result<CpuStorage> {
        let loss = cpu::mean_loss::<T>(
            slice(OP, logits.0, logits.1)?,
            slice(OP, targets.0, targets.1)?,
        );
        Ok(T::to_cpu_storage_owned(vec![T::from_f64(loss)]))
    }
}

impl CustomOp2 for BinaryCrossEntropy {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        logits: &CpuStorage,
        logits_layout: &Layout,
        targets: &CpuStorage,
        targets_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let operands = ((logits, logits_layout), (targets, targets_layout));
        let loss = match logits.dtype() {
            DType::F32 => Self::forward::<f32>(operands.0, operands.1)?,
            DType::F64 => Self::forward::<f64>(operands.0, operands.1)?,
            other => return Err(unsupported(OP, "logits", other)),
        };
        Ok((loss, Shape::from(())))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        logits: &CudaStorage,
        logits_layout: &Layout,
        targets: &CudaStorage,
        targets_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let loss = cuda::mean_loss(
            logits.device(),
            View::of(OP, "logits", logits, logits_layout)?,
            View::of(OP, "targets", targets, targets_layout)?,
        )?;
        Ok((loss, Shape::from(())))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        targets: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let of = |argument: Argument, tensor: &Tensor| {
            tensor
                .track_op()
                .then(|| logits.apply_op3_no_bwd(targets, gradient, &Gradient(argument)))
                .transpose()
        };
        Ok((
            of(Argument::Logits, logits)?,
            of(Argument::Targets, targets)?,
        ))
    }
}

#[derive(Clone, Copy)]
enum Argument {
    Logits,
    Targets,
}

/// The gradient in one argument, from logits, targets and the gradient of the mean.
struct Gradient(Argument);

impl Gradient {
    fn run<T: Element>(
        &self,
        logits: (&CpuStorage, &Layout),
        targets: (&CpuStorage, &Layout),
        gradient: (&CpuStorage, &Layout),
    ) -> Result<CpuStorage> {
        let (logits, targets) = (
            slice::<T>(OP, logits.0, logits.1)?,
            slice::<T>(OP, targets.0, targets.1)?,
        );
        // A scalar.
        let gradient = slice::<T>(OP, gradient.0, gradient.1)?[0];
        Ok(T::to_cpu_storage_owned(match self.0 {
            Argument::Logits => cpu::logits_gradient(logits, targets, gradient),
            Argument::Targets => cpu::targets_gradient(logits, gradient),
        }))
    }
}

impl CustomOp3 for Gradient {
    fn name(&self) -> &'static str {
        "binary_cross_entropy_with_logits_gradient"
    }

    fn cpu_fwd(
        &self,
        logits: &CpuStorage,
        logits_layout: &Layout,
        targets: &CpuStorage,
        targets_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (logits, targets, gradient) = (
            (logits, logits_layout),
            (targets, targets_layout),
            (gradient, gradient_layout),
        );
        let found = match logits.0.dtype() {
            DType::F32 => self.run::<f32>(logits, targets, gradient)?,
            DType::F64 => self.run::<f64>(logits, targets, gradient)?,
            other => return Err(unsupported(OP, "logits", other)),
        };
        Ok((found, logits_layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        logits: &CudaStorage,
        logits_layout: &Layout,
        targets: &CudaStorage,
        targets_layout: &Layout,
        gradient: &CudaStorage,
        gradient_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let targets = match self.0 {
            Argument::Logits => Some(View::of(OP, "targets", targets, targets_layout)?),
            Argument::Targets => None,
        };
        let found = cuda::gradient(
            logits.device(),
            View::of(OP, "logits", logits, logits_layout)?,
            targets,
            View::of(OP, "gradient", gradient, gradient_layout)?,
        )?;
        Ok((found, logits_layout.shape().clone()))
    }
}
