//! Several methods over several seeds, each a training of its own under one run directory, and their table.

use crate::config::DistillConfig;
use crate::data::ClassifierData;
use crate::error::DistillError;
use crate::evaluate::{Scores, score};
use crate::metadata::model_metadata;
use crate::method::Method;
use crate::objective::Distillation;
use crate::recipe::LossRecipe;
use crate::student::{Student, last_channels};
use crate::teacher::Teacher;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use taper_data::Normalisation;
use taper_layers::ParameterStore;
use taper_train::{MODEL_FILE, Outcome, Progress, RunDirectory, TrainConfig, TrainError};
use taper_vision::{ModelEntry, registry};
use taper_weights::LoadedClassifier;

/// Scores of one finished training, beside its network.
const SCORES_FILE: &str = "scores.json";

/// Accuracies of one method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `teacher`, or the method's name.
    pub method: String,
    /// Mean top-1 accuracy over the seeds, percent, of the last epoch.
    pub mean: f64,
    /// Standard deviation over the seeds (n - 1); 0 for one seed.
    pub sd: f64,
    /// Top-1 a seed, percent.
    pub accuracies: Vec<f64>,
}

impl Row {
    fn new(method: &str, accuracies: Vec<f64>) -> Self {
        let count = accuracies.len().max(1) as f64;
        let mean = accuracies.iter().sum::<f64>() / count;
        let squares: f64 = accuracies.iter().map(|a| (a - mean).powi(2)).sum();
        Self {
            method: method.to_string(),
            mean,
            sd: if count > 1.0 {
                (squares / (count - 1.0)).sqrt()
            } else {
                0.0
            },
            accuracies,
        }
    }
}

/// The finished table: the teacher first, then the methods in their order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// One row a method.
    pub rows: Vec<Row>,
    /// What a person should know about the saved students.
    pub remarks: Vec<String>,
}

/// Trains the teacher (unless its weights are given), then the student with each method and seed.
///
/// What an earlier process of the same run finished is taken as it is; what it left half done goes
/// on from its checkpoint. `None` when `stop` was set.
///
/// # Errors
/// Settings that name no network, data that cannot be read, a training that fails.
pub fn compare(
    config: &DistillConfig,
    run: &RunDirectory,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Result<Option<Comparison>, DistillError> {
    config.validate()?;
    let mut bench = Bench::prepare(config, run, progress, stop)?;
    let Some(teacher) = bench.teacher()? else {
        return Ok(None);
    };
    let mut rows = vec![Row::new("teacher", vec![teacher.scores.top1])];
    let mut remarks = Vec::new();
    for &method in &config.methods {
        let mut accuracies = Vec::new();
        for &seed in &config.seeds {
            match bench.student(method, seed, &teacher)? {
                Some((scores, remark)) => {
                    accuracies.push(scores.top1);
                    if let Some(remark) = remark
                        && !remarks.iter().any(|known| known == remark)
                    {
                        remarks.push(remark.to_string());
                    }
                }
                None => return Ok(None),
            }
        }
        rows.push(Row::new(method.name(), accuracies));
    }
    Ok(Some(Comparison { rows, remarks }))
}

/// What every training of a comparison shares.
struct Bench<'a> {
    config: &'a DistillConfig,
    run: &'a RunDirectory,
    progress: &'a mut Progress,
    stop: &'a AtomicBool,
    teacher_entry: &'static ModelEntry,
    student_entry: &'static ModelEntry,
    given: Option<LoadedClassifier>,
    data: ClassifierData,
}

struct TaughtBy {
    teacher: Teacher,
    channels: usize,
    scores: Scores,
}

/// One training: which network, by which loss, from which seed, into which folder.
struct Task<'t> {
    folder: PathBuf,
    student: Student,
    recipe: LossRecipe,
    training: &'t TrainConfig,
    seed: u64,
    teacher: Option<&'t Teacher>,
}

impl<'a> Bench<'a> {
    fn prepare(
        config: &'a DistillConfig,
        run: &'a RunDirectory,
        progress: &'a mut Progress,
        stop: &'a AtomicBool,
    ) -> Result<Self, DistillError> {
        let teacher_entry = registry::find(&config.teacher.model)?;
        let student_entry = registry::find(&config.student)?;
        if teacher_entry.input != student_entry.input {
            return Err(DistillError::setting(
                "student",
                format!("{} reads {:?}", student_entry.name, student_entry.input),
                format!("the teacher's input {:?}", teacher_entry.input),
            ));
        }
        let given = match &config.teacher.weights {
            Some(path) => Some(taper_weights::load_classifier(teacher_entry, path)?),
            None => None,
        };
        // Teacher and student see the same images: as the teacher learnt to see them.
        let normalisation = given.as_ref().map(|given| Normalisation {
            mean: given.normalisation.mean.clone(),
            std: given.normalisation.std.clone(),
        });
        let data = ClassifierData::open(&config.data, student_entry.input, normalisation)?;
        let bench = Self {
            config,
            run,
            progress,
            stop,
            teacher_entry,
            student_entry,
            given,
            data,
        };
        let steps = bench.steps_to_do()?;
        bench.progress.plan(steps);
        Ok(bench)
    }

    fn teacher_training(&self) -> &'a TrainConfig {
        let own = self.config.teacher.training.as_ref();
        own.unwrap_or(&self.config.training)
    }

    /// Steps of every training that has not finished.
    fn steps_to_do(&self) -> Result<u64, DistillError> {
        let (images, _) = self.data.counts();
        let an_epoch = (images / self.config.batch) as u64;
        let mut epochs = 0;
        if self.given.is_none() && self.finished("teacher".into()).is_none() {
            epochs += self.teacher_training().epochs;
        }
        for &method in &self.config.methods {
            for &seed in &self.config.seeds {
                if self.finished(folder(method, seed)).is_none() {
                    epochs += self.config.training.epochs;
                }
            }
        }
        Ok(epochs * an_epoch)
    }

    fn teacher(&mut self) -> Result<Option<TaughtBy>, DistillError> {
        let entry = self.teacher_entry;
        let channels = self
            .config
            .teacher
            .tap
            .channels(entry, last_channels(entry)?)?;
        let loaded = match self.given.take() {
            Some(given) => given,
            None => {
                let task = Task {
                    folder: "teacher".into(),
                    student: Student::new(entry, self.data.classes(), None, 0)?,
                    recipe: LossRecipe {
                        label_smoothing: self.config.label_smoothing,
                        ..LossRecipe::cross_entropy()
                    },
                    training: self.teacher_training(),
                    seed: self.config.teacher.seed,
                    teacher: None,
                };
                if self.train(task)?.is_none() {
                    return Ok(None);
                }
                let file = self.run.file("teacher").join(MODEL_FILE);
                taper_weights::load_classifier(entry, file)?
            }
        };
        if loaded.config.classes() != self.data.classes() {
            return Err(DistillError::Classes {
                what: format!("teacher {}", entry.name),
                found: loaded.config.classes(),
                against: self.config.data.to_string(),
                expected: self.data.classes(),
            });
        }
        let scores = score(&self.data, &loaded)?;
        Ok(Some(TaughtBy {
            teacher: Teacher::new(loaded.model, self.config.teacher.tap),
            channels,
            scores,
        }))
    }

    fn student(
        &mut self,
        method: Method,
        seed: u64,
        taught_by: &TaughtBy,
    ) -> Result<Option<(Scores, Option<&'static str>)>, DistillError> {
        let recipe = method.recipe(self.config);
        let classes = self.data.classes();
        let student = Student::new(
            self.student_entry,
            classes,
            recipe.transform,
            taught_by.channels,
        )?;
        let remark = student.merge_remark();
        let task = Task {
            folder: folder(method, seed),
            student,
            recipe,
            training: &self.config.training,
            seed,
            teacher: Some(&taught_by.teacher),
        };
        Ok(self.train(task)?.map(|scores| (scores, remark)))
    }

    /// The scores of a training that an earlier process finished.
    fn finished(&self, folder: PathBuf) -> Option<Scores> {
        let folder = self.run.file(folder);
        let text = std::fs::read_to_string(folder.join(SCORES_FILE)).ok()?;
        let scores = serde_json::from_str(&text).ok()?;
        folder.join(MODEL_FILE).is_file().then_some(scores)
    }

    /// Trains to the end (or finds it done) and scores the saved network; `None` when stopped.
    fn train(&mut self, task: Task) -> Result<Option<Scores>, DistillError> {
        if let Some(scores) = self.finished(task.folder.clone()) {
            return Ok(Some(scores));
        }
        let child = self.run.child(&task.folder)?;
        self.progress.label(task.folder.display().to_string());
        let store = ParameterStore::new(task.seed, &candle_core::Device::Cpu);
        let augmentation = self.config.augmentation.as_ref();
        let mut source = self
            .data
            .source(self.config.batch, task.seed, augmentation)?;
        let entry = task.student.entry();
        let metadata = model_metadata(&task.student, &self.data)?;
        let mut objective = Distillation::new(
            task.student,
            &store,
            task.teacher,
            task.recipe,
            &self.data,
            metadata,
        )?;
        let outcome = taper_train::train(
            task.training,
            &store,
            &mut objective,
            &mut source,
            &child,
            self.progress,
            self.stop,
        )?;
        if let Outcome::Interrupted { .. } = outcome {
            return Ok(None);
        }
        let loaded = taper_weights::load_classifier(entry, child.file(MODEL_FILE))?;
        let scores = score(&self.data, &loaded)?;
        let text = serde_json::to_string(&scores).map_err(TrainError::method)?;
        child.write(SCORES_FILE, text.as_bytes())?;
        Ok(Some(scores))
    }
}

fn folder(method: Method, seed: u64) -> PathBuf {
    PathBuf::from(method.name()).join(format!("seed{seed}"))
}

#[cfg(test)]
mod tests {
    use super::Row;

    #[test]
    fn mean_and_sample_deviation() {
        let row = Row::new("kd", vec![90., 92., 94.]);
        assert_eq!((row.mean, row.sd), (92., 2.));
        assert_eq!(Row::new("ce", vec![90.]).sd, 0.);
    }
}
