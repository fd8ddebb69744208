//! `taper bench infer MODEL --batch N`.

use super::measure::{Case, CaseArgs, measure, print};
use crate::Status;
use crate::args::Global;
use crate::output::Output;
use candle_core::DType;
use taper::layers::Mode;

pub fn execute(args: &CaseArgs, global: &Global, output: &Output) -> anyhow::Result<Status> {
    let case = Case::new(args, global.seed.unwrap_or(0), &global.device()?)?;
    let config = (case.entry.config)(case.classes);
    config.build(case.store.var_builder(DType::F32))?;
    let model = config.build(case.store.frozen(DType::F32))?;
    let timing = measure(&case, args, global.thread_count(), || {
        model.forward(&case.images, Mode::Eval)?;
        // A GPU works on after the calls have returned.
        Ok(case.images.device().synchronize()?)
    })?;
    print(&timing, "inference", output)?;
    Ok(Status::Done)
}
