//! Cross-entropy of logits against class indices.

mod cpu;

use crate::element::Element;
use crate::operand::{require_float, require_shape, shape_error, slice, unsupported, value_error};
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
/// they are tracked. The mean over an empty batch is NaN, as in PyTorch.
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
    let targets = targets.to_vec1::<u32>()?;
    if let Some(target) = targets.iter().find(|&&target| target as usize >= classes) {
        return Err(value_error(
            OP,
            "targets",
            format!("class {target}"),
            format!("classes below {classes}"),
        ));
    }
    let gradient = logits.track_op().then(OnceLock::new);
    logits.contiguous()?.apply_op1(CrossEntropy {
        targets,
        classes,
        label_smoothing,
        gradient,
    })
}

struct CrossEntropy {
    targets: Vec<u32>,
    classes: usize,
    label_smoothing: f64,
    /// The gradient of the loss, if a backward pass may ask.
    gradient: Option<OnceLock<Tensor>>,
}

impl CrossEntropy {
    fn forward<T: Element>(&self, logits: &[T], shape: &Shape) -> Result<CpuStorage> {
        let (loss, gradient) = cpu::forward(
            logits,
            &self.targets,
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

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let Some(kept) = self.gradient.as_ref().and_then(OnceLock::get) else {
            return Ok(None);
        };
        let factor = gradient.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        kept.affine(factor, 0.0).map(Some)
    }
}
