//! `taper bench infer MODEL --batch N`.

use super::measure::{Case, CaseArgs, measure, print};
use crate::Status;
use crate::args::Global;
use crate::output::Output;

pub fn execute(args: &CaseArgs, global: &Global, output: &Output) -> anyhow::Result<Status> {
    let case = Case::new(args, global.seed.unwrap_or(0), &global.device()?)?;
    let mut infer = case.subject.inference(&case.store, &case.images)?;
    let timing = measure(&case, args, global.thread_count(), || {
        infer()?;
        // A GPU works on after the calls have returned.
        Ok(case.images.device().synchronize()?)
    })?;
    print(&timing, "inference", output)?;
    Ok(Status::Done)
}
