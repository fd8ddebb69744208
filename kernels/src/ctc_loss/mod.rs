//! Connectionist temporal classification: the loss of all alignments of a target with frames.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;
mod wide;

#[cfg(feature = "cuda")]
use crate::cuda::{View, hold, tensor};
use crate::element::Element;
use crate::kept::times;
use crate::operand::{require_float, shape_error, slice, unsupported, value_error, with_slice};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
use std::sync::OnceLock;

const OP: &str = "ctc_loss";

/// How the losses of the samples become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CtcReduction {
    /// Not at all: `[batch]`.
    None,
    /// Each divided by its target's length (at least 1), then their mean: a scalar.
    #[default]
    Mean,
    /// Their sum: a scalar.
    Sum,
}

/// The options of [`ctc_loss`]; the defaults are PyTorch's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CtcOptions {
    /// The class of no label.
    pub blank: usize,
    /// Whether a target that no alignment reaches counts 0, with gradient 0, instead of ∞.
    pub zero_infinity: bool,
    /// How the losses become one.
    pub reduction: CtcReduction,
}

/// `−ln Σ_alignments Π_t p_t(alignment_t)`, over all alignments that become the target when
/// repetitions and then blanks are removed (Graves et al. 2006, equations 3 to 8).
///
/// * `log_probs`: `[frames, batch, classes]`, logarithms of probabilities
/// * `targets`: `u32`, `[batch, longest]`, or all targets one after the other, `[sum of lengths]`;
///   what lies behind a target's length is not read
/// * `input_lengths`, `target_lengths`: one a sample
///
/// As `torch.nn.functional.ctc_loss`, with one difference: the gradient is the derivative
/// with respect to `log_probs`, minus the share of alignments that stand at a class in a frame.
/// PyTorch adds the probability itself, which is right only behind a log-softmax; there the two
/// are equal. Where the loss is not finite (and `zero_infinity` does not make it 0), the gradient
/// of the sample's frames is NaN. A sample without frames has loss 0 if its target is empty, else ∞.
///
/// The sums are `f64` with exponents of any size, so nothing underflows, and the result of
/// `f32` is the rounded one of `f64`. Where `log_probs` are tracked the forward pass writes
/// their gradient. Samples are shared out to threads. Workspace while a sample is worked on:
/// 32 bytes a frame and label, of two frames only if no gradient is wanted.
///
/// # Errors
/// If a shape or type does not fit, a length is too long, or a label is the blank or no class.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use taper_kernels::{CtcOptions, ctc_loss};
/// // Two frames, even chances: "aa", "a-" and "-a" are three of the four alignments.
/// let log_probs = Tensor::full(0.5f64.ln(), (2, 1, 2), &Device::Cpu)?;
/// let targets = Tensor::new(&[[1u32]], &Device::Cpu)?;
/// let loss = ctc_loss(&log_probs, &targets, &[2], &[1], &CtcOptions::default())?;
/// assert!((loss.to_scalar::<f64>()? + 0.75f64.ln()).abs() < 1e-15);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn ctc_loss(
    log_probs: &Tensor,
    targets: &Tensor,
    input_lengths: &[usize],
    target_lengths: &[usize],
    options: &CtcOptions,
) -> Result<Tensor> {
    require_float(OP, "log_probs", log_probs)?;
    let geometry = Geometry::new(log_probs, targets, input_lengths, target_lengths, options)?;
    let op = CtcLoss {
        geometry,
        reduction: options.reduction,
        gradient: log_probs.track_op().then(OnceLock::new),
    };
    log_probs.contiguous()?.apply_op1(op)
}

/// The targets and lengths of a batch, known to fit.
struct Geometry {
    frames: usize,
    classes: usize,
    blank: usize,
    zero_infinity: bool,
    input_lengths: Vec<usize>,
    /// All targets one after the other; sample b's end at `ends[b]`.
    targets: Vec<u32>,
    ends: Vec<usize>,
}

impl Geometry {
    fn new(
        log_probs: &Tensor,
        targets: &Tensor,
        input_lengths: &[usize],
        target_lengths: &[usize],
        options: &CtcOptions,
    ) -> Result<Self> {
        let [frames, batch, classes] = *log_probs.dims() else {
            let expected = "[frames, batch, classes]";
            return Err(shape_error(OP, "log_probs", log_probs, expected));
        };
        if options.blank >= classes {
            let expected = format!("a class below {classes}");
            return Err(value_error(OP, "blank", options.blank, expected));
        }
        check_lengths("input_lengths", input_lengths, batch, Some(frames))?;
        check_lengths("target_lengths", target_lengths, batch, None)?;
        let targets = flat_targets(targets, target_lengths)?;
        for &target in &targets {
            if target as usize >= classes || target as usize == options.blank {
                let expected = format!(
                    "classes below {classes} other than the blank, {}",
                    options.blank
                );
                return Err(value_error(
                    OP,
                    "targets",
                    format!("class {target}"),
                    expected,
                ));
            }
        }
        let ends = target_lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        });
        Ok(Self {
            frames,
            classes,
            blank: options.blank,
            zero_infinity: options.zero_infinity,
            input_lengths: input_lengths.to_vec(),
            targets,
            ends: ends.collect(),
        })
    }

    fn batch(&self) -> usize {
        self.ends.len()
    }

    fn targets_of(&self, sample: usize) -> &[u32] {
        let start = if sample == 0 {
            0
        } else {
            self.ends[sample - 1]
        };
        &self.targets[start..self.ends[sample]]
    }

    /// What each loss counts in the result.
    fn weights(&self, reduction: CtcReduction) -> Vec<f64> {
        let weight = |sample| match reduction {
            CtcReduction::Mean => {
                1.0 / (self.targets_of(sample).len().max(1) as f64 * self.batch() as f64)
            }
            CtcReduction::None | CtcReduction::Sum => 1.0,
        };
        (0..self.batch()).map(weight).collect()
    }
}

fn check_lengths(
    argument: &'static str,
    lengths: &[usize],
    batch: usize,
    most: Option<usize>,
) -> Result<()> {
    if lengths.len() != batch {
        let found = format!("a list of {}", lengths.len());
        return Err(value_error(
            OP,
            argument,
            found,
            format!("{batch}, one for each sample"),
        ));
    }
    match lengths
        .iter()
        .find(|&&length| most.is_some_and(|most| length > most))
    {
        Some(length) => {
            let expected = format!("at most the {} there are", most.unwrap_or(0));
            Err(value_error(OP, argument, length, expected))
        }
        None => Ok(()),
    }
}

/// All targets one after the other, without what pads them.
fn flat_targets(targets: &Tensor, lengths: &[usize]) -> Result<Vec<u32>> {
    if targets.dtype() != DType::U32 {
        return Err(crate::KernelError::DType {
            op: OP,
            argument: "targets",
            found: targets.dtype(),
            expected: "U32".to_owned(),
        }
        .into());
    }
    let total = lengths
        .iter()
        .fold(0usize, |sum, &length| sum.saturating_add(length));
    match *targets.dims() {
        [found] if found == total => targets.to_vec1(),
        [rows, longest] if rows == lengths.len() => {
            check_lengths("target_lengths", lengths, rows, Some(longest))?;
            let rows = targets.to_vec2::<u32>()?;
            let each = rows.iter().zip(lengths);
            Ok(each
                .flat_map(|(row, &length)| row[..length].iter().copied())
                .collect())
        }
        _ => {
            let expected = format!("[{}, longest] or [{total}]", lengths.len());
            Err(shape_error(OP, "targets", targets, expected))
        }
    }
}

struct CtcLoss {
    geometry: Geometry,
    reduction: CtcReduction,
    /// The gradient of the loss (of the sum, without a reduction), if a backward pass may ask.
    gradient: Option<OnceLock<Tensor>>,
}

impl CtcLoss {
    fn forward<T: Element>(&self, log_probs: &[T], shape: &Shape) -> Result<CpuStorage> {
        let weights = self.geometry.weights(self.reduction);
        let wanted = self.gradient.is_some().then_some(&weights[..]);
        let (losses, gradient) = cpu::forward(log_probs, &self.geometry, wanted);
        if let (Some(kept), Some(gradient)) = (&self.gradient, gradient) {
            let gradient = Tensor::from_vec(gradient, shape, &candle_core::Device::Cpu)?;
            kept.get_or_init(|| gradient);
        }
        let weighted = losses
            .iter()
            .zip(&weights)
            .map(|(loss, weight)| loss * weight);
        let values = match self.reduction {
            CtcReduction::None => losses.iter().map(|&loss| T::from_f64(loss)).collect(),
            CtcReduction::Mean if losses.is_empty() => vec![T::from_f64(f64::NAN)],
            CtcReduction::Mean | CtcReduction::Sum => {
                vec![T::from_f64(weighted.fold(0.0, |sum, loss| sum + loss))]
            }
        };
        Ok(T::to_cpu_storage_owned(values))
    }

    fn shape(&self) -> Shape {
        match self.reduction {
            CtcReduction::None => Shape::from(self.geometry.batch()),
            CtcReduction::Mean | CtcReduction::Sum => Shape::from(()),
        }
    }
}

/// The kept gradient, each sample's part times what arrives for its loss.
fn scaled_by_sample(kept: &Tensor, upstream: &Tensor) -> Result<Tensor> {
    fn scale<T: Element>(kept: &Tensor, upstream: &Tensor) -> Result<Tensor> {
        let classes = kept.dim(2)?;
        let values = with_slice::<T, _>(OP, "gradient", kept, |kept| {
            with_slice(OP, "gradient", upstream, |upstream| {
                Ok(cpu::scale_samples(kept, upstream, classes))
            })
        })?;
        Tensor::from_vec(values, kept.shape(), kept.device())
    }
    match kept.dtype() {
        DType::F32 if kept.device().is_cpu() => scale::<f32>(kept, upstream),
        DType::F64 if kept.device().is_cpu() => scale::<f64>(kept, upstream),
        _ => kept.broadcast_mul(&upstream.reshape((1, upstream.elem_count(), 1))?),
    }
}

impl CustomOp1 for CtcLoss {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let losses = match storage.dtype() {
            DType::F32 => self.forward::<f32>(slice(OP, storage, layout)?, layout.shape())?,
            DType::F64 => self.forward::<f64>(slice(OP, storage, layout)?, layout.shape())?,
            other => return Err(unsupported(OP, "log_probs", other)),
        };
        Ok((losses, self.shape()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let device = storage.device();
        let plan = cuda::plan(&self.geometry);
        let length = plan.len();
        let plan = Tensor::from_vec(plan, length, &candle_core::Device::Cuda(device.clone()))?;
        let plan = hold(OP, "targets", &plan);
        let (losses, gradient) = cuda::forward(
            device,
            View::of(OP, "log_probs", storage, layout)?,
            plan.view()?,
            &self.geometry,
            self.reduction,
            self.gradient.is_some(),
        )?;
        if let (Some(kept), Some(gradient)) = (&self.gradient, gradient) {
            kept.get_or_init(|| tensor(gradient, layout.shape()));
        }
        Ok((losses, self.shape()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let Some(kept) = self.gradient.as_ref().and_then(OnceLock::get) else {
            return Ok(None);
        };
        match self.reduction {
            CtcReduction::None => scaled_by_sample(kept, gradient),
            CtcReduction::Mean | CtcReduction::Sum => times(OP, kept, gradient),
        }
        .map(Some)
    }
}
