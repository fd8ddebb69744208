//! Steps in place.

use crate::{Findings, single};
use candle_core::{Result, Var};
use taper_kernels::{AdamWHyper, SgdHyper, adamw_step, ema_step, sgd_step, squared_norm};

pub(crate) fn optimisers(findings: &mut Findings) -> Result<()> {
    let param = Var::from_tensor(&single(18, &[1_000_000]))?;
    let (grad, first, second) = (
        single(19, &[1_000_000]),
        single(20, &[1_000_000]),
        single(21, &[1_000_000]).sqr()?,
    );
    findings.call("sgd_step", 0, 0, || {
        sgd_step(&param, &grad, &first, &SgdHyper::default(), false)
    });
    findings.call("adamw_step", 0, 0, || {
        adamw_step(&param, &grad, &first, &second, &AdamWHyper::default(), 3)
    });
    findings.call("ema_step", 0, 0, || ema_step(&first, &grad, 0.9));
    findings.call("squared_norm", 0, 0, || squared_norm(&grad));
    Ok(())
}
