//! Batch norms folded into the convolutions before them: `conv.weight` and `conv.bias` remain.
//!
//! In evaluation a batch norm is an affine map a channel: with s = γ / √(v + eps) the convolution's
//! weight becomes s W and its bias s (b - μ) + β. What follows a sum or an activation (the first
//! norm of a pre-activation block, the last of a wide ResNet) cannot be folded and stays.

use super::{MergeOptions, MergeReport, write};
use crate::classifier::classifier_of;
use crate::convert::{ConvertProgress, Payload, PlannedTensor};
use crate::pattern::BATCH_NORM;
use crate::{
    Checkpoint, ElementType, LoadedClassifier, NORMALISATION_METADATA_KEY, WeightsError,
    load_within,
};
use candle_core::{DType, Device, Tensor};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use taper_layers::{DEFAULT_EPS, TensorInfo};
use taper_vision::registry::CONFIG_METADATA_KEY;
use taper_vision::{ModelConfig, ModelEntry};

/// Key of the metadata that says which batch norm went into which convolution, as a JSON object.
pub const FOLDED_METADATA_KEY: &str = "taper.folded_batch_norm";

/// Folds the batch norms of a classifier's file, and writes the result to `output`.
///
/// [`load_classifier`](crate::load_classifier) reads it into the same network; other programs find plain convolutions.
///
/// # Errors
/// [`WeightsError`]: the file does not fit, or has nothing to fold.
pub fn fold_batch_norm(
    entry: &'static ModelEntry,
    input: impl AsRef<Path>,
    output: impl AsRef<Path>,
    options: &MergeOptions,
    progress: ConvertProgress<'_>,
) -> Result<MergeReport, WeightsError> {
    let input = input.as_ref();
    let loaded = classifier_of(entry, load_within(input, &options.limits)?)?;
    let mut state = loaded.store.state();
    let pairs = pairs(&loaded.config, &state);
    if pairs.is_empty() {
        return Err(WeightsError::Misfit {
            path: input.to_path_buf(),
            model: entry.name.to_string(),
            details: "no batch norm follows a convolution directly".into(),
        });
    }
    let norms = state.keys().filter(|name| name.ends_with(".running_mean"));
    let kept = norms.count() - pairs.len();
    for (norm, conv) in &pairs {
        fold_pair(&mut state, norm, conv)?;
    }
    let mut notes = vec![format!("{} batch norms folded", pairs.len())];
    if kept > 0 {
        notes.push(format!(
            "{kept} batch norms stay: a sum or an activation stands before them"
        ));
    }
    let metadata = metadata(&loaded, &pairs).map_err(|error| WeightsError::Format {
        path: input.to_path_buf(),
        reason: error.to_string(),
    })?;
    let mut tensors = Vec::new();
    for (name, tensor) in &state {
        let dtype = match tensor.dtype() {
            DType::I64 => ElementType::I64,
            _ => ElementType::F32,
        };
        let bytes = bytes(tensor)?;
        tensors.push(PlannedTensor {
            name: name.clone(),
            dtype,
            shape: tensor.dims().to_vec(),
            from: dtype,
            payload: Payload::Computed(Box::new(move |sink| sink(&bytes))),
        });
    }
    write(
        output.as_ref(),
        &BTreeSet::from([PathBuf::from(input)]),
        options,
        tensors,
        &metadata,
        notes,
        progress,
    )
}

fn metadata(
    loaded: &LoadedClassifier,
    pairs: &BTreeMap<String, String>,
) -> serde_json::Result<BTreeMap<String, String>> {
    Ok(BTreeMap::from([
        (
            CONFIG_METADATA_KEY.to_string(),
            serde_json::to_string(&loaded.config)?,
        ),
        (
            NORMALISATION_METADATA_KEY.to_string(),
            serde_json::to_string(&loaded.normalisation)?,
        ),
        (
            FOLDED_METADATA_KEY.to_string(),
            serde_json::to_string(pairs)?,
        ),
        ("format".to_string(), "pt".to_string()),
    ]))
}

/// Each batch norm that directly follows a convolution, and that convolution.
fn pairs(config: &ModelConfig, state: &BTreeMap<String, Tensor>) -> BTreeMap<String, String> {
    let norms = state
        .keys()
        .filter_map(|name| name.strip_suffix(".running_mean"));
    norms
        .filter_map(|norm| {
            let (parent, own) = norm.rsplit_once('.').unwrap_or(("", norm));
            let conv = match config {
                // Norm, ReLU, convolution, norm, ReLU, convolution: only the second norm follows one.
                ModelConfig::WideResnet(_) => (own == "bn2").then(|| "conv1".to_string())?,
                _ => match own.strip_prefix("bn") {
                    Some(number) => format!("conv{number}"),
                    None => (own.parse::<usize>().ok()?.checked_sub(1)?).to_string(),
                },
            };
            let conv = match parent {
                "" => conv,
                parent => format!("{parent}.{conv}"),
            };
            let weight = state.get(&format!("{conv}.weight"))?;
            let channels = state.get(&format!("{norm}.running_mean"))?.dims();
            let follows = weight.rank() == 4 && weight.dims()[..1] == *channels;
            follows.then(|| (norm.to_string(), conv))
        })
        .collect()
}

fn fold_pair(
    state: &mut BTreeMap<String, Tensor>,
    norm: &str,
    conv: &str,
) -> candle_core::Result<()> {
    let mut take = |name: &str| match state.remove(&format!("{norm}.{name}")) {
        Some(tensor) => Ok(tensor),
        None => candle_core::bail!("tensor {norm}.{name}: missing"),
    };
    let [gamma, beta, mean, variance, _] = {
        let mut parts = Vec::new();
        for part in BATCH_NORM {
            parts.push(take(part)?);
        }
        match <[Tensor; 5]>::try_from(parts) {
            Ok(parts) => parts,
            Err(_) => candle_core::bail!("{norm}: not five tensors"),
        }
    };
    let bias = state.get(&format!("{conv}.bias")).cloned();
    let Some(weight) = state.get(&format!("{conv}.weight")) else {
        candle_core::bail!("tensor {conv}.weight: missing");
    };
    let (weight, bias) = taper_kernels::fold_batch_norm(
        weight,
        bias.as_ref(),
        &gamma,
        &beta,
        (&mean, &variance),
        DEFAULT_EPS,
    )?;
    state.insert(format!("{conv}.weight"), weight);
    state.insert(format!("{conv}.bias"), bias);
    Ok(())
}

fn bytes(tensor: &Tensor) -> candle_core::Result<Vec<u8>> {
    let flat = tensor.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::I64 => {
            let numbers = flat.to_vec1::<i64>()?;
            numbers.into_iter().flat_map(i64::to_le_bytes).collect()
        }
        _ => {
            let numbers = flat.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            numbers.into_iter().flat_map(f32::to_le_bytes).collect()
        }
    })
}

fn folded(metadata: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let text = metadata.get(FOLDED_METADATA_KEY);
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// What a file with that metadata holds of the tensors that a network wants.
pub(crate) fn folded_tensors(
    metadata: &BTreeMap<String, String>,
    mut expected: Vec<TensorInfo>,
) -> Vec<TensorInfo> {
    for (norm, conv) in folded(metadata) {
        expected.retain(|info| {
            let below = info.name.strip_prefix(norm.as_str());
            !below.is_some_and(|rest| rest.starts_with('.'))
        });
        let bias = format!("{conv}.bias");
        let weight = expected
            .iter()
            .find(|info| info.name == format!("{conv}.weight"));
        if let Some(weight) = weight
            && !expected.iter().any(|info| info.name == bias)
        {
            let channels = weight.shape[..1].to_vec();
            expected.push(TensorInfo {
                name: bias,
                dtype: DType::F32,
                shape: channels,
            });
        }
    }
    expected
}

/// Gives a folded file batch norms that only add the convolution's bias, for networks that have them.
pub(crate) fn unfold_batch_norm(
    checkpoint: &mut Checkpoint,
    expected: &[TensorInfo],
) -> Result<(), WeightsError> {
    for (norm, conv) in folded(&checkpoint.metadata) {
        let bias = format!("{conv}.bias");
        let own_bias = expected.iter().any(|info| info.name == bias);
        let Some(shift) = checkpoint.tensors.get(&bias).cloned() else {
            continue;
        };
        let shift = match own_bias {
            true => shift.zeros_like()?,
            false => {
                checkpoint.tensors.remove(&bias);
                shift
            }
        };
        let ones = shift.ones_like()?;
        let mut put = |part: &str, tensor: Tensor| {
            checkpoint.tensors.insert(format!("{norm}.{part}"), tensor);
        };
        put("running_mean", shift.zeros_like()?);
        // v + eps = 1.
        put("running_var", ((&ones) - DEFAULT_EPS)?);
        put("weight", ones);
        put("bias", shift);
        put(
            "num_batches_tracked",
            Tensor::zeros((), DType::I64, &Device::Cpu)?,
        );
    }
    Ok(())
}
