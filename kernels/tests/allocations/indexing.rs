//! Operators that pick, put, permute and add up elements.

use crate::{Findings, bytes, learned, single};
use candle_core::{DType, Device, Result, Tensor};
use taper_kernels::{
    Pool1dGeometry, avg_pool1d, embedding, gather, max_pool1d, permute, scatter_add, sum_axes,
};

/// Rows and classes.
const TABLE: [usize; 2] = [1024, 512];
/// Picked from every row.
const PICKED: usize = 64;

pub(crate) fn indexing(findings: &mut Findings) -> Result<()> {
    let (x, tracked) = (single(40, &TABLE), learned(40, &TABLE));
    let positions = (TABLE[0] * PICKED) as u32;
    let index = Tensor::from_iter((0..positions).map(|at| at % 512), &Device::Cpu)?
        .reshape((TABLE[0], PICKED))?;
    let picked = 4 * TABLE[0] * PICKED;
    findings.call("gather", picked, 0, || gather(&x, 1, &index));
    let result = gather(&tracked, 1, &index)?;
    findings.backward("gather", &result, &[&tracked], 0);
    let source = learned(41, &[TABLE[0], PICKED]);
    findings.call("scatter_add", bytes(&x), 0, || {
        scatter_add(&x, 1, &index, &source.detach())
    });
    let result = scatter_add(&tracked, 1, &index, &source)?;
    findings.backward("scatter_add", &result, &[&tracked, &source], 0);
    let tokens = Tensor::ones((8, 50), DType::U32, &Device::Cpu)?;
    findings.call("embedding", 4 * 400 * TABLE[1], 0, || {
        embedding(&x, &tokens)
    });
    findings.call("permute", bytes(&x), 0, || permute(&x, &[1, 0]));
    let result = permute(&tracked, &[1, 0])?;
    findings.backward("permute", &result, &[&tracked], 0);
    for axes in [[0], [1]] {
        let sums = 4 * TABLE[1 - axes[0]];
        let name = format!("sum_axes {axes:?}");
        findings.call(&name, sums, bytes(&x) / 8, || sum_axes(&x, &axes));
        let result = sum_axes(&tracked, &axes)?;
        findings.backward(&name, &result, &[&tracked], 0);
    }
    lines(findings)
}

fn lines(findings: &mut Findings) -> Result<()> {
    let x = learned(42, &[16, 64, 400]);
    let geometry = Pool1dGeometry::with(3, 2, 1);
    let pooled = bytes(&x) / 2;
    findings.call("max_pool1d", pooled, 0, || {
        max_pool1d(&x.detach(), &geometry)
    });
    findings.backward("max_pool1d", &max_pool1d(&x, &geometry)?, &[&x], bytes(&x));
    findings.call("avg_pool1d", pooled, 0, || {
        avg_pool1d(&x.detach(), &geometry, true)
    });
    let result = avg_pool1d(&x, &geometry, true)?;
    findings.backward("avg_pool1d", &result, &[&x], bytes(&x));
    Ok(())
}
