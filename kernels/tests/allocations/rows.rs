//! Norms of rows and groups, softmax, activations of a Conformer.

use crate::{Findings, SMALL, bytes, learned, single};
use candle_core::{D, Result, Tensor};
use taper_kernels::{
    gelu, gelu_tanh, glu, group_norm, group_norm_silu, layer_norm, silu, softmax, tanh,
};

/// Batch, channels, sides.
const IMAGES: [usize; 4] = [8, 64, 28, 28];
const GROUPS: usize = 16;
/// Positions and width.
const ROWS: [usize; 2] = [1000, 512];

type Function = fn(&Tensor) -> Result<Tensor>;

pub(crate) fn rows(findings: &mut Findings) -> Result<()> {
    normed_rows(findings)?;
    normed_groups(findings)?;
    let (x, tracked) = (single(30, &ROWS), learned(30, &ROWS));
    let functions: [(&str, Function); 5] = [
        ("gelu", gelu),
        ("gelu_tanh", gelu_tanh),
        ("silu", silu),
        ("tanh", tanh),
        ("softmax", |x| softmax(x, D::Minus1)),
    ];
    for (name, function) in functions {
        findings.call(name, bytes(&x), 0, || function(&x));
        findings.backward(name, &function(&tracked)?, &[&tracked], 0);
    }
    findings.call("glu", bytes(&x) / 2, 0, || glu(&x, D::Minus1));
    findings.backward("glu", &glu(&tracked, D::Minus1)?, &[&tracked], 0);
    Ok(())
}

fn normed_rows(findings: &mut Findings) -> Result<()> {
    let (x, weight, bias) = (
        learned(31, &ROWS),
        learned(32, &ROWS[1..]),
        learned(33, &ROWS[1..]),
    );
    let norm = |x: &Tensor| layer_norm(x, &ROWS[1..], Some(&weight), Some(&bias), 1e-5);
    // Three numbers a row, in f64 at most.
    let kept = 3 * 8 * ROWS[0];
    findings.call("layer_norm", bytes(&x), kept, || norm(&x));
    findings.backward(
        "layer_norm",
        &norm(&x)?,
        &[&x, &weight, &bias],
        kept + blocks_of_sums(ROWS[1]),
    );
    Ok(())
}

fn normed_groups(findings: &mut Findings) -> Result<()> {
    let (x, weight, bias) = (
        learned(34, &IMAGES),
        learned(35, &IMAGES[1..2]),
        learned(36, &IMAGES[1..2]),
    );
    let kept = 3 * 8 * IMAGES[0] * GROUPS;
    for (name, silu) in [("group_norm", false), ("group_norm_silu", true)] {
        let norm = if silu { group_norm_silu } else { group_norm };
        let norm = |x: &Tensor| norm(x, GROUPS, Some(&weight), Some(&bias), 1e-5);
        findings.call(name, bytes(&x), kept, || norm(&x));
        findings.backward(
            name,
            &norm(&x)?,
            &[&x, &weight, &bias],
            kept + blocks_of_sums(IMAGES[1] * IMAGES[0]),
        );
    }
    Ok(())
}

/// The sums of weight and bias in f64, for each of up to 64 blocks of rows.
fn blocks_of_sums(width: usize) -> usize {
    2 * 8 * width * 64 + SMALL
}
