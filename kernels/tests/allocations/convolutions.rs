//! Convolutions, plain and fused.

use crate::{Findings, IMAGES, TILE, bytes, learned, single};
use candle_core::{Result, Tensor};
use taper_kernels::{
    Activation, BlockNorm, BlockUnit, BlockView, Conv1dGeometry, Conv2dGeometry, block_run,
    conv_bias_act, conv_bn_act, conv1d, conv2d, conv2d_input_gradient, conv2d_weight_gradient,
    set_exact,
};

/// Input, output channels, kernel, stride, groups.
type Shape = ([usize; 4], usize, usize, usize, usize);

/// Workspace of the three passes, as the documentation of `conv2d` states it.
fn workspace(kind: &str, (dims, outputs, kernel, _, groups): Shape, output: usize) -> [usize; 3] {
    let input = 4 * dims.iter().product::<usize>();
    let weight = 4 * outputs * dims[1] / groups * kernel * kernel;
    match kind {
        "Winograd" => {
            // Filters of 36 points in place of 9, and tiles of both sides.
            let buffers = 36 * 4 * 64 * (dims[1] + outputs) + TILE;
            let tiles = dims[0] * dims[2].div_ceil(4) * dims[3].div_ceil(4);
            let of_weight = if tiles * (dims[1] + outputs) <= 16 * dims[1] * outputs {
                4 * weight + 5 * (input + output) / 2 + TILE
            } else {
                9 * 4 * weight + buffers
            };
            [4 * weight + buffers, 4 * weight + buffers, of_weight]
        }
        // A copy of the weight in another order; nine sums of its gradient.
        _ => [weight + TILE, weight + TILE, 9 * weight + TILE],
    }
}

pub(crate) fn convolutions(findings: &mut Findings) -> Result<()> {
    let shapes: [(&str, Shape); 12] = [
        ("Winograd", ([16, 32, 32, 32], 32, 3, 1, 1)),
        ("Winograd", ([64, 64, 8, 8], 64, 3, 1, 1)),
        ("Winograd", ([64, 128, 8, 8], 128, 3, 1, 1)),
        ("Winograd", ([16, 128, 28, 28], 128, 3, 1, 1)),
        ("exact", ([16, 32, 32, 32], 32, 3, 1, 1)),
        ("stride 2", ([16, 32, 32, 32], 64, 3, 2, 1)),
        ("stem", ([64, 3, 32, 32], 16, 3, 1, 1)),
        ("1x1", ([32, 64, 32, 32], 128, 1, 1, 1)),
        ("5x5", ([64, 32, 16, 16], 32, 5, 1, 1)),
        ("4 groups", ([64, 64, 16, 16], 64, 3, 1, 4)),
        ("depthwise", ([32, 64, 32, 32], 64, 3, 1, 64)),
        ("depthwise", ([64, 384, 8, 8], 384, 3, 1, 384)),
    ];
    for (kind, shape) in shapes {
        set_exact(kind == "exact");
        let (dims, outputs, kernel, stride, groups) = shape;
        let geometry = Conv2dGeometry::with(stride, kernel / 2).grouped(groups);
        let (x, weight) = (
            single(22, &dims),
            single(23, &[outputs, dims[1] / groups, kernel, kernel]),
        );
        let y = conv2d(&x, &weight, None, &geometry)?;
        let [forward, of_input, of_weight] = workspace(kind, shape, bytes(&y));
        let name = |pass: &str| format!("conv2d {kind} {dims:?} {pass}");
        findings.call(&name("forward"), bytes(&y), forward, || {
            conv2d(&x, &weight, None, &geometry)
        });
        findings.call(&name("input gradient"), bytes(&x), of_input, || {
            conv2d_input_gradient(&y, &weight, x.dims4()?, &geometry)
        });
        findings.call(&name("weight gradient"), bytes(&weight), of_weight, || {
            conv2d_weight_gradient(&x, &y, weight.dims4()?, &geometry)
        });
    }
    set_exact(false);
    let (x, weight) = (single(24, &[4, 256, 200]), single(25, &[256, 1, 15]));
    let geometry = Conv1dGeometry::with(1, 7).grouped(256);
    findings.call("conv1d depthwise", bytes(&x), TILE, || {
        conv1d(&x, &weight, None, &geometry)
    });
    Ok(())
}

pub(crate) fn fused_convolutions(findings: &mut Findings) -> Result<()> {
    let geometry = Conv2dGeometry::with(1, 1);
    let shape: Shape = (IMAGES, 32, 3, 1, 1);
    let (x, residual, weight) = (
        single(0, &IMAGES),
        single(1, &IMAGES),
        single(26, &[32, 32, 3, 3]),
    );
    let (gamma, beta) = (single(2, &[32]), single(3, &[32]));
    let image = bytes(&x);
    let [forward, of_input, of_weight] = workspace("Winograd", shape, image);
    let relu = Activation::Relu;
    // What the batch norm saw is kept for the backward pass.
    let fused = |x: &Tensor, weight: &Tensor, gamma: &Tensor, beta: &Tensor, residual: &Tensor| {
        conv_bn_act(
            x,
            weight,
            gamma,
            beta,
            Some(residual),
            &geometry,
            1e-5,
            relu,
        )
    };
    findings.call("conv_bn_act", image, image + forward, || {
        fused(&x, &weight, &gamma, &beta, &residual)
    });
    findings.call("conv_bias_act", image, forward + bytes(&weight), || {
        conv_bias_act(&x, &weight, &beta, Some(&residual), &geometry, relu)
    });
    let (x, residual, weight) = (
        learned(0, &IMAGES),
        learned(1, &IMAGES),
        learned(26, &[32, 32, 3, 3]),
    );
    let (gamma, beta) = (learned(2, &[32]), learned(3, &[32]));
    findings.call("conv_bn_act tracked", image, image + forward, || {
        fused(&x, &weight, &gamma, &beta, &residual)
    });
    let (y, _) = fused(&x, &weight, &gamma, &beta, &residual)?;
    let arguments = [&x, &weight, &gamma, &beta, &residual];
    // The gradient of what the batch norm saw.
    findings.backward(
        "conv_bn_act",
        &y,
        &arguments,
        image + of_input.max(of_weight),
    );
    Ok(())
}

/// A residual block as one operator: kept are the outputs of both convolutions, and the result.
pub(crate) fn runs(findings: &mut Findings) -> Result<()> {
    let (x, first, second) = (
        learned(0, &IMAGES),
        learned(27, &[32, 32, 3, 3]),
        learned(28, &[32, 32, 3, 3]),
    );
    let (gamma, beta) = (learned(2, &[32]), learned(3, &[32]));
    let norm = |residual| BlockNorm {
        gamma: &gamma,
        beta: &beta,
        eps: 1e-5,
        residual,
        activation: Activation::Relu,
    };
    let unit = |input, weight, residual| BlockUnit {
        input,
        weight,
        geometry: Conv2dGeometry::with(1, 1),
        add: None,
        norm: Some(norm(residual)),
    };
    let units = [
        unit(BlockView::Raw(0), &first, None),
        unit(BlockView::Normed(1), &second, Some(BlockView::Raw(0))),
    ];
    let image = bytes(&x);
    let [forward, of_input, of_weight] = workspace("Winograd", (IMAGES, 32, 3, 1, 1), image);
    let weights = 2 * bytes(&first) + 4 * bytes(&gamma);
    // The input and the result are turned into blocks of channels and back.
    let kept = 4 * image + weights;
    findings.call("block_run", image, kept + forward, || {
        block_run(&x, None, &units)
    });
    let (y, _) = block_run(&x, None, &units)?;
    let gradients = 3 * image;
    findings.backward(
        "block_run",
        &y,
        &[&x, &first, &second, &gamma, &beta],
        gradients + weights + of_input.max(of_weight),
    );
    Ok(())
}
