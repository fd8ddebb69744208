//! Wrong arguments: an error that names the operator, the argument, what was found and expected.

use candle_core::{DType, Device, Result, Tensor, Var};
use taper_kernels::{
    Activation, AdamWHyper, Pool1dGeometry, Pool2dGeometry, SgdHyper, adamw_step,
    adaptive_avg_pool2d, add_relu, avg_pool1d, avg_pool2d, batch_norm_eval, batch_norm_train,
    cross_entropy, ema_step, global_avg_pool2d, linear, log_softmax, max_pool1d, max_pool2d, relu,
    segment_match, sgd_step, squared_norm,
};

fn zeros<const N: usize>(dims: [usize; N]) -> Tensor {
    Tensor::zeros(dims.to_vec(), DType::F32, &Device::Cpu).unwrap()
}

#[track_caller]
fn refused<T>(result: Result<T>, words: &[&str]) {
    let message = match result {
        Ok(_) => panic!("accepted; expected an error with {words:?}"),
        Err(error) => error.to_string(),
    };
    for word in words {
        assert!(
            message.contains(word),
            "{message:?} does not contain {word:?}"
        );
    }
}

#[test]
fn types() {
    let integers = Tensor::zeros((2, 3), DType::U32, &Device::Cpu).unwrap();
    let halves = Tensor::zeros((1, 1, 2, 2), DType::F16, &Device::Cpu).unwrap();
    refused(relu(&integers), &["relu", "`x`", "U32", "f32 or f64"]);
    refused(log_softmax(&integers, 0), &["log_softmax", "U32"]);
    refused(squared_norm(&integers), &["squared_norm", "U32"]);
    refused(global_avg_pool2d(&halves), &["global_avg_pool2d", "F16"]);
    refused(
        max_pool2d(&halves, &Pool2dGeometry::square(2, 2, 0)),
        &["max_pool2d", "F16"],
    );
    refused(
        add_relu(&zeros([2]), &zeros([2]).to_dtype(DType::F64).unwrap()),
        &["add_relu", "`b`", "F64", "F32"],
    );
    refused(
        cross_entropy(&zeros([2, 3]), &zeros([2]), 0.0),
        &["cross_entropy", "`targets`", "F32", "U32"],
    );
}

#[test]
fn shapes() {
    let (x, channels) = (zeros([2, 3, 4, 4]), zeros([3]));
    refused(
        add_relu(&zeros([2, 3]), &zeros([3, 2])),
        &["add_relu", "`b`", "[3, 2]", "[2, 3]"],
    );
    refused(
        batch_norm_train(&x, &zeros([4]), &channels, None, 1e-5, Activation::None),
        &["batch_norm_train", "`weight`", "[4]", "[3]"],
    );
    refused(
        batch_norm_train(
            &x,
            &channels,
            &channels,
            Some(&zeros([2, 3])),
            1e-5,
            Activation::None,
        ),
        &["`residual`", "[2, 3]", "[2, 3, 4, 4]"],
    );
    refused(
        batch_norm_train(
            &zeros([3]),
            &channels,
            &channels,
            None,
            1e-5,
            Activation::None,
        ),
        &["`x`", "[3]"],
    );
    refused(
        batch_norm_train(
            &zeros([1, 3]),
            &channels,
            &channels,
            None,
            1e-5,
            Activation::None,
        ),
        &["`x`", "more than one value per channel"],
    );
    refused(
        batch_norm_eval(
            &x,
            &channels,
            &channels,
            &channels,
            &zeros([1]),
            None,
            1e-5,
            Activation::None,
        ),
        &["batch_norm_eval", "`running_var`", "[1]"],
    );
    refused(
        global_avg_pool2d(&zeros([2, 3])),
        &[
            "global_avg_pool2d",
            "[2, 3]",
            "[batch, channels, height, width]",
        ],
    );
    refused(
        global_avg_pool2d(&zeros([2, 3, 0, 4])),
        &["global_avg_pool2d", "at least one element"],
    );
    refused(
        linear(&zeros([2, 3]), &zeros([4, 5]), None),
        &["linear", "`weight`", "[4, 5]", "[out, 3]"],
    );
    refused(
        linear(&zeros([2, 3]), &zeros([4, 3]), Some(&channels)),
        &["linear", "`bias`", "[3]", "[4]"],
    );
    refused(log_softmax(&zeros([]), 0), &["log_softmax", "`x`"]);
    refused(
        segment_match(&zeros([2, 12, 4, 4]), &zeros([2, 5, 4, 4]), 3),
        &[
            "segment_match",
            "`expanded`",
            "[2, 12, 4, 4]",
            "[2, 15, 4, 4]",
        ],
    );
    refused(
        segment_match(&x, &x, 0),
        &["segment_match", "`slices`", "0"],
    );
}

#[test]
fn numbers() {
    let (x, channels) = (zeros([1, 2, 3, 3]), zeros([2]));
    refused(
        batch_norm_train(&x, &channels, &channels, None, -1.0, Activation::None),
        &["`eps`", "-1"],
    );
    refused(
        max_pool2d(&x, &Pool2dGeometry::square(0, 1, 0)),
        &["max_pool2d", "`window`"],
    );
    refused(
        max_pool2d(&x, &Pool2dGeometry::square(2, 0, 0)),
        &["max_pool2d", "`stride`"],
    );
    refused(
        max_pool2d(&x, &Pool2dGeometry::square(2, 1, 2)),
        &["max_pool2d", "`padding`", "half the window"],
    );
    refused(
        avg_pool2d(&x, &Pool2dGeometry::square(4, 1, 0), true),
        &["avg_pool2d", "x's height", "3", "window 4"],
    );
    refused(
        max_pool2d(&x, &Pool2dGeometry::square(usize::MAX, 1, usize::MAX / 2)),
        &["max_pool2d", "x's height"],
    );
    refused(
        max_pool1d(&zeros([1, 2, 3]), &Pool1dGeometry::with(4, 1, 0)),
        &["max_pool1d", "x's width", "3", "window 4"],
    );
    refused(
        avg_pool1d(&x, &Pool1dGeometry::with(2, 1, 0), true),
        &["avg_pool1d", "`x`", "[batch, channels, length]"],
    );
    refused(
        adaptive_avg_pool2d(&x, (0, 1)),
        &["adaptive_avg_pool2d", "output height"],
    );
    let targets = Tensor::new(&[3u32], &Device::Cpu).unwrap();
    refused(
        cross_entropy(&zeros([1, 3]), &targets, 0.0),
        &["cross_entropy", "class 3", "below 3"],
    );
    let targets = Tensor::new(&[0u32], &Device::Cpu).unwrap();
    refused(
        cross_entropy(&zeros([1, 3]), &targets, 1.5),
        &["label_smoothing", "1.5"],
    );
    refused(
        cross_entropy(&zeros([1, 3]), &targets, f64::NAN),
        &["label_smoothing", "NaN"],
    );
}

#[test]
fn optimisers() {
    let param = Var::from_tensor(&zeros([4])).unwrap();
    let (grad, state, hyper) = (zeros([4]), zeros([4]), SgdHyper::default());
    refused(
        sgd_step(&param, &zeros([5]), &state, &hyper, true),
        &["sgd_step", "`grad`", "[5]", "[4]"],
    );
    refused(
        sgd_step(&param, &grad, &param.detach(), &hyper, true),
        &["sgd_step", "shares its storage", "velocity"],
    );
    refused(
        sgd_step(&param, &state, &state, &hyper, true),
        &["sgd_step", "shares its storage", "grad"],
    );
    refused(
        sgd_step(&param, &param.detach(), &state, &hyper, true),
        &["sgd_step", "shares its storage"],
    );
    let strided = zeros([4, 2]).narrow(1, 0, 1).unwrap().squeeze(1).unwrap();
    refused(
        sgd_step(&param, &grad, &strided, &hyper, true),
        &["sgd_step", "`velocity`", "contiguous"],
    );
    let hyper = AdamWHyper::default();
    refused(
        adamw_step(&param, &grad, &state, &state, &hyper, 1),
        &["adamw_step", "shares its storage", "exp_avg_sq"],
    );
    refused(
        adamw_step(&param, &grad, &state, &zeros([4]), &hyper, 0),
        &["adamw_step", "`step`", "at least 1"],
    );
    refused(
        ema_step(&param.detach(), &param, 0.9),
        &["ema_step", "shares its storage"],
    );
}
