//! The student in training: a classifier of the zoo, with NORM's module before its head where asked for.

use crate::error::DistillError;
use crate::norm::{FeatureTransform, FeatureTransformConfig, fold_into_linear, fold_transform};
use crate::recipe::TransformRecipe;
use candle_core::{DType, Result, Tensor};
use candle_nn::{Init, VarBuilder};
use std::collections::BTreeMap;
use taper_layers::{Mode, ParameterStore, init};
use taper_vision::{Classifier, ModelConfig, ModelEntry};

/// Names of NORM's module begin so; whatever the family, none may be left after the merge.
const TRANSFORM_NAMES: [&str; 4] = ["layer31.", "layer32.", "layer41.", "layer42."];
/// Largest difference of logits between the training graph and the merged network, relative to
/// max(1, |logit|) (method card, section 13.2).
const MERGE_TOLERANCE: f64 = 1e-5;

/// What is needed to build a student's graph again and again over one store.
#[derive(Debug, Clone)]
pub struct Student {
    entry: &'static ModelEntry,
    config: ModelConfig,
    transform: Option<FeatureTransformConfig>,
}

/// A student's graph over the tensors of a builder.
pub(crate) struct StudentGraph {
    model: Box<dyn Classifier>,
    transform: Option<FeatureTransform>,
}

/// One forward pass of a student.
#[derive(Debug, Clone)]
pub struct StudentOutput {
    /// E, `[batch, N C_t, height, width]`, where there is a module.
    pub expanded: Option<Tensor>,
    /// z_s, `[batch, classes]`.
    pub logits: Tensor,
}

impl Student {
    /// `teacher_channels` is C_t; it only matters with a `transform`.
    ///
    /// # Errors
    /// What the registry or Candle reports.
    pub fn new(
        entry: &'static ModelEntry,
        classes: usize,
        transform: Option<TransformRecipe>,
        teacher_channels: usize,
    ) -> std::result::Result<Self, DistillError> {
        let mut config = (entry.config)(classes);
        if let (ModelConfig::MobilenetV2(config), Some(_)) = (&mut config, &transform) {
            // NORM's MobileNetV2 student has no ReLU before the module (method card, section 3).
            config.final_relu = false;
        }
        let transform = match transform {
            None => None,
            Some(recipe) => Some(FeatureTransformConfig {
                student_channels: last_channels(entry)?,
                teacher_channels,
                slices: recipe.slices,
                residual: recipe.residual,
            }),
        };
        Ok(Self {
            entry,
            config,
            transform,
        })
    }

    /// The student's row of the registry.
    pub fn entry(&self) -> &'static ModelEntry {
        self.entry
    }

    /// The graph over `vb`: learning over a store's builder, for evaluation over a frozen one.
    pub(crate) fn build(&self, vb: VarBuilder) -> Result<StudentGraph> {
        let transform = match &self.transform {
            None => None,
            Some(config) => Some(FeatureTransform::new(
                config,
                self.stage_number(),
                |inputs, outputs| self.one_by_one_init(inputs, outputs),
                vb.clone(),
            )?),
        };
        Ok(StudentGraph {
            model: self.config.build(vb)?,
            transform,
        })
    }

    /// NORM's students number the module after the last stage: 3, or 4 where there are four
    /// (MobileNetV2 and the four-stage ResNets; method card, section 12).
    fn stage_number(&self) -> usize {
        match self.config {
            ModelConfig::MobilenetV2(_) | ModelConfig::CifarResnetV2(_) => 4,
            _ => 3,
        }
    }

    /// The module starts as its host network does (method card, section 3).
    fn one_by_one_init(&self, inputs: usize, outputs: usize) -> Init {
        match self.config {
            ModelConfig::ShufflenetV1(_) | ModelConfig::ShufflenetV2(_) => {
                init::default_uniform(inputs)
            }
            _ => init::kaiming_normal_fan_out(outputs, 1),
        }
    }

    /// The finished network's configuration: what [`merge`](Self::merge) leaves.
    pub fn merged_config(&self) -> ModelConfig {
        let mut config = self.config.clone();
        if let (ModelConfig::WideResnet(config), Some(_)) = (&mut config, &self.transform) {
            config.transform = true;
        }
        config
    }

    /// What a person should know about the merge, where it is not the plain one.
    pub fn merge_remark(&self) -> Option<&'static str> {
        self.transform.as_ref()?;
        match self.config {
            ModelConfig::WideResnet(_) => Some(
                "a batch norm and a ReLU stand between NORM's module and the classifier of a wide \
                 ResNet, so the module cannot be folded into it: it is kept as one 1x1 convolution, \
                 `transform.weight` and `transform.bias`",
            ),
            ModelConfig::MobilenetV2(_) => Some(
                "a MobileNetV2 trained with NORM has no ReLU after its last convolution; the weights \
                 say so (`final_relu: false`) and the plain network with that ReLU would be wrong",
            ),
            _ => None,
        }
    }

    /// Folds NORM's module away: `state` is the training store's, the result the plain network's.
    ///
    /// The merged network is run beside the training graph on `probe` (`[batch, channels, height,
    /// width]`) and must give the same logits.
    ///
    /// # Errors
    /// [`DistillError::Merge`] if it does not.
    pub fn merge(
        &self,
        state: BTreeMap<String, Tensor>,
        probe: &Tensor,
    ) -> std::result::Result<BTreeMap<String, Tensor>, DistillError> {
        if self.transform.is_none() {
            return Ok(state);
        }
        let before = filled(&state)?;
        let graph = self.build(before.frozen(DType::F32))?;
        let Some(transform) = &graph.transform else {
            return Ok(state);
        };
        let merged = fold_transform(transform)?;
        let mut plain: BTreeMap<String, Tensor> = state
            .into_iter()
            .filter(|(name, _)| !TRANSFORM_NAMES.iter().any(|start| name.starts_with(start)))
            .collect();
        if self.entry.head.foldable {
            let head = self.entry.head;
            let (weight, bias) = (tensor(&plain, head.weight)?, tensor(&plain, head.bias)?);
            let (weight, bias) = fold_into_linear(&merged, head.positions, &weight, &bias)?;
            plain.insert(head.weight.to_string(), weight);
            plain.insert(head.bias.to_string(), bias);
        } else {
            let kernel = merged.matrix.to_dtype(DType::F32)?;
            let kernel = kernel.unsqueeze(2)?.unsqueeze(3)?;
            plain.insert("transform.weight".into(), kernel);
            plain.insert("transform.bias".into(), merged.offset.to_dtype(DType::F32)?);
        }
        let after = self
            .merged_config()
            .build(filled(&plain)?.frozen(DType::F32))?;
        let found = after.forward(probe, Mode::Eval)?.logits;
        let expected = graph.forward(probe, Mode::Eval)?.logits;
        let difference = largest_difference(&found, &expected)?;
        if difference.is_nan() || difference > MERGE_TOLERANCE {
            return Err(DistillError::Merge {
                model: self.entry.name.to_string(),
                difference,
                tolerance: MERGE_TOLERANCE,
            });
        }
        Ok(plain)
    }
}

/// Channels of the last feature map: what the head's linear layer reads, a pooled position.
pub(crate) fn last_channels(entry: &ModelEntry) -> Result<usize> {
    let tensors = entry.tensor_list(1)?;
    let columns = tensors
        .iter()
        .find(|info| info.name == entry.head.weight)
        .and_then(|info| info.shape.get(1).copied())
        .unwrap_or(0);
    Ok(columns / entry.head.positions.max(1))
}

impl StudentGraph {
    /// `[batch, channels, height, width]` → E (with a module) and logits.
    pub(crate) fn forward(&self, images: &Tensor, mode: Mode) -> Result<StudentOutput> {
        let last = self.model.trunk(images, mode)?.last;
        let (expanded, last) = match &self.transform {
            None => (None, last),
            Some(transform) => {
                let transformed = transform.forward(&last, mode)?;
                (Some(transformed.expanded), transformed.output)
            }
        };
        let (_, logits) = self.model.head(&last, mode)?;
        Ok(StudentOutput { expanded, logits })
    }
}

fn filled(state: &BTreeMap<String, Tensor>) -> Result<ParameterStore> {
    ParameterStore::from_state(state, &candle_core::Device::Cpu)
}

fn tensor(state: &BTreeMap<String, Tensor>, name: &str) -> Result<Tensor> {
    match state.get(name) {
        Some(tensor) => Ok(tensor.clone()),
        None => candle_core::bail!("tensor {name}: missing from the student's state"),
    }
}

/// Largest |a - b| / max(1, |b|).
fn largest_difference(found: &Tensor, expected: &Tensor) -> Result<f64> {
    let values = |tensor: &Tensor| tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>();
    let (found, expected) = (values(found)?, values(expected)?);
    let mut largest = 0f64;
    for (a, b) in found.iter().zip(&expected) {
        let difference = (a - b).abs() / b.abs().max(1.0);
        if difference.is_nan() {
            return Ok(f64::NAN);
        }
        largest = largest.max(difference);
    }
    Ok(largest)
}

#[cfg(test)]
mod tests;
