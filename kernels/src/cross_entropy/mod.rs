//! Cross-entropy of logits against class indices.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;

#[cfg(feature = "cuda")]
use crate::cuda::{View, hold, tensor};
use crate::element::Element;
use crate::operand::{require_float, require_shape, shape_error, slice, unsupported, value_error};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
use std::sync::OnceLock;

const OP: &str = "cross_entropy";

/// The mean over the batch of `−Σ_k q_k ln softmax(logits)_k`, a scalar.
///
/// * `logits`: `[batch, classes]`
/// * `targets`: `u32`, `[batch]`, each below `classes`
/// * `label_smoothing` ε in 0 … 1: q is (1 − ε) on the target plus ε / classes everywhere
///   (Szegedy et al. 2016, section 7), as `torch.nn.functional.cross_entropy`
///
/// Differentiable in the logits; their gradient is written in the forward pass where
/// they are tracked. The mean over an empty batch is NaN, as in PyTorch. On a GPU, where
/// looking at the targets would make the host wait, one out of range makes the loss NaN
/// instead of being an error.
///
/// # Errors
/// If a shape, type or target does not fit, or ε lies outside 0 … 1.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let logits = Tensor::new(&[[0f64, 0.]], &Device::Cpu)?;
/// let loss = taper_kernels::cross_entropy(&logits, &Tensor::new(&[1u32], &Device::Cpu)?, 0.0)?;
/// assert_eq!(loss.to_scalar::<f64>()?, 2f64.ln());
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn cross_entropy(logits: &Tensor, targets: &Tensor, label_smoothing: f64) -> Result<Tensor> {
    require_float(OP, "logits", logits)?;
    let [batch, classes] = *logits.dims() else {
        return Err(shape_error(OP, "logits", logits, "[batch, classes]"));
    };
    if targets.dtype() != DType::U32 {
        let (argument, found) = ("targets", targets.dtype());
        return Err(crate::KernelError::DType {
            op: OP,
            argument,
            found,
            expected: "U32".to_owned(),
        }
        .into());
    }
    require_shape(OP, "targets", targets, &[batch])?;
    if !(0.0..=1.0).contains(&label_smoothing) {
        return Err(value_error(
            OP,
            "label_smoothing",
            label_smoothing,
            "a number from 0 to 1",
        ));
    }
    let gradient = logits.track_op().then(OnceLock::new);
    let targets = targets.contiguous()?;
    #[cfg(feature = "cuda")]
    if logits.device().is_cuda() {
        return logits.contiguous()?.apply_op1(CrossEntropy {
            targets: Targets::Device(targets),
            classes,
            label_smoothing,
            gradient,
        });
    }
    let targets = targets.to_vec1::<u32>()?;
    if let Some(target) = targets.iter().find(|&&target| target as usize >= classes) {
        return Err(value_error(
            OP,
            "targets",
            format!("class {target}"),
            format!("classes below {classes}"),
        ));
    }
    logits.contiguous()?.apply_op1(CrossEntropy {
        targets: Targets::Host(targets),
        classes,
        label_smoothing,
        gradient,
    })
}

/// The class indices, where the logits are.
enum Targets {
    Host(Vec<u32>),
    #[cfg(feature = "cuda")]
    Device(Tensor),
}

struct CrossEntropy {
    targets: Targets,
    classes: usize,
    label_smoothing: f64,
    /// The gradient of the loss, if a backward pass may ask.
    gradient: Option<OnceLock<Tensor>>,
}

impl CrossEntropy {
    fn forward<T: Element>(&self, logits: &[T], shape: &Shape) -> Result<CpuStorage> {
        // With one device there is one kind of targets.
        #[allow(clippy::infallible_destructuring_match)]
        let targets = match &self.targets {
            Targets::Host(targets) => targets,
            #[cfg(feature = "cuda")]
            Targets::Device(_) => candle_core::bail!("{OP}: the targets are on another device"),
        };
        let (loss, gradient) = cpu::forward(
            logits,
            targets,
            self.classes,
            self.label_smoothing,
            self.gradient.is_some(),
        );
        if let (Some(kept), Some(gradient)) = (&self.gradient, gradient) {
            let gradient = Tensor::from_vec(gradient, shape, &candle_core::Device::Cpu)?;
            kept.get_or_init(|| gradient);
        }
        Ok(T::to_cpu_storage_owned(vec![T::from_f64(loss)]))
    }
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let loss = match storage.dtype() {
            DType::F32 => self.forward::<f32>(slice(OP, storage, layout)?, layout.shape())?,
            DType::F64 => self.forward::<f64>(slice(OP, storage, layout)?, layout.shape())?,
            other => return Err(unsupported(OP, "logits", other)),
        };
        Ok((loss, Shape::from(())))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let Targets::Device(targets) = &self.targets else {
            candle_core::bail!("{OP}: the targets are on another device");
        };
        let targets = hold(OP, "targets", targets);
        let (loss, gradient) = cuda::forward(
            &storage.device,
            View::of(OP, "logits", storage, layout)?,
            targets.view()?,
            self.classes,
            self.label_smoothing,
            self.gradient.is_some(),
        )?;
        if let (Some(kept), Some(gradient)) = (&self.gradient, gradient) {
            kept.get_or_init(|| tensor(gradient, layout.shape()));
        }
        Ok((loss, Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        crate::kept::scaled(OP, self.gradient.as_ref(), gradient)
    }
}
