//! Puts a checkpoint into a network's store and says exactly what does not fit.

use crate::{Checkpoint, WeightsError, nearest};
use candle_core::Tensor;
use std::collections::BTreeMap;
use taper_layers::{ParameterStore, TensorInfo};
use taper_vision::registry::PREFIXES;

/// How many names of a kind a message lists.
const LISTED: usize = 4;

/// What was taken and what was left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FitReport {
    /// Names taken.
    pub loaded: usize,
    /// Names of the file that the network is known not to use.
    pub ignored: Vec<String>,
    /// The prefix that was taken off every name, if any.
    pub stripped: Option<String>,
}

/// The prefixes before every name, taken off when that, and not leaving them, makes names known.
pub(crate) fn wrapper_prefix(names: &[&str], known: &dyn Fn(&str) -> bool) -> String {
    let mut prefix = String::new();
    while !names.iter().any(|name| known(&name[prefix.len()..])) {
        let next = PREFIXES.iter().find(|next| {
            !names.is_empty()
                && names
                    .iter()
                    .all(|name| name[prefix.len()..].starts_with(**next))
        });
        let Some(next) = next else {
            break;
        };
        prefix.push_str(next);
    }
    prefix
}

/// The checkpoint's tensors under the network's names, and the prefix that was taken off.
pub(crate) fn unwrapped(
    tensors: &BTreeMap<String, Tensor>,
    known: &dyn Fn(&str) -> bool,
) -> (BTreeMap<String, Tensor>, Option<String>) {
    let names: Vec<&str> = tensors.keys().map(String::as_str).collect();
    let prefix = wrapper_prefix(&names, known);
    let stripped = tensors
        .iter()
        .map(|(name, tensor)| (name[prefix.len()..].to_string(), tensor.clone()))
        .collect();
    (stripped, (!prefix.is_empty()).then_some(prefix))
}

/// Fills `store` with the tensors `expected` of network `model`, taken from `checkpoint`.
///
/// `ignorable` tells names that published files carry and the network does not use.
/// `num_batches_tracked` may be absent: files of before PyTorch 0.4 lack it.
///
/// # Errors
/// [`WeightsError::Misfit`] lists what is missing, unexpected (with the nearest name) or of
/// another shape; the store is then untouched.
pub fn fit(
    checkpoint: &Checkpoint,
    model: &str,
    expected: &[TensorInfo],
    ignorable: &dyn Fn(&str) -> bool,
    store: &ParameterStore,
) -> Result<FitReport, WeightsError> {
    let by_name: BTreeMap<&str, &TensorInfo> = expected
        .iter()
        .map(|info| (info.name.as_str(), info))
        .collect();
    let (tensors, stripped) = unwrapped(&checkpoint.tensors, &|name| by_name.contains_key(name));
    let mut problems = Problems::default();
    let mut ignored = Vec::new();
    for (name, tensor) in &tensors {
        match by_name.get(name.as_str()) {
            Some(info) if info.shape != tensor.dims() => problems.shapes.push(format!(
                "{name} is {:?}, expected {:?}",
                tensor.dims(),
                info.shape
            )),
            Some(_) => {}
            None if ignorable(name) => ignored.push(name.clone()),
            None => problems.unexpected.push(suggestion(name, &by_name)),
        }
    }
    for info in expected {
        let counter = info.name.ends_with("num_batches_tracked");
        if !tensors.contains_key(&info.name) && !counter {
            problems.missing.push(info.name.clone());
        }
    }
    if let Some(details) = problems.describe() {
        return Err(WeightsError::Misfit {
            path: checkpoint.path.clone(),
            model: model.to_string(),
            details,
        });
    }
    let mut loaded = 0;
    for info in expected {
        let value = match tensors.get(&info.name) {
            Some(tensor) => tensor.to_dtype(info.dtype)?,
            None => Tensor::zeros(info.shape.as_slice(), info.dtype, &candle_core::Device::Cpu)?,
        };
        store.insert(&info.name, &value)?;
        loaded += 1;
    }
    Ok(FitReport {
        loaded,
        ignored,
        stripped,
    })
}

fn suggestion(name: &str, by_name: &BTreeMap<&str, &TensorInfo>) -> String {
    match nearest(name, by_name.keys().copied(), 1).first() {
        Some(near) => format!("{name} (nearest: {near})"),
        None => name.to_string(),
    }
}

#[derive(Default)]
struct Problems {
    missing: Vec<String>,
    unexpected: Vec<String>,
    shapes: Vec<String>,
}

impl Problems {
    fn describe(&self) -> Option<String> {
        let kinds = [
            ("wrong shape", &self.shapes),
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
        ];
        let parts: Vec<String> = kinds
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(kind, names)| {
                let more = names.len().saturating_sub(LISTED);
                let listed = names.iter().take(LISTED).cloned().collect::<Vec<_>>();
                let tail = if more > 0 {
                    format!(" and {more} more")
                } else {
                    String::new()
                };
                format!("{} {kind}: {}{tail}", names.len(), listed.join(", "))
            })
            .collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn checkpoint(names: &[(&str, usize)]) -> Checkpoint {
        let zeros = |n| Tensor::zeros(n, DType::F32, &Device::Cpu).unwrap();
        Checkpoint {
            path: "w.safetensors".into(),
            tensors: names
                .iter()
                .map(|(name, n)| (name.to_string(), zeros(*n)))
                .collect(),
            metadata: BTreeMap::new(),
        }
    }

    fn expected() -> Vec<TensorInfo> {
        let info = |name: &str, shape: Vec<usize>, dtype| TensorInfo {
            name: name.into(),
            dtype,
            shape,
        };
        vec![
            info("bn.num_batches_tracked", vec![], DType::I64),
            info("fc.bias", vec![3], DType::F32),
            info("fc.weight", vec![6], DType::F32),
        ]
    }

    #[test]
    fn wrappers_and_known_extras_are_accepted() {
        let store = ParameterStore::new(0, &Device::Cpu);
        let file = checkpoint(&[
            ("module.fc.bias", 3),
            ("module.fc.weight", 6),
            ("module.alpha", 4),
        ]);
        let report = fit(&file, "m", &expected(), &|name| name == "alpha", &store).unwrap();
        assert_eq!(report.loaded, 3);
        assert_eq!(report.ignored, ["alpha"]);
        assert_eq!(report.stripped.as_deref(), Some("module."));
        assert_eq!(store.state().len(), 3);
    }

    #[test]
    fn misfits_are_named() {
        let store = ParameterStore::new(0, &Device::Cpu);
        let file = checkpoint(&[("fc.wieght", 6), ("fc.bias", 10)]);
        let error = fit(&file, "m", &expected(), &|_| false, &store).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("fc.bias is [10], expected [3]"), "{text}");
        assert!(text.contains("missing: fc.weight"), "{text}");
        assert!(text.contains("fc.wieght (nearest: fc.weight)"), "{text}");
        assert!(store.state().is_empty());
    }
}
