//! The rows of the table: settings of the method card's experiment (section 12), and a few more.

use std::path::{Path, PathBuf};
use taper_diffusion::objectives::catch_up::{Stages, Weighting};
use taper_diffusion::objectives::consistency::Consistency;
use taper_diffusion::objectives::coupling::{CouplingConfig, PRIOR_WEIGHT};
use taper_diffusion::{DiffusionConfig, Method, Toy, adam_training};
use taper_train::MODEL_FILE;
use taper_velocity::{MlpConfig, VelocityConfig};

/// Steps of an epoch: a checkpoint each.
const EPOCH: usize = 1_000;
const RATE: f64 = 1e-3;
const AVERAGE: f64 = 0.999;
/// Steps of warm-up.
const WARMUP: f64 = 200.0;
/// The teacher of the distillers.
const TEACHER: &str = "RF, 4,000 iterations (teacher)";

/// One training.
pub struct Row {
    /// As the table has it; heads add theirs.
    pub name: String,
    pub config: DiffusionConfig,
    /// Whether each column has a network of its own.
    pub own_networks: bool,
}

impl Row {
    fn new(name: impl Into<String>, config: DiffusionConfig) -> Self {
        Self {
            name: name.into(),
            config,
            own_networks: false,
        }
    }

    /// A row of the table for each head.
    pub fn names(&self) -> Vec<String> {
        match self.config.trained_network().heads() {
            1 => vec![self.name.clone()],
            heads => (1..=heads)
                .map(|head| format!("{} head {head}", self.name))
                .collect(),
        }
    }
}

/// Where the run of a row lies.
pub fn folder(out: &Path, name: &str, seed: u64) -> PathBuf {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = name.chars().map(letter).collect();
    out.join(name.to_lowercase()).join(format!("seed{seed}"))
}

fn base(method: Method, seed: u64, thousands: u64) -> DiffusionConfig {
    let mut config = DiffusionConfig::toy(Toy::Checkerboard, method);
    config.seed = seed;
    config.steps_per_epoch = EPOCH;
    config.training = adam_training(thousands, RATE, WARMUP / EPOCH as f64, AVERAGE);
    // Measured afterwards, on more points.
    config.evaluation.samples = 100;
    config.evaluation.steps = vec![16];
    config.training.evaluate_every_epochs = thousands;
    config
}

fn cud(seed: u64, order: usize, stages: Stages) -> DiffusionConfig {
    let mut config = base(Method::Cud, seed, 8);
    config.catch_up.order = order;
    config.catch_up.stage_rule = stages;
    config
}

fn coupled(mut config: DiffusionConfig) -> DiffusionConfig {
    config.coupling = Some(CouplingConfig {
        weight: PRIOR_WEIGHT,
        encoder: VelocityConfig::Mlp(MlpConfig::coupling_2d()),
    });
    config
}

fn weighted(seed: u64, weighting: Weighting) -> DiffusionConfig {
    let mut config = cud(seed, 1, Stages::Paper);
    config.catch_up.weighting = weighting;
    config
}

fn fixed(catch_up: f64) -> Weighting {
    Weighting::Fixed {
        catch_up,
        truth: 1.0,
    }
}

/// Every row; the teacher comes before those that learn from it.
pub fn rows(out: &Path, seed: u64) -> Vec<Row> {
    let teacher = folder(out, TEACHER, seed).join(MODEL_FILE);
    let taught = |method, thousands| {
        let mut config = base(method, seed, thousands);
        config.teacher.weights = Some(teacher.clone());
        config
    };
    let consistency = |form| {
        let mut config = taught(Method::Consistency, 4);
        config.consistency.form = form;
        config
    };
    let mut progressive = taught(Method::Progressive, 1);
    progressive.training = adam_training(1, RATE, 50.0 / EPOCH as f64, 0.99);
    let mut rows = vec![
        Row::new("RF", base(Method::Flow, seed, 8)),
        Row::new("RK12", cud(seed, 1, Stages::Paper)),
        Row::new(TEACHER, base(Method::Flow, seed, 4)),
        Row::new("CD as executed", consistency(Consistency::Executed)),
        Row::new("CD proper", consistency(Consistency::Proper)),
        Row {
            own_networks: true,
            ..Row::new("PD", progressive)
        },
        Row::new("RK12, w1 = 4 w2", weighted(seed, fixed(4.0))),
        Row::new("RK12, w1 = 15 w2", weighted(seed, fixed(15.0))),
        Row::new(
            "RF + learned coupling",
            coupled(base(Method::Flow, seed, 8)),
        ),
        Row::new(
            "RK12 + learned coupling",
            coupled(cud(seed, 1, Stages::Paper)),
        ),
        Row::new("RK23", cud(seed, 2, Stages::Paper)),
        Row::new("RK34", cud(seed, 3, Stages::Paper)),
    ];
    for steps in [1, 2, 4, 8] {
        let name = format!("RK12, look-ahead for {steps}");
        rows.push(Row::new(
            name,
            weighted(seed, Weighting::ForSteps { steps }),
        ));
    }
    rows.push(Row::new("RK23 corrected", cud(seed, 2, Stages::Corrected)));
    rows.push(Row::new("RK34 corrected", cud(seed, 3, Stages::Corrected)));
    rows.push(Row::new(
        "RF, 16,000 iterations",
        base(Method::Flow, seed, 16),
    ));
    rows
}
