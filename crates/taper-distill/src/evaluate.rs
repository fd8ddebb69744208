//! Accuracy and loss of a classifier on held-out images.

use crate::data::ClassifierData;
use crate::error::DistillError;
use candle_core::{DType, Tensor};
use std::collections::BTreeMap;
use taper_layers::Mode;
use taper_train::top_k_correct;
use taper_weights::LoadedClassifier;

/// Scores over a whole part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Scores {
    /// Images.
    pub count: usize,
    /// Share whose best class is right, percent.
    pub top1: f64,
    /// Share whose five best classes hold the right one, percent.
    pub top5: f64,
    /// Mean cross-entropy of the raw logits.
    pub loss: f64,
}

impl Scores {
    /// As metrics of an epoch.
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        BTreeMap::from([
            ("top1".to_string(), self.top1),
            ("top5".to_string(), self.top5),
            ("loss".to_string(), self.loss),
        ])
    }
}

/// Runs `logits` (`[batch, channels, height, width]` → `[batch, classes]`) over the test part.
///
/// # Errors
/// The data, or what `logits` reports.
pub fn evaluate(
    data: &ClassifierData,
    logits: impl Fn(&Tensor) -> candle_core::Result<Tensor>,
) -> Result<Scores, DistillError> {
    const TOP: usize = 5;
    let (mut count, mut top1, mut top5, mut loss) = (0usize, 0usize, 0usize, 0f64);
    for batch in data.test_batches() {
        let batch = batch?;
        let logits = logits(&batch.images)?;
        let size = batch.labels.dim(0)?;
        let mean = taper_kernels::cross_entropy(&logits, &batch.labels, 0.0)?;
        loss += mean.to_dtype(DType::F64)?.to_scalar::<f64>()? * size as f64;
        count += size;
        top1 += top_k_correct(&logits, &batch.labels, 1)?;
        top5 += top_k_correct(&logits, &batch.labels, TOP)?;
    }
    let share = |hits: usize| 100.0 * hits as f64 / count.max(1) as f64;
    Ok(Scores {
        count,
        top1: share(top1),
        top5: share(top5),
        loss: loss / count.max(1) as f64,
    })
}

/// Scores of a network with the weights of a file.
///
/// # Errors
/// As [`evaluate`].
pub fn score(data: &ClassifierData, loaded: &LoadedClassifier) -> Result<Scores, DistillError> {
    evaluate(data, |images| {
        Ok(loaded.model.forward(images, Mode::Eval)?.logits)
    })
}
