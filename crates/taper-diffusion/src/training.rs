//! A whole training in a run directory: the teacher where there must be one, the method, further stages.

use crate::additional::draw_pairs;
use crate::config::{AdditionalConfig, DiffusionConfig, Method};
use crate::error::{DiffusionError, Result};
use crate::generate::classes_in_turn;
use crate::learner::{Learner, Lesson};
use crate::monitor::Monitor;
use crate::noise::scalars_like;
use crate::saved::{Origin, SavedNetwork, load_network};
use crate::source::{Data, TrainingBatches};
use candle_core::{DType, Device, Tensor};
use rand::Rng;
use std::sync::atomic::AtomicBool;
use taper_kernels::random::stream;
use taper_layers::ParameterStore;
use taper_train::{MODEL_FILE, Metrics, Outcome, Progress, REPORT_FILE, RunDirectory, TrainConfig};
use taper_velocity::{Dropout, VelocityNetwork};

/// The network of the additional training, beside the run's `model.safetensors`.
pub const ONE_STEP_FILE: &str = "one-step.safetensors";
/// The folder of a teacher that is trained first.
pub const TEACHER_FOLDER: &str = "teacher";

/// How a training ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// Loss of the last epoch.
    pub loss: f64,
    /// Metrics after the last epoch: `w2_N` of N Euler steps for points, `flow` for images.
    pub metrics: Metrics,
    /// Wall-clock of the last stage, seconds.
    pub seconds: f64,
}

/// Trains as `config` says in `run`, from its newest checkpoint on; `None` when `stop` was set.
///
/// The finished network is the run's `model.safetensors`; stages lie in folders of their own
/// (`teacher`, `stage8`, `additional8`, …). Finished stages are not trained again.
///
/// # Errors
/// Settings out of range, a network that does not fit the data, a training that fails.
pub fn train_diffusion(
    config: &DiffusionConfig,
    run: &RunDirectory,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Result<Option<Trained>> {
    config.validate()?;
    let mut bench = Bench {
        config,
        data: Data::open(&config.data)?,
        run,
        progress,
        stop,
    };
    probe(config, &bench.data)?;
    bench.plan()?;
    let teacher = match config.method.has_teacher() {
        true => match bench.teacher()? {
            Some(teacher) => Some(teacher),
            None => return Ok(None),
        },
        false => None,
    };
    let trained = match (config.method, teacher) {
        (Method::Progressive, Some(teacher)) => bench.progressive(teacher)?,
        (_, teacher) => bench.main(teacher.as_ref())?,
    };
    match (&config.additional, trained) {
        (Some(additional), Some(trained)) => {
            let done = bench.additional(additional)?;
            Ok(done.then_some(trained))
        }
        (_, trained) => Ok(trained),
    }
}

/// Refuses settings that cannot work, before there is a run: values, data, a network or batch that does not fit them.
///
/// # Errors
/// As [`train_diffusion`].
pub fn check_settings(config: &DiffusionConfig) -> Result<()> {
    config.validate()?;
    let data = Data::open(&config.data)?;
    probe(config, &data)?;
    let augmentation = config.augmentation.as_ref();
    data.batches(
        config.batch,
        config.seed,
        config.steps_per_epoch,
        augmentation,
    )?;
    Ok(())
}

/// Refuses a network that does not answer like the data.
fn probe(config: &DiffusionConfig, data: &Data) -> Result<()> {
    let shape = data.shape();
    let dims: Vec<usize> = std::iter::once(1).chain(shape.iter().copied()).collect();
    let refuse = |found: String| {
        let expected = format!("a network for {}, samples of {shape:?}", config.data);
        DiffusionError::setting("network", found, expected)
    };
    let store = ParameterStore::new(0, &Device::Cpu);
    let built = config
        .trained_network()
        .build(store.var_builder(DType::F32));
    // Candle appends a backtrace to its messages where one is asked for.
    let first_line = |error: candle_core::Error| {
        let text = error.to_string();
        text.lines().next().unwrap_or_default().to_string()
    };
    let network = built.map_err(|error| refuse(first_line(error)))?;
    if let (Some(wanted), Some(there)) = (network.classes(), data.classes())
        && wanted < there
    {
        return Err(refuse(format!(
            "{wanted} classes where the data has {there}"
        )));
    }
    let x = Tensor::zeros(dims.as_slice(), DType::F32, &Device::Cpu)?;
    let class = classes_in_turn(&*network, 0, 1)?;
    let t = scalars_like(&x, &[1.0])?;
    match network.forward(&x, &t, class.as_ref(), Dropout::Off) {
        Ok(heads) if heads.iter().all(|head| head.dims() == dims) => Ok(()),
        Ok(heads) => Err(refuse(format!("answers of {:?}", heads[0].dims()))),
        Err(error) => Err(refuse(first_line(error))),
    }
}

/// What the stages of a training share.
struct Bench<'a> {
    config: &'a DiffusionConfig,
    data: Data,
    run: &'a RunDirectory,
    progress: &'a mut Progress,
    stop: &'a AtomicBool,
}

/// One stage.
struct Stage<'s> {
    /// Its folder in the run; empty for the run itself.
    folder: String,
    lesson: Lesson,
    training: &'s TrainConfig,
    seed: u64,
    /// Whose weights it begins with.
    start: Option<&'s ParameterStore>,
    teacher: Option<&'s dyn VelocityNetwork>,
    method: &'s str,
}

impl Bench<'_> {
    /// Tells the progress how many steps are to come.
    fn plan(&mut self) -> Result<()> {
        let config = self.config;
        let steps = |epochs: u64, batches: usize| epochs * batches as u64;
        let batches = taper_train::BatchSource::batches_per_epoch(&self.batches(config.seed)?);
        let mut total = 0;
        if config.method.has_teacher()
            && config.teacher.weights.is_none()
            && !self.finished(TEACHER_FOLDER)
        {
            total += steps(config.teacher_training().epochs, batches);
        }
        total += match config.method {
            Method::Progressive => {
                let stages = config.progressive.stages.iter();
                let left = stages
                    .filter(|steps| !self.finished(&stage_folder(**steps)))
                    .count();
                steps(config.training.epochs, batches) * left as u64
            }
            _ => steps(config.training.epochs, batches),
        };
        if let Some(additional) = &config.additional {
            let left = additional.stages.iter();
            let left = left
                .filter(|stage| !self.finished(&additional_folder(**stage)))
                .count();
            let batches = additional.pairs / config.batch;
            total += steps(additional.training.epochs, batches) * left as u64;
        }
        self.progress.plan(total);
        Ok(())
    }

    fn finished(&self, folder: &str) -> bool {
        let folder = self.run.file(folder);
        folder.join(REPORT_FILE).is_file() && folder.join(MODEL_FILE).is_file()
    }

    fn batches(&self, seed: u64) -> Result<TrainingBatches> {
        let config = self.config;
        let augmentation = config.augmentation.as_ref();
        self.data
            .batches(config.batch, seed, config.steps_per_epoch, augmentation)
    }

    fn train(
        &mut self,
        stage: &Stage<'_>,
        mut batches: TrainingBatches,
    ) -> Result<Option<Trained>> {
        let run = match stage.folder.as_str() {
            "" => self.run.clone(),
            folder => {
                self.progress.label(folder);
                self.run.child(folder)?
            }
        };
        let store = ParameterStore::new(stage.seed, &Device::Cpu);
        let origin = Origin {
            network: self.config.network.clone().with_heads(stage.lesson.heads()),
            data: self.config.data.clone(),
            shape: self.data.shape(),
            method: stage.method.to_string(),
        };
        let monitor = Monitor {
            data: self.data.clone(),
            config: self.config.evaluation.clone(),
            run: run.clone(),
        };
        let mut learner = Learner::new(
            self.config,
            stage.lesson.clone(),
            stage.seed,
            &store,
            stage.teacher,
            monitor,
            origin.metadata()?,
        )?;
        if let Some(start) = stage.start {
            for (name, _) in store.parameters() {
                if let Some(value) = start.get(&name) {
                    store
                        .set(&name, &value)
                        .map_err(taper_train::TrainError::from)?;
                }
            }
        }
        let outcome = taper_train::train(
            stage.training,
            &store,
            &mut learner,
            &mut batches,
            &run,
            self.progress,
            self.stop,
        )?;
        Ok(match outcome {
            Outcome::Interrupted { .. } => None,
            Outcome::Finished(summary) => Some(Trained {
                loss: summary.loss,
                metrics: summary.test,
                seconds: summary.seconds.total,
            }),
        })
    }

    fn teacher(&mut self) -> Result<Option<SavedNetwork>> {
        if let Some(weights) = &self.config.teacher.weights {
            let teacher = load_network(weights)?;
            let (found, wanted) = (&teacher.origin.network, &self.config.network);
            if found.clone().with_heads(1) != wanted.clone().with_heads(1) {
                let message = "another network than the student's; \
                               both must be of one shape for the student to begin with its weights";
                return Err(DiffusionError::file(weights, message));
            }
            return Ok(Some(teacher));
        }
        if !self.finished(TEACHER_FOLDER) {
            let stage = Stage {
                folder: TEACHER_FOLDER.into(),
                lesson: Lesson::Flow,
                training: self.config.teacher_training(),
                seed: self.config.seed,
                start: None,
                teacher: None,
                method: Method::Flow.name(),
            };
            let batches = self.batches(stage.seed)?;
            if self.train(&stage, batches)?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(load_network(self.run.file(TEACHER_FOLDER))?))
    }

    fn main(&mut self, teacher: Option<&SavedNetwork>) -> Result<Option<Trained>> {
        let seed = match teacher {
            Some(_) => stage_seed(self.config.seed, 0),
            None => self.config.seed,
        };
        let stage = Stage {
            folder: String::new(),
            lesson: Lesson::of(self.config),
            training: &self.config.training,
            seed,
            start: teacher.map(|teacher| &teacher.store),
            teacher: teacher.map(|teacher| &*teacher.network),
            method: self.config.method.name(),
        };
        let batches = self.batches(seed)?;
        self.train(&stage, batches)
    }

    /// Each stage's student is the next one's teacher.
    fn progressive(&mut self, mut teacher: SavedNetwork) -> Result<Option<Trained>> {
        let mut last = None;
        for (index, &steps) in self.config.progressive.stages.iter().enumerate() {
            let folder = stage_folder(steps);
            let seed = stage_seed(self.config.seed, index as u64);
            let stage = Stage {
                folder: folder.clone(),
                lesson: Lesson::Progressive { steps },
                training: &self.config.training,
                seed,
                start: Some(&teacher.store),
                teacher: Some(&*teacher.network),
                method: Method::Progressive.name(),
            };
            // A finished stage only writes its results once more.
            let batches = self.batches(seed)?;
            match self.train(&stage, batches)? {
                Some(trained) => last = Some(trained),
                None => return Ok(None),
            }
            teacher = load_network(self.run.file(&folder))?;
        }
        self.copy_model(&teacher, MODEL_FILE)?;
        Ok(last)
    }

    fn copy_model(&self, network: &SavedNetwork, name: &str) -> Result<()> {
        let state = network.store.state();
        self.run
            .write_tensors(name, &state, &network.origin.metadata()?)?;
        Ok(())
    }

    /// Further stages, each a one-step network of the estimate at one step; false when stopped.
    fn additional(&mut self, config: &AdditionalConfig) -> Result<bool> {
        let main = load_network(self.run.path())?;
        let mut student = load_network(self.run.path())?;
        for (index, &step) in config.stages.iter().enumerate() {
            let folder = additional_folder(step);
            if !self.finished(&folder) {
                let seed = stage_seed(self.config.seed, 1_000 + index as u64);
                let batch = self.config.batch;
                let pairs = draw_pairs(&main, config, step, batch, seed)?;
                let stage = Stage {
                    folder: folder.clone(),
                    lesson: Lesson::OneStep {
                        average_weight: config.average_weight,
                    },
                    training: &config.training,
                    seed,
                    start: Some(&student.store),
                    teacher: None,
                    method: "one-step",
                };
                if self.train(&stage, pairs)?.is_none() {
                    return Ok(false);
                }
            }
            student = load_network(self.run.file(&folder))?;
        }
        self.copy_model(&student, ONE_STEP_FILE)?;
        Ok(true)
    }
}

/// The folder of a stage of Progressive Distillation.
pub fn stage_folder(steps: usize) -> String {
    format!("stage{steps}")
}

fn additional_folder(step: usize) -> String {
    format!("additional{step}")
}

/// A stage's own seed: its batches and noise are not those of the stage before.
fn stage_seed(seed: u64, stage: u64) -> u64 {
    stream(seed, "stage", stage).random()
}
