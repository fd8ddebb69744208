//! A small training with everything a real one has: batch norm (buffers), two loss terms, a memory
//! bank (a method's own state), synthetic data that the position names.

#![allow(dead_code)] // Each test file uses its part.

use candle_core::{D, DType, Device, Module, Tensor};
use rand::Rng;
use std::collections::BTreeMap;
use taper_kernels::{cross_entropy, random, relu};
use taper_layers::{BatchNorm2d, Linear, Mode, ParameterStore};
use taper_train::{
    BatchSource, Batches, Decay, Losses, Objective, OptimizerConfig, Position, Result, Schedule,
    TrainConfig, TrainError, Warmup, top_k_correct,
};

pub const INPUTS: usize = 16;
pub const CLASSES: usize = 5;
pub const BATCH: usize = 16;
pub const BATCHES: usize = 12;
const SEED: u64 = 11;

pub struct Batch {
    pub inputs: Tensor,
    pub targets: Tensor,
}

/// Noisy class centres; batch `index` is always the same.
pub fn batch(label: &str, index: u64, size: usize) -> Batch {
    let mut centres = random::stream(SEED, "centres", 0);
    let centres: Vec<f32> = (0..CLASSES * INPUTS)
        .map(|_| centres.random_range(-1.0..1.0))
        .collect();
    let mut random = random::stream(SEED, label, index);
    let targets: Vec<u32> = (0..size)
        .map(|_| random.random_range(0..CLASSES as u32))
        .collect();
    let inputs: Vec<f32> = targets
        .iter()
        .flat_map(|&target| {
            let centre = &centres[target as usize * INPUTS..][..INPUTS];
            let noisy = |c: &f32| c + random.random_range(-1.0..1.0f32);
            centre.iter().map(noisy).collect::<Vec<_>>()
        })
        .collect();
    Batch {
        inputs: Tensor::from_vec(inputs, (size, INPUTS), &Device::Cpu).unwrap(),
        targets: Tensor::from_vec(targets, size, &Device::Cpu).unwrap(),
    }
}

pub struct Source {
    pub batches: usize,
    /// Batches an epoch really has.
    pub available: usize,
}

impl Source {
    pub fn new() -> Self {
        Self {
            batches: BATCHES,
            available: BATCHES,
        }
    }
}

impl BatchSource for Source {
    type Batch = Batch;

    fn batches_per_epoch(&self) -> usize {
        self.batches
    }

    fn epoch(&mut self, epoch: u64, first_batch: usize) -> Result<Batches<'_, Batch>> {
        let make = move |index| Ok(batch("train", epoch * 1000 + index as u64, BATCH));
        Ok(Box::new((first_batch..self.available).map(make)))
    }
}

struct Network {
    first: Linear,
    norm: BatchNorm2d,
    second: Linear,
    last: Linear,
    width: usize,
}

impl Network {
    fn new(vb: candle_nn::VarBuilder, width: usize) -> candle_core::Result<Self> {
        Ok(Self {
            first: Linear::new(INPUTS, width, vb.pp("first"))?,
            norm: BatchNorm2d::new(width, vb.pp("norm"))?,
            second: Linear::new(width, width, vb.pp("second"))?,
            last: Linear::new(width, CLASSES, vb.pp("last"))?,
            width,
        })
    }

    /// The mean hidden activation `[width]` and the logits `[batch, classes]`.
    fn forward(&self, x: &Tensor, mode: Mode) -> candle_core::Result<(Tensor, Tensor)> {
        let batch = x.dim(0)?;
        let hidden = self.first.forward(x)?.reshape((batch, self.width, 1, 1))?;
        let hidden = self
            .norm
            .forward(&hidden, mode)?
            .reshape((batch, self.width))?;
        let hidden = relu(&self.second.forward(&relu(&hidden)?)?)?;
        Ok((hidden.mean(0)?, self.last.forward(&hidden)?))
    }
}

/// Cross-entropy, and a pull of the mean activation towards its own running mean (the bank).
pub struct Classifier {
    pub store: ParameterStore,
    network: Network,
    twin: Network,
    bank: Tensor,
    width: usize,
    /// The step, counted from 0, whose second term is NaN.
    pub nan_at: Option<u64>,
    /// Called before each step's losses.
    pub before_step: Box<dyn FnMut(u64)>,
}

impl Classifier {
    pub fn new(width: usize) -> Self {
        let store = ParameterStore::new(SEED, &Device::Cpu);
        Self {
            network: Network::new(store.var_builder(DType::F32), width).unwrap(),
            twin: Network::new(store.frozen(DType::F32), width).unwrap(),
            bank: Tensor::zeros(width, DType::F32, &Device::Cpu).unwrap(),
            width,
            store,
            nan_at: None,
            before_step: Box::new(|_| ()),
        }
    }
}

fn percent(logits: &Tensor, targets: &Tensor) -> candle_core::Result<f64> {
    let correct = top_k_correct(logits, targets, 1)?;
    Ok(100.0 * correct as f64 / targets.dim(D::Minus1)? as f64)
}

impl Objective for Classifier {
    type Batch = Batch;

    fn losses(&mut self, batch: &Batch, position: &Position) -> Result<Losses> {
        (self.before_step)(position.step());
        let (mean, logits) = self.network.forward(&batch.inputs, Mode::Train)?;
        let loss = cross_entropy(&logits, &batch.targets, 0.1)?;
        let mut pull = (&mean - &self.bank)?.sqr()?.mean_all()?;
        if self.nan_at == Some(position.step()) {
            pull = (pull * f64::NAN)?;
        }
        self.bank = ((&self.bank * 0.9)? + (mean.detach() * 0.1)?)?;
        let top1 = percent(&logits, &batch.targets)?;
        let weight = 0.1 * (1.0 - position.fraction());
        Ok(Losses::new(BATCH)
            .term("ce", loss, 1.0)
            .term("pull", pull, weight)
            .observe("top1", top1))
    }

    fn evaluate(&mut self, _position: &Position) -> Result<BTreeMap<String, f64>> {
        let Batch { inputs, targets } = batch("test", 0, 200);
        let (_, logits) = self.twin.forward(&inputs, Mode::Eval)?;
        let loss = cross_entropy(&logits, &targets, 0.0)?.to_scalar::<f32>()?;
        Ok(BTreeMap::from([
            ("top1".into(), percent(&logits, &targets)?),
            ("loss".into(), f64::from(loss)),
        ]))
    }

    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(BTreeMap::from([("bank".into(), self.bank.clone())]))
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let bank = state
            .get("bank")
            .ok_or_else(|| TrainError::method("no bank"))?;
        self.bank = bank.reshape(self.width)?;
        Ok(())
    }
}

/// Momentum, clipping, average.
pub fn sgd() -> TrainConfig {
    TrainConfig {
        epochs: 5,
        optimizer: OptimizerConfig::Sgd {
            learning_rate: 0.05,
            momentum: 0.9,
            nesterov: true,
            weight_decay: 5e-4,
        },
        schedule: Schedule {
            decay: Decay::cifar(),
            warmup: None,
        },
        ema: Some(0.9),
        clip_norm: Some(2.0),
        checkpoint_every_steps: Some(3),
        log_every_steps: Some(4),
        ..TrainConfig::default()
    }
}

/// AdamW with a warm-up and a cosine, no average.
pub fn adamw() -> TrainConfig {
    TrainConfig {
        optimizer: OptimizerConfig::AdamW {
            learning_rate: 2e-3,
            betas: [0.9, 0.99],
            epsilon: 1e-8,
            weight_decay: 0.05,
        },
        schedule: Schedule {
            decay: Decay::Cosine {
                floor: 0.01,
                per_epoch: false,
            },
            warmup: Some(Warmup {
                epochs: 1.5,
                start: 0.1,
            }),
        },
        ema: None,
        clip_norm: None,
        ..sgd()
    }
}

/// The lines of a metrics file without wall-clock.
pub fn timeless(path: &std::path::Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let line = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        value.as_object_mut().unwrap().remove("seconds");
        value
    };
    text.lines().map(line).collect()
}
