//! One checkpoint out of one or several: averages, moving averages, batch norm folded away.

mod average;
mod ema;
mod fold_batch_norm;

pub use average::average;
pub use ema::take_ema;
pub use fold_batch_norm::{FOLDED_METADATA_KEY, fold_batch_norm};
pub(crate) use fold_batch_norm::{folded_tensors, unfold_batch_norm};

use crate::atomic::{Target, write_atomically};
use crate::convert::{ConvertProgress, PlannedTensor, Writer, check_target, sort};
use crate::{Limits, WeightsError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// How the result is written.
#[derive(Debug, Clone, Default)]
pub struct MergeOptions {
    /// What an untrusted file may cost.
    pub limits: Limits,
    /// Replace what stands at the target.
    pub force: bool,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct MergeReport {
    /// Tensors in the result.
    pub tensors: usize,
    /// Bytes of their numbers.
    pub bytes: u64,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Writes the tensors; `inputs` are the files that must not be overwritten.
fn write(
    output: &Path,
    inputs: &BTreeSet<PathBuf>,
    options: &MergeOptions,
    mut tensors: Vec<PlannedTensor<'_>>,
    metadata: &BTreeMap<String, String>,
    notes: Vec<String>,
    progress: ConvertProgress<'_>,
) -> Result<MergeReport, WeightsError> {
    check_target(output, inputs, options.force)?;
    sort(&mut tensors);
    let target = match options.force {
        true => Target::Any,
        false => Target::New,
    };
    write_atomically(output, target, |out| {
        let mut writer = Writer::new(out, output, &tensors, metadata)?;
        writer.write_tensors(&tensors, progress)?;
        writer.finish(metadata)
    })?;
    Ok(MergeReport {
        tensors: tensors.len(),
        bytes: tensors.iter().map(PlannedTensor::bytes).sum(),
        notes,
    })
}
