//! Milliseconds of the operators other than convolution, forward and backward: fastest of many runs.
//!
//!     cargo run --release -p taper-kernels --example ops_speed [threads [name]]
//!
//! With a name, only lines that contain it. `ops_speed.py` prints the same lines for PyTorch. Like every program that trains
//! with Taper, this one sets an allocator that keeps its pages.

use candle_core::{DType, Device, Result, Tensor, Var};
use std::io::Write;
use std::time::{Duration, Instant};
use taper_kernels::testing::uniform;
use taper_kernels::{
    Activation, AdamWHyper, Pool2dGeometry, SgdHyper, adamw_step, adaptive_avg_pool2d, add_relu,
    avg_pool2d, batch_norm_train, cross_entropy, gelu, gelu_tanh, global_avg_pool2d, glu,
    group_norm, group_norm_silu, hard_swish, layer_norm, linear, log_softmax, max_pool2d, mish,
    relu, relu6, segment_match, sgd_step, sigmoid, silu, softmax, softplus, squared_norm, tanh,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn single(index: u64, dims: &[usize]) -> Result<Tensor> {
    uniform("ops_speed", index, dims, -1.0, 1.0)?.to_dtype(DType::F32)
}

/// The fastest run of at least 15, over at least 0.4 s.
fn fastest(mut run: impl FnMut() -> Result<Duration>) -> Result<f64> {
    let (begin, mut best, mut runs) = (Instant::now(), Duration::MAX, 0);
    while runs < 15 || begin.elapsed() < Duration::from_millis(400) {
        best = best.min(run()?);
        runs += 1;
    }
    Ok(best.as_secs_f64() * 1e3)
}

/// Whether the second argument, if there is one, asks for this line.
fn wanted(name: &str) -> bool {
    std::env::args()
        .nth(2)
        .is_none_or(|part| name.contains(&part))
}

/// Forward, and forward with backward from a gradient of ones.
fn operator(name: &str, variables: &[&Var], function: impl Fn() -> Result<Tensor>) -> Result<()> {
    if !wanted(name) {
        return Ok(());
    }
    let forward = fastest(|| {
        let begin = Instant::now();
        let result = function()?;
        let elapsed = begin.elapsed();
        drop(result);
        Ok(elapsed)
    })?;
    let both = fastest(|| {
        let begin = Instant::now();
        let gradients = function()?.backward()?;
        let elapsed = begin.elapsed();
        assert!(
            variables
                .iter()
                .all(|variable| gradients.get(variable).is_some())
        );
        Ok(elapsed)
    })?;
    print(name, &[("fwd", forward), ("fwd+bwd", both)]);
    Ok(())
}

fn print(name: &str, times: &[(&str, f64)]) {
    let mut line = format!("{name:44}");
    for (label, milliseconds) in times {
        line += &format!(" {label} {milliseconds:8.3}");
    }
    // A closed pipe is no reason to stop measuring.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn main() -> Result<()> {
    let threads = std::env::args()
        .nth(1)
        .and_then(|count| count.parse().ok())
        .unwrap_or(2);
    taper_kernels::threads::set_threads(threads);
    for dims in [[64, 16, 32, 32], [64, 32, 16, 16], [64, 64, 8, 8]] {
        let (x, residual) = (
            Var::from_tensor(&single(0, &dims)?)?,
            Var::from_tensor(&single(1, &dims)?)?,
        );
        let (weight, bias) = (
            Var::from_tensor(&single(2, &dims[1..2])?)?,
            Var::from_tensor(&single(3, &dims[1..2])?)?,
        );
        let named = |what: &str| format!("{what} {}x{}x{}x{}", dims[0], dims[1], dims[2], dims[3]);
        operator(&named("batch_norm_train"), &[&x, &weight, &bias], || {
            Ok(batch_norm_train(&x, &weight, &bias, None, 1e-5, Activation::None)?.0)
        })?;
        operator(
            &named("batch_norm_train+relu"),
            &[&x, &weight, &bias],
            || Ok(batch_norm_train(&x, &weight, &bias, None, 1e-5, Activation::Relu)?.0),
        )?;
        operator(
            &named("batch_norm_train+residual+relu"),
            &[&x, &weight, &bias, &residual],
            || Ok(batch_norm_train(&x, &weight, &bias, Some(&residual), 1e-5, Activation::Relu)?.0),
        )?;
        operator(&named("relu"), &[&x], || relu(&x))?;
        operator(&named("add_relu"), &[&x, &residual], || {
            add_relu(&x, &residual)
        })?;
        operator(&named("max_pool2d 2/2"), &[&x], || {
            max_pool2d(&x, &Pool2dGeometry::square(2, 2, 0))
        })?;
        operator(&named("max_pool2d 3/2/1"), &[&x], || {
            max_pool2d(&x, &Pool2dGeometry::square(3, 2, 1))
        })?;
        operator(&named("avg_pool2d 2/2"), &[&x], || {
            avg_pool2d(&x, &Pool2dGeometry::square(2, 2, 0), true)
        })?;
        operator(&named("avg_pool2d 3/2/1"), &[&x], || {
            avg_pool2d(&x, &Pool2dGeometry::square(3, 2, 1), true)
        })?;
        operator(&named("adaptive_avg_pool2d 4x4"), &[&x], || {
            adaptive_avg_pool2d(&x, (4, 4))
        })?;
        operator(&named("global_avg_pool2d"), &[&x], || global_avg_pool2d(&x))?;
    }
    for (batch, inputs, outputs) in [(64, 64, 10), (64, 256, 100), (800, 256, 1024)] {
        let (x, weight, bias) = (
            Var::from_tensor(&single(4, &[batch, inputs])?)?,
            Var::from_tensor(&single(5, &[outputs, inputs])?)?,
            Var::from_tensor(&single(6, &[outputs])?)?,
        );
        let name = format!("linear {batch}x{inputs}->{outputs}");
        operator(&name, &[&x, &weight, &bias], || {
            linear(&x, &weight, Some(&bias))
        })?;
    }
    let logits = Var::from_tensor(&single(7, &[64, 100])?)?;
    let targets = Tensor::new((0..64u32).collect::<Vec<_>>(), &Device::Cpu)?;
    operator("cross_entropy 64x100", &[&logits], || {
        cross_entropy(&logits, &targets, 0.1)
    })?;
    functions()?;
    norms()?;
    // The taps of norm.md, section 4, with N = 8 slices.
    for (channels, side) in [
        (128, 8),
        (64, 8),
        (256, 8),
        (512, 4),
        (512, 2),
        (2048, 2),
        (256, 4),
        (128, 4),
        (2048, 4),
    ] {
        let expanded = Var::from_tensor(&single(8, &[64, 8 * channels, side, side])?)?;
        let teacher = single(9, &[64, channels, side, side])?;
        operator(
            &format!("segment_match 64x{}x{side}x{side}", 8 * channels),
            &[&expanded],
            || segment_match(&expanded, &teacher, 8),
        )?;
        operator(
            &format!("0.9 * segment_match 64x{}x{side}x{side}", 8 * channels),
            &[&expanded],
            || segment_match(&expanded, &teacher, 8)?.affine(0.9, 0.0),
        )?;
    }
    if std::env::args().nth(2).is_none() {
        optimisers()?;
    }
    Ok(())
}

/// Activations, softmax and GLU.
fn functions() -> Result<()> {
    let x = Var::from_tensor(&single(14, &[2048, 1024])?.affine(4.0, 0.0)?)?;
    type Function = fn(&Tensor) -> Result<Tensor>;
    let functions: [(&str, Function); 14] = [
        ("relu6", relu6),
        ("hard_swish", hard_swish),
        ("sigmoid", sigmoid),
        ("tanh", tanh),
        ("softplus", softplus),
        ("silu", silu),
        ("mish", mish),
        ("gelu", gelu),
        ("gelu_tanh", gelu_tanh),
        ("softmax dim 1", |x| softmax(x, 1)),
        ("softmax dim 0", |x| softmax(x, 0)),
        ("log_softmax dim 1", |x| log_softmax(x, 1)),
        ("log_softmax dim 0", |x| log_softmax(x, 0)),
        ("glu dim 1", |x| glu(x, 1)),
    ];
    for (name, function) in functions {
        operator(&format!("{name} 2048x1024"), &[&x], || function(&x))?;
    }
    for classes in [10, 100] {
        let x = Var::from_tensor(&single(15, &[4096, classes])?)?;
        operator(&format!("log_softmax dim 1 4096x{classes}"), &[&x], || {
            log_softmax(&x, 1)
        })?;
    }
    Ok(())
}

fn norms() -> Result<()> {
    for [rows, size] in [[800, 256], [800, 64], [2048, 1024]] {
        let x = Var::from_tensor(&single(16, &[rows, size])?)?;
        let (weight, bias) = (
            Var::from_tensor(&single(17, &[size])?)?,
            Var::from_tensor(&single(18, &[size])?)?,
        );
        operator(
            &format!("layer_norm {rows}x{size}"),
            &[&x, &weight, &bias],
            || layer_norm(&x, &[size], Some(&weight), Some(&bias), 1e-5),
        )?;
    }
    for dims in [[16, 64, 32, 32], [16, 128, 8, 8]] {
        let x = Var::from_tensor(&single(19, &dims)?)?;
        let (weight, bias) = (
            Var::from_tensor(&single(20, &dims[1..2])?)?,
            Var::from_tensor(&single(21, &dims[1..2])?)?,
        );
        let named = |what: &str| format!("{what} {}x{}x{}x{}", dims[0], dims[1], dims[2], dims[3]);
        operator(&named("group_norm 32"), &[&x, &weight, &bias], || {
            group_norm(&x, 32, Some(&weight), Some(&bias), 1e-5)
        })?;
        operator(&named("group_norm 32+silu"), &[&x, &weight, &bias], || {
            group_norm_silu(&x, 32, Some(&weight), Some(&bias), 1e-5)
        })?;
    }
    Ok(())
}

fn optimisers() -> Result<()> {
    for count in [2_304, 1_000_000] {
        let param = Var::from_tensor(&single(10, &[count])?)?;
        let (grad, first, second) = (
            single(11, &[count])?,
            single(12, &[count])?,
            single(13, &[count])?.sqr()?,
        );
        let time = |step: &dyn Fn() -> Result<()>| {
            fastest(|| {
                let begin = Instant::now();
                step()?;
                Ok(begin.elapsed())
            })
        };
        let hyper = SgdHyper {
            lr: 1e-9,
            momentum: 0.9,
            weight_decay: 5e-4,
            ..SgdHyper::default()
        };
        print(
            &format!("sgd_step {count}"),
            &[(
                "step",
                time(&|| sgd_step(&param, &grad, &first, &hyper, false))?,
            )],
        );
        let hyper = AdamWHyper::default();
        print(
            &format!("adamw_step {count}"),
            &[(
                "step",
                time(&|| adamw_step(&param, &grad, &first, &second, &hyper, 9))?,
            )],
        );
        print(
            &format!("squared_norm {count}"),
            &[("step", time(&|| squared_norm(&grad).map(|_| ()))?)],
        );
    }
    Ok(())
}
