//! Pooling and resizing.

use crate::{Findings, IMAGES, bytes, learned, single};
use candle_core::Result;
use taper_kernels::{
    Pool2dGeometry, adaptive_avg_pool2d, avg_pool2d, global_avg_pool2d, max_pool2d,
    resize_bilinear2d, resize_nearest2d,
};

pub(crate) fn pooling_and_resizing(findings: &mut Findings) -> Result<()> {
    let (x, tracked) = (single(0, &IMAGES), learned(0, &IMAGES));
    let geometry = Pool2dGeometry::square(3, 2, 1);
    let pooled = bytes(&x) / 4;
    findings.call("max_pool2d", pooled, 0, || max_pool2d(&x, &geometry));
    // The positions of the maxima, 4 bytes each.
    findings.call("max_pool2d tracked", pooled, pooled, || {
        max_pool2d(&tracked, &geometry)
    });
    findings.backward(
        "max_pool2d",
        &max_pool2d(&tracked, &geometry)?,
        &[&tracked],
        0,
    );
    findings.call("avg_pool2d", pooled, 0, || avg_pool2d(&x, &geometry, true));
    findings.backward(
        "avg_pool2d",
        &avg_pool2d(&tracked, &geometry, true)?,
        &[&tracked],
        0,
    );
    findings.call("adaptive_avg_pool2d", bytes(&x) / 64, 0, || {
        adaptive_avg_pool2d(&x, (4, 4))
    });
    findings.call("global_avg_pool2d", bytes(&x) / 1024, 0, || {
        global_avg_pool2d(&x)
    });
    let doubled = 4 * bytes(&x);
    findings.call("resize_bilinear2d", doubled, 0, || {
        resize_bilinear2d(&x, (64, 64), false)
    });
    findings.backward(
        "resize_bilinear2d",
        &resize_bilinear2d(&tracked, (64, 64), false)?,
        &[&tracked],
        0,
    );
    findings.call("resize_nearest2d", doubled, 0, || {
        resize_nearest2d(&x, (64, 64))
    });
    findings.backward(
        "resize_nearest2d",
        &resize_nearest2d(&tracked, (64, 64))?,
        &[&tracked],
        0,
    );
    Ok(())
}
