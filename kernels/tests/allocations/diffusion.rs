//! Operators of diffusion U-Nets.

use crate::{Findings, IMAGES, bytes, learned};
use candle_core::Result;
use taper_kernels::{add_channels, add_scaled, dropout, join_channels};

pub(crate) fn diffusion(findings: &mut Findings) -> Result<()> {
    let (x, other) = (learned(50, &IMAGES), learned(51, &IMAGES));
    let shift = learned(52, &IMAGES[..2]);
    let image = bytes(&x);
    findings.call("add_scaled", image, 0, || add_scaled(&x, &other, 0.5));
    // One gradient serves both arguments.
    let sum = add_scaled(&x, &other, 0.5)?;
    findings.backward("add_scaled", &sum, &[&x, &other], 0);
    findings.call("add_channels", image, 0, || add_channels(&x, &shift));
    let shifted = add_channels(&x, &shift)?;
    findings.backward("add_channels", &shifted, &[&x, &shift], 0);
    let factors = [(0.5, 1.5); IMAGES[0]];
    let join = || join_channels(&x, &other, Some(&factors));
    findings.call("join_channels", 2 * image, 0, join);
    findings.backward("join_channels", &join()?, &[&x, &other], 0);
    findings.call("dropout", image, 0, || dropout(&x, 0.3, 7));
    findings.backward("dropout", &dropout(&x, 0.3, 7)?, &[&x], 0);
    Ok(())
}
