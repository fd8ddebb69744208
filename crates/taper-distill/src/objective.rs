//! A loss recipe as an objective for the training loop.

use crate::data::ClassifierData;
use crate::error::DistillError;
use crate::evaluate::{Scores, evaluate};
use crate::logits::{kd_loss, standardise};
use crate::norm::norm_loss;
use crate::recipe::LossRecipe;
use crate::student::{Student, StudentGraph};
use crate::teacher::Teacher;
use candle_core::{DType, Tensor};
use std::collections::BTreeMap;
use taper_data::Batch;
use taper_layers::{Mode, ParameterStore};
use taper_train::{Losses, Objective, Position, TrainError, top_k_correct};

/// Images on which the merged network is compared with the training graph.
const PROBE: usize = 32;

/// A student learning by a [`LossRecipe`] over a [`ParameterStore`].
pub struct Distillation<'a> {
    student: Student,
    learning: StudentGraph,
    twin: StudentGraph,
    teacher: Option<&'a Teacher>,
    recipe: LossRecipe,
    data: &'a ClassifierData,
    metadata: BTreeMap<String, String>,
}

impl<'a> Distillation<'a> {
    /// Builds the student over `store`, which gets its initial parameters here.
    ///
    /// # Errors
    /// A recipe that reads a teacher where there is none; classes that disagree.
    pub fn new(
        student: Student,
        store: &ParameterStore,
        teacher: Option<&'a Teacher>,
        recipe: LossRecipe,
        data: &'a ClassifierData,
        metadata: BTreeMap<String, String>,
    ) -> Result<Self, DistillError> {
        if recipe.needs_teacher() && teacher.is_none() {
            return Err(DistillError::setting(
                "teacher",
                "none",
                "a teacher: the loss reads its logits or features",
            ));
        }
        if let Some(teacher) = teacher
            && teacher.classes() != data.classes()
        {
            return Err(DistillError::Classes {
                what: "the teacher".into(),
                found: teacher.classes(),
                against: "the data".into(),
                expected: data.classes(),
            });
        }
        let learning = student.build(store.var_builder(DType::F32))?;
        let twin = student.build(store.frozen(DType::F32))?;
        Ok(Self {
            student,
            learning,
            twin,
            teacher,
            recipe,
            data,
            metadata,
        })
    }

    /// Scores of the student on the test part, as it is now.
    ///
    /// # Errors
    /// The data, or Candle.
    pub fn scores(&self) -> Result<Scores, DistillError> {
        evaluate(self.data, |images| {
            Ok(self.twin.forward(images, Mode::Eval)?.logits)
        })
    }

    fn batch_losses(&self, batch: &Batch, position: &Position) -> candle_core::Result<Losses> {
        let recipe = &self.recipe;
        let output = self.learning.forward(&batch.images, Mode::Train)?;
        let view = match self.teacher {
            Some(teacher) if recipe.needs_teacher() => Some(teacher.observe(&batch.images)?),
            _ => None,
        };
        let scaled = |logits: &Tensor| match recipe.standardise {
            Some(scale) => standardise(logits, scale),
            None => Ok(logits.clone()),
        };
        let logits = scaled(&output.logits)?;
        let count = batch.labels.dim(0)?;
        let correct = top_k_correct(&output.logits, &batch.labels, 1)?;
        let cross_entropy =
            taper_kernels::cross_entropy(&logits, &batch.labels, recipe.label_smoothing)?;
        let mut losses = Losses::new(count)
            .term("ce", cross_entropy, recipe.cross_entropy_weight)
            .observe("top1", 100.0 * correct as f64 / count.max(1) as f64);
        if let Some(view) = &view {
            if recipe.kd_weight != 0.0 {
                let kd = kd_loss(&logits, &scaled(&view.logits)?, recipe.temperature)?;
                losses = losses.term("kd", kd, recipe.kd_weight);
            }
            if let (Some(expanded), Some(transform), true) = (
                &output.expanded,
                &recipe.transform,
                recipe.feature_weight != 0.0,
            ) {
                let epoch_weight = recipe
                    .feature_schedule
                    .weight(position.epoch, position.epochs);
                let norm = norm_loss(expanded, &view.feature, transform.slices)?;
                losses = losses.term("norm", norm, recipe.feature_weight * epoch_weight);
            }
        }
        Ok(losses)
    }

    /// The first images of the test part.
    fn probe(&self) -> Result<Tensor, DistillError> {
        let first = self.data.test_batches().next();
        let Some(batch) = first.transpose()? else {
            return Err(DistillError::setting(
                "data",
                "no test image",
                "at least one",
            ));
        };
        let count = batch.images.dim(0)?.min(PROBE);
        Ok(batch.images.narrow(0, 0, count)?)
    }
}

impl Objective for Distillation<'_> {
    type Batch = Batch;

    fn losses(&mut self, batch: &Batch, position: &Position) -> taper_train::Result<Losses> {
        Ok(self.batch_losses(batch, position)?)
    }

    fn evaluate(&mut self, _position: &Position) -> taper_train::Result<BTreeMap<String, f64>> {
        let scores = self.scores().map_err(TrainError::method)?;
        Ok(scores.metrics())
    }

    /// The plain student: NORM's module is folded away.
    fn finished_model(
        &self,
        state: BTreeMap<String, Tensor>,
    ) -> taper_train::Result<BTreeMap<String, Tensor>> {
        let probe = self.probe().map_err(TrainError::method)?;
        self.student
            .merge(state, &probe)
            .map_err(TrainError::method)
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        self.metadata.clone()
    }
}
