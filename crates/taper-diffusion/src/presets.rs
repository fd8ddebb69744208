//! Whole settings: those of the method card's experiment, small ones, and the published recipes.

use crate::config::{
    ConsistencyConfig, DiffusionConfig, EvaluationConfig, Method, ProgressiveConfig, TeacherConfig,
    steps_per_epoch,
};
use crate::objectives::catch_up::CatchUpConfig;
use crate::objectives::consistency;
use crate::objectives::coupling::{CouplingConfig, PRIOR_WEIGHT};
use crate::source::Source;
use crate::toy::Toy;
use taper_data::SetKind;
use taper_train::{OptimizerConfig, Schedule, TrainConfig, Warmup};
use taper_velocity::{MlpConfig, SongUNetConfig, VelocityConfig};

/// Adam with the betas and ε of the method card, section 8.
pub fn adam(learning_rate: f64) -> OptimizerConfig {
    OptimizerConfig::AdamW {
        learning_rate,
        betas: [0.9, 0.999],
        epsilon: 1e-8,
        weight_decay: 0.0,
    }
}

/// A loop with a linear warm-up over `warmup` epochs and a moving average.
pub fn adam_training(epochs: u64, learning_rate: f64, warmup: f64, average: f64) -> TrainConfig {
    TrainConfig {
        epochs,
        optimizer: adam(learning_rate),
        schedule: Schedule {
            warmup: (warmup > 0.0).then_some(Warmup {
                epochs: warmup,
                start: 0.0,
            }),
            ..Schedule::default()
        },
        ema: Some(average),
        ..TrainConfig::default()
    }
}

impl DiffusionConfig {
    /// The setting of the method card's toy experiment (section 12): a perceptron, 8,000 steps of 256.
    pub fn toy(toy: Toy, method: Method) -> Self {
        Self::base(
            Source::Toy(toy),
            method,
            256,
            VelocityConfig::Mlp(MlpConfig::velocity_2d()),
            adam_training(16, 1e-3, 0.4, 0.999),
        )
    }

    /// Settings that train in minutes on two cores: those of [`toy`](Self::toy), or a small U-Net on images.
    pub fn small(data: Source, method: Method) -> Self {
        let kind = match &data {
            Source::Toy(toy) => return Self::toy(*toy, method),
            Source::Images(spec) => spec.kind,
        };
        let (side, channels, batch, epochs) = match kind {
            SetKind::Digits => (8, 1, 64, 200),
            SetKind::Mnist | SetKind::FashionMnist => (28, 1, 128, 8),
            SetKind::Cifar10 | SetKind::Cifar100 | SetKind::Folder => (32, 3, 128, 8),
        };
        let network = VelocityConfig::SongUnet(SongUNetConfig::small(side, channels));
        let mut config = Self::base(
            data,
            method,
            batch,
            network,
            adam_training(epochs, 1e-3, epochs as f64 / 50.0, 0.999),
        );
        config.training.evaluate_every_epochs = (epochs / 8).max(1);
        config
    }

    /// The published recipe of MNIST and CIFAR-10 (method card, section 8): networks, learnt coupling,
    /// rates, warm-up of 5,000 steps, as many epochs as make the published iterations. `None` for other data.
    pub fn published(data: Source, method: Method) -> Option<Self> {
        let Source::Images(spec) = &data else {
            return None;
        };
        let mnist = match spec.kind {
            SetKind::Mnist | SetKind::FashionMnist => true,
            SetKind::Cifar10 => false,
            _ => return None,
        };
        let (network, encoder) = match mnist {
            true => (
                SongUNetConfig::cud_mnist(),
                SongUNetConfig::cud_mnist_encoder(),
            ),
            false => (
                SongUNetConfig::cud_cifar10(),
                SongUNetConfig::cud_cifar10_encoder(),
            ),
        };
        let (batch, rate, iterations, images) = match mnist {
            true => (256, 3e-4, 50_000, 60_000),
            false => (128, 2e-4, 500_000, 50_000),
        };
        let an_epoch = images / batch;
        let epochs = (iterations as u64).div_ceil(an_epoch as u64);
        let warmup = 5_000.0 / an_epoch as f64;
        let training = adam_training(epochs, rate, warmup, 0.9999);
        let network = VelocityConfig::SongUnet(network);
        let mut config = Self::base(data, method, batch, network, training);
        if !method.has_teacher() {
            config.coupling = Some(CouplingConfig {
                weight: PRIOR_WEIGHT,
                encoder: VelocityConfig::SongUnet(encoder),
            });
        }
        if method == Method::Consistency {
            config.training.ema = Some(consistency::EMA);
        }
        Some(config)
    }

    fn base(
        data: Source,
        method: Method,
        batch: usize,
        network: VelocityConfig,
        training: TrainConfig,
    ) -> Self {
        Self {
            data,
            method,
            seed: 0,
            batch,
            steps_per_epoch: steps_per_epoch(),
            augmentation: None,
            network,
            coupling: None,
            catch_up: CatchUpConfig::default(),
            consistency: ConsistencyConfig::default(),
            progressive: ProgressiveConfig::default(),
            teacher: TeacherConfig::default(),
            additional: None,
            evaluation: EvaluationConfig::default(),
            training,
        }
    }
}
