//! `taper bench step MODEL --batch N`.

use super::measure::{Case, CaseArgs, measure, print};
use crate::Status;
use crate::args::Global;
use crate::output::Output;
use taper::train::OptimizerConfig;
use taper::train::optimizer::{Optimizer, Rate};

pub fn execute(args: &CaseArgs, global: &Global, output: &Output) -> anyhow::Result<Status> {
    let case = Case::new(args, global.seed.unwrap_or(0), &global.device()?)?;
    let mut loss = case.subject.loss(&case.store, &case.images)?;
    let parameters = case.store.parameters();
    let settings = OptimizerConfig::default();
    let rate = Rate {
        learning_rate: settings.learning_rate(),
        weight_decay: settings.weight_decay(),
    };
    let mut optimizer = Optimizer::new(&settings);
    let timing = measure(&case, args, global.thread_count(), || {
        let gradients = loss()?.backward()?;
        for (name, parameter) in &parameters {
            if let Some(gradient) = gradients.get(parameter) {
                optimizer.step(name, parameter, gradient, rate)?;
            }
        }
        // A GPU works on after the calls have returned.
        Ok(case.images.device().synchronize()?)
    })?;
    print(&timing, "training step", output)?;
    Ok(Status::Done)
}
