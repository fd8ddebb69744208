//! Every method of this crate as an objective of the one training loop.

use crate::config::{DiffusionConfig, Method};
use crate::error::{DiffusionError, Result};
use crate::monitor::Monitor;
use crate::objectives::catch_up::CatchUpConfig;
use crate::objectives::consistency::Consistency;
use crate::objectives::{StepSize, Times, coupling, mean_square, progressive};
use crate::source::DiffusionBatch;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use std::collections::{BTreeMap, HashMap};
use taper_kernels::interpolate;
use taper_kernels::random::{Random, stream};
use taper_layers::ParameterStore;
use taper_train::{Losses, Objective, Position, TrainError};
use taper_velocity::{Dropout, VelocityConfig, VelocityNetwork};

/// Names the random numbers of a step: times, noise, dropout.
const STEP: &str = "diffusion-step";

/// What a network learns in one training; the stages of a method differ in it.
#[derive(Debug, Clone, PartialEq)]
pub enum Lesson {
    /// The true velocity.
    Flow,
    /// Catch-Up Distillation.
    CatchUp(CatchUpConfig),
    /// Consistency Distillation with the teacher's step of 1/`reciprocal`.
    Consistency {
        /// Which loss.
        form: Consistency,
        /// M.
        reciprocal: usize,
    },
    /// Progressive Distillation to so many steps.
    Progressive {
        /// n.
        steps: usize,
    },
    /// Additional training: noise and estimate come in pairs.
    OneStep {
        /// Weight of the distance from the student's own average.
        average_weight: f64,
    },
}

impl Lesson {
    /// The main lesson of a configuration; stages of Progressive Distillation come from its settings.
    pub fn of(config: &DiffusionConfig) -> Self {
        match config.method {
            Method::Flow => Self::Flow,
            Method::Cud => Self::CatchUp(config.catch_up.clone()),
            Method::Consistency => Self::Consistency {
                form: config.consistency.form,
                reciprocal: config.consistency.reciprocal,
            },
            Method::Progressive => Self::Progressive {
                steps: config.progressive.stages.last().copied().unwrap_or(1),
            },
        }
    }

    /// Heads of the network that learns it: the order of Catch-Up Distillation.
    pub fn heads(&self) -> usize {
        match self {
            Self::CatchUp(catch_up) => catch_up.order,
            _ => 1,
        }
    }
}

/// Networks, lesson and what is watched, for [`taper_train::train`].
pub struct Learner<'a> {
    lesson: Lesson,
    seed: u64,
    shape: VelocityConfig,
    learning: Box<dyn VelocityNetwork>,
    /// Over the same tensors, without a graph: stages, targets, evaluation.
    twin: Box<dyn VelocityNetwork>,
    average: Option<Box<dyn VelocityNetwork>>,
    teacher: Option<&'a dyn VelocityNetwork>,
    encoder: Option<Box<dyn VelocityNetwork>>,
    prior_weight: f64,
    store: ParameterStore,
    monitor: Monitor,
    metadata: BTreeMap<String, String>,
}

impl<'a> Learner<'a> {
    /// Builds the networks in `store`.
    ///
    /// # Errors
    /// A lesson whose teacher is missing; a configuration that describes no network.
    pub fn new(
        config: &DiffusionConfig,
        lesson: Lesson,
        seed: u64,
        store: &ParameterStore,
        teacher: Option<&'a dyn VelocityNetwork>,
        monitor: Monitor,
        metadata: BTreeMap<String, String>,
    ) -> Result<Self> {
        let learns_from = matches!(
            lesson,
            Lesson::Consistency { .. } | Lesson::Progressive { .. }
        );
        if learns_from && teacher.is_none() {
            return Err(DiffusionError::setting(
                "teacher",
                "none",
                "a teacher: the method learns from one",
            ));
        }
        let shape = config.network.clone().with_heads(lesson.heads());
        let coupling = match lesson {
            Lesson::Flow | Lesson::CatchUp(_) => config.coupling.as_ref(),
            _ => None,
        };
        let encoder = coupling.map(|coupling| {
            let vb = store.var_builder(DType::F32).pp(coupling::ENCODER);
            coupling.encoder.build(vb)
        });
        Ok(Self {
            lesson,
            seed,
            learning: shape.build(store.var_builder(DType::F32))?,
            twin: shape.build(store.frozen(DType::F32))?,
            shape,
            average: None,
            teacher,
            encoder: encoder.transpose()?,
            prior_weight: coupling.map_or(0.0, |coupling| coupling.weight),
            store: store.clone(),
            monitor,
            metadata,
        })
    }

    fn batch_losses(
        &self,
        batch: &DiffusionBatch,
        position: &Position,
    ) -> candle_core::Result<Losses> {
        let count = batch.x.dim(0)?;
        let random = &mut stream(self.seed, STEP, position.step());
        let class = batch
            .class
            .as_ref()
            .filter(|_| self.learning.classes().is_some());
        if let Lesson::OneStep { average_weight } = self.lesson {
            return self.one_step(batch, class, average_weight, random);
        }
        let times = match &self.lesson {
            Lesson::CatchUp(catch_up) => catch_up.draw(count, random),
            Lesson::Progressive { steps } => {
                let t = progressive::draw(count, *steps, random);
                let dt = vec![0.0; count];
                Times::given(t, dt).map_err(candle_core::Error::wrap)?
            }
            _ => Times::continuous(count, StepSize::Origin, 1, random),
        };
        let coupled = coupling::draw(self.encoder.as_deref(), &batch.x, random)?;
        let t = times.now(&batch.x)?;
        let (x_t, velocity) = interpolate(&batch.x, &coupled.z, &t)?;
        let predictions = self
            .learning
            .forward(&x_t, &t, class, Dropout::On(random))?;
        let first = &predictions[0];
        let of = |network: Option<&'a dyn VelocityNetwork>| match network {
            Some(network) => Ok(network),
            None => candle_core::bail!("the method has no teacher"),
        };
        let mut losses = Losses::new(count);
        losses = match &self.lesson {
            Lesson::CatchUp(catch_up) => {
                let drops = self.shape.dropout() > 0.0;
                let known = (!drops).then(|| first.detach());
                let drops = drops && catch_up.target_dropout;
                let mut own = |x: &Tensor, t: &Tensor| {
                    let dropout = match drops {
                        true => Dropout::On(&mut *random),
                        false => Dropout::Off,
                    };
                    Ok(self.twin.forward(x, t, class, dropout)?.swap_remove(0))
                };
                let targets = catch_up.targets(&x_t, &times, known.as_ref(), &mut own)?;
                let weights = catch_up.weights(position.fraction());
                let loss = catch_up.loss(&predictions, &targets, &velocity, &times, weights)?;
                losses.term("cud", loss, 1.0)
            }
            Lesson::Consistency { form, reciprocal } => {
                let teacher = of(self.teacher)?;
                let Some(average) = self.average.as_deref() else {
                    candle_core::bail!("the loop keeps no average, from which targets come");
                };
                let mut teacher = velocity_of(teacher, 0, class);
                let mut average = velocity_of(average, 0, class);
                let loss =
                    form.loss(first, &x_t, &times, *reciprocal, &mut teacher, &mut average)?;
                losses.term("consistency", loss, 1.0)
            }
            Lesson::Progressive { steps } => {
                let mut teacher = velocity_of(of(self.teacher)?, 0, class);
                let loss = progressive::loss(first, &x_t, &times, *steps, &mut teacher)?;
                losses.term("progressive", loss, 1.0)
            }
            Lesson::Flow | Lesson::OneStep { .. } => {
                losses.term("flow", mean_square(first, &velocity)?, 1.0)
            }
        };
        if let Some(prior) = coupled.prior {
            losses = losses.term("prior", prior, self.prior_weight);
        }
        Ok(losses)
    }

    /// mse(z − v(z, 1), x̂) + w mse(v(z, 1), v_average(z, 1)); z − v − x̂ is the line z − x̂ less v.
    fn one_step(
        &self,
        batch: &DiffusionBatch,
        class: Option<&Tensor>,
        weight: f64,
        random: &mut Random,
    ) -> candle_core::Result<Losses> {
        let (Some(z), Some(average)) = (&batch.z, self.average.as_deref()) else {
            candle_core::bail!("additional training needs pairs of noise and an average");
        };
        let count = z.dim(0)?;
        let t = crate::noise::scalars_like(z, &vec![1.0; count])?;
        let dropout = Dropout::On(random);
        let prediction = self.learning.forward(z, &t, class, dropout)?.swap_remove(0);
        let line = (z - &batch.x)?;
        let mean = velocity_of(average, 0, class)(z, &t)?.detach();
        Ok(Losses::new(count)
            .term("estimate", mean_square(&prediction, &line)?, 1.0)
            .term("average", mean_square(&prediction, &mean)?, weight))
    }
}

/// The velocity of one head, as samplers take it; nothing is dropped.
pub fn velocity_of<'n>(
    network: &'n dyn VelocityNetwork,
    head: usize,
    class: Option<&'n Tensor>,
) -> impl FnMut(&Tensor, &Tensor) -> candle_core::Result<Tensor> + 'n {
    move |x, t| {
        let mut heads = network.forward(x, t, class, Dropout::Off)?;
        match head < heads.len() {
            true => Ok(heads.swap_remove(head)),
            false => candle_core::bail!(
                "head {}: the network has {} (1 is the first)",
                head + 1,
                heads.len()
            ),
        }
    }
}

impl Objective for Learner<'_> {
    type Batch = DiffusionBatch;

    fn begin(&mut self, averages: &BTreeMap<String, Tensor>) -> taper_train::Result<()> {
        if averages.is_empty() {
            return Ok(());
        }
        // Buffers are not averaged.
        let mut tensors: HashMap<String, Tensor> = self.store.state().into_iter().collect();
        tensors.extend(averages.iter().map(|(name, t)| (name.clone(), t.clone())));
        let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        self.average = Some(self.shape.build(vb)?);
        Ok(())
    }

    fn losses(
        &mut self,
        batch: &DiffusionBatch,
        position: &Position,
    ) -> taper_train::Result<Losses> {
        Ok(self.batch_losses(batch, position)?)
    }

    fn evaluate(&mut self, _: &Position) -> taper_train::Result<BTreeMap<String, f64>> {
        self.monitor.look(&*self.twin).map_err(TrainError::method)
    }

    /// The velocity network; the coupling's encoder only served the training.
    fn finished_model(
        &self,
        mut state: BTreeMap<String, Tensor>,
    ) -> taper_train::Result<BTreeMap<String, Tensor>> {
        let prefix = format!("{}.", coupling::ENCODER);
        state.retain(|name, _| !name.starts_with(&prefix));
        Ok(state)
    }

    fn metadata(&self) -> BTreeMap<String, String> {
        self.metadata.clone()
    }
}
