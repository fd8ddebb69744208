//! No operator allocates more than its results and the workspace that its documentation states.
//!
//! A counting allocator tells how much more than before is held at the worst moment of a call. One thread: workspace
//! that is stated for each thread counts once.
// What was measured is shown where a test fails.
#![allow(clippy::print_stdout)]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use candle_core::{DType, Device, Result, Tensor, Var};
use taper_kernels::memory::{self, Counting};
use taper_kernels::testing::uniform;
use taper_kernels::{
    Activation, AdamWHyper, CatchUpWeights, Conv1dGeometry, Conv2dGeometry, CtcOptions,
    Pool2dGeometry, SamplerStep, SgdHyper, StageRule, adamw_step, adaptive_avg_pool2d, add_relu,
    avg_pool2d, batch_norm_eval, batch_norm_train, catchup_loss, conv_bias_act, conv_bn_act,
    conv1d, conv2d, conv2d_input_gradient, conv2d_weight_gradient, cross_entropy, ctc_loss,
    ema_step, global_avg_pool2d, interpolate, linear, log_softmax, max_pool2d, relu,
    resize_bilinear2d, resize_nearest2d, rk_step, sampler_update, segment_match, set_exact,
    sgd_step, squared_norm, threads,
};

#[global_allocator]
static ALLOCATOR: Counting<std::alloc::System> = Counting(std::alloc::System);

/// Shapes, strides, lists of tasks, sums of channels.
const SMALL: usize = 8 << 10;
/// Buffers of one thread in a direct or depthwise convolution.
const TILE: usize = 1 << 20;

fn single(index: u64, dims: &[usize]) -> Tensor {
    let tensor = uniform("allocations", index, dims, -1.0, 1.0);
    tensor
        .and_then(|tensor| tensor.to_dtype(DType::F32))
        .unwrap()
}

fn learned(index: u64, dims: &[usize]) -> Tensor {
    let var = Var::from_tensor(&single(index, dims)).unwrap();
    var.as_tensor().clone()
}

fn bytes(tensor: &Tensor) -> usize {
    4 * tensor.elem_count()
}

/// What was found of each call.
#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    /// Holds the call to its results' bytes and its workspace.
    fn call<R>(
        &mut self,
        name: &str,
        results: usize,
        workspace: usize,
        call: impl Fn() -> Result<R>,
    ) {
        // What a process sets up once is not the operator's.
        drop(call().unwrap());
        memory::release_workspace();
        memory::reset_peak();
        let before = memory::live_bytes();
        let result = call().unwrap();
        let most = memory::peak_bytes() - before;
        drop(result);
        let allowed = results + workspace + SMALL;
        println!("{name}: {most} bytes of {allowed} allowed, results {results}");
        if most > allowed {
            self.0.push(format!(
                "{name}: {most} bytes, allowed {results} + {workspace} + {SMALL}"
            ));
        }
    }

    /// The gradients of all `arguments` from a gradient of ones. Candle's tape makes that gradient, and for the one being
    /// added up zeros and a sum.
    fn backward(&mut self, name: &str, result: &Tensor, arguments: &[&Tensor], workspace: usize) {
        let gradients: usize = arguments.iter().map(|tensor| bytes(tensor)).sum();
        let largest = arguments
            .iter()
            .map(|tensor| bytes(tensor))
            .max()
            .unwrap_or(0);
        let tape = bytes(result) + 2 * largest + 2 * SMALL;
        let name = format!("{name} backward");
        self.call(&name, gradients, tape + workspace, || result.backward());
    }
}

#[test]
fn operators_keep_to_their_results_and_stated_workspace() -> Result<()> {
    threads::set_threads(1);
    let mut findings = Findings::default();
    elementwise_and_norms(&mut findings)?;
    pooling_and_resizing(&mut findings)?;
    losses(&mut findings)?;
    catch_up(&mut findings)?;
    optimisers(&mut findings)?;
    convolutions(&mut findings)?;
    fused_convolutions(&mut findings)?;
    assert!(findings.0.is_empty(), "{}", findings.0.join("\n"));
    Ok(())
}

const IMAGES: [usize; 4] = [16, 32, 32, 32];

fn elementwise_and_norms(findings: &mut Findings) -> Result<()> {
    let (x, other) = (single(0, &IMAGES), single(1, &IMAGES));
    let (weight, bias) = (single(2, &[32]), single(3, &[32]));
    let image = bytes(&x);
    findings.call("relu", image, 0, || relu(&x));
    findings.call("add_relu", image, 0, || add_relu(&x, &other));
    let norm = |x: &Tensor, other: Option<&Tensor>| {
        batch_norm_train(x, &weight, &bias, other, 1e-5, Activation::Relu)
    };
    findings.call("batch_norm_train", image, 0, || norm(&x, None));
    findings.call("batch_norm_train, residual", image, 0, || {
        norm(&x, Some(&other))
    });
    findings.call("batch_norm_eval", image, 0, || {
        batch_norm_eval(
            &x,
            &weight,
            &bias,
            &bias,
            &weight.sqr()?,
            Some(&other),
            1e-5,
            Activation::Relu,
        )
    });
    let (x, other) = (learned(0, &IMAGES), learned(1, &IMAGES));
    let (weight, bias) = (learned(2, &[32]), learned(3, &[32]));
    findings.backward("relu", &relu(&x)?, &[&x], 0);
    let (y, _) = batch_norm_train(&x, &weight, &bias, Some(&other), 1e-5, Activation::Relu)?;
    findings.backward("batch_norm_train", &y, &[&x, &weight, &bias, &other], 0);
    Ok(())
}

fn pooling_and_resizing(findings: &mut Findings) -> Result<()> {
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

fn losses(findings: &mut Findings) -> Result<()> {
    let (expanded, teacher) = (learned(0, &IMAGES), single(4, &[16, 4, 32, 32]));
    findings.call("segment_match", 4, 0, || {
        segment_match(&expanded.detach(), &teacher, 8)
    });
    // In training the gradient is written at once.
    let image = bytes(&expanded);
    findings.call("segment_match tracked", image, 0, || {
        segment_match(&expanded, &teacher, 8)
    });
    findings.backward(
        "segment_match",
        &segment_match(&expanded, &teacher, 8)?,
        &[&expanded],
        0,
    );
    let logits = learned(5, &[256, 1000]);
    let targets = Tensor::from_iter(0..256u32, &Device::Cpu)?;
    findings.call("log_softmax", bytes(&logits), 0, || {
        log_softmax(&logits.detach(), candle_core::D::Minus1)
    });
    findings.call("cross_entropy", 4, 0, || {
        cross_entropy(&logits.detach(), &targets, 0.1)
    });
    findings.call("cross_entropy tracked", bytes(&logits), 0, || {
        cross_entropy(&logits, &targets, 0.1)
    });
    let (frames, batch, labels) = (100, 4, 20);
    let log_probs = log_softmax(&single(6, &[frames, batch, 50]), candle_core::D::Minus1)?;
    let labels_of = Tensor::ones((batch, labels), DType::U32, &Device::Cpu)?;
    let (input_lengths, target_lengths) = (vec![frames; batch], vec![labels; batch]);
    let options = CtcOptions::default();
    // Of each frame, the blanks between labels counted as labels: 32 bytes.
    let sums = 32 * frames * (2 * labels + 1);
    let loss = |x: &Tensor| ctc_loss(x, &labels_of, &input_lengths, &target_lengths, &options);
    findings.call("ctc_loss", 4, 0, || loss(&log_probs));
    let tracked = Var::from_tensor(&log_probs)?;
    findings.call("ctc_loss tracked", bytes(&log_probs), sums, || {
        loss(&tracked)
    });
    // The product before the bias is added, and the panels of the matrix product.
    let (x, weight, bias) = (
        single(7, &[256, 512]),
        single(8, &[1024, 512]),
        single(9, &[1024]),
    );
    let product = 4 * 256 * 1024;
    findings.call("linear", product, product + 2 * TILE, || {
        linear(&x, &weight, Some(&bias))
    });
    Ok(())
}

fn catch_up(findings: &mut Findings) -> Result<()> {
    let tensors: Vec<Tensor> = (0..6).map(|index| single(10 + index, &IMAGES)).collect();
    let time = uniform("allocations", 16, &[16], 0.0, 1.0)?.to_dtype(DType::F32)?;
    let image = bytes(&tensors[0]);
    findings.call("interpolate", 2 * image, 0, || {
        interpolate(&tensors[0], &tensors[1], &time)
    });
    for order in 1..=4 {
        let slopes: Vec<&Tensor> = tensors[1..=order].iter().collect();
        let states = if order == 4 { 1 } else { order };
        findings.call(&format!("rk_step order {order}"), states * image, 0, || {
            rk_step(&tensors[0], &slopes, &time, StageRule::Paper)
        });
    }
    let step = SamplerStep {
        h: 0.1,
        t: 0.5,
        clamp: Some((-1.0, 1.0)),
    };
    findings.call("sampler_update", image, 0, || {
        sampler_update(&tensors[0], &tensors[1], None, &step)
    });
    let prediction = learned(17, &IMAGES);
    let weights = CatchUpWeights {
        catch_up: &[1.0],
        truth: &[1.0],
        samples: None,
    };
    let loss = |prediction: &Tensor| {
        catchup_loss(&[prediction], &[&tensors[0]], &tensors[1], None, &weights)
    };
    findings.call("catchup_loss", 4, 0, || loss(&prediction.detach()));
    findings.call("catchup_loss tracked", image, 0, || loss(&prediction));
    Ok(())
}

fn optimisers(findings: &mut Findings) -> Result<()> {
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

fn convolutions(findings: &mut Findings) -> Result<()> {
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

fn fused_convolutions(findings: &mut Findings) -> Result<()> {
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
