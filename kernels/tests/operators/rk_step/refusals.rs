//! Wrong arguments: an error that names the operator, the argument, what was found and expected.

use candle_core::{DType, Device, Result, Tensor};
use taper_kernels::{
    CatchUpWeights, SamplerStep, StageRule, catchup_loss, interpolate, interpolate_state, rk_stage,
    rk_step, sampler_update,
};

fn zeros<const N: usize>(dims: [usize; N]) -> Tensor {
    Tensor::zeros(dims.to_vec(), DType::F32, &Device::Cpu).unwrap()
}

fn of(tensor: Tensor, dtype: DType) -> Tensor {
    tensor.to_dtype(dtype).unwrap()
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
fn interpolation() {
    let (x, t) = (zeros([2, 3]), zeros([2]));
    refused(
        interpolate(&x, &zeros([2, 4]), &t),
        &["interpolate", "`z`", "[2, 4]", "[2, 3]"],
    );
    refused(interpolate(&x, &x, &zeros([3])), &["`t`", "[3]", "[2]"]);
    refused(
        interpolate(&x, &x, &zeros([2, 1])),
        &["`t`", "[2, 1]", "[2]"],
    );
    refused(
        interpolate(&x, &x, &of(zeros([2]), DType::F64)),
        &["`t`", "F64", "F32"],
    );
    let double = of(zeros([2, 3]), DType::F64);
    refused(
        interpolate_state(&double, &double, &t),
        &["`t`", "F32", "F64"],
    );
    refused(interpolate(&x, &double, &t), &["`z`", "F64", "F32"]);
    refused(
        interpolate(&zeros([]), &zeros([]), &t),
        &["`x`", "[]", "[batch, …]"],
    );
    let integers = of(zeros([2, 3]), DType::U32);
    refused(interpolate(&integers, &integers, &t), &["`x`", "U32"]);
}

#[test]
fn steps() {
    let (x, dt) = (zeros([2, 3]), zeros([2]));
    refused(
        rk_stage(&x, &[], &[], &dt),
        &["rk_stage", "`slopes`", "0 tensors", "one to four"],
    );
    refused(
        rk_stage(&x, &[&x], &[1.0, 2.0], &dt),
        &["`coefficients`", "2 numbers", "1, one for each"],
    );
    refused(
        rk_step(&x, &[&x; 5], &dt, StageRule::Paper),
        &["rk_step", "`slopes`", "5 tensors"],
    );
    refused(
        rk_step(&x, &[&x, &dt], &dt, StageRule::Paper),
        &["`slopes`", "[2]", "[2, 3]"],
    );
    refused(
        rk_step(&x, &[&x], &zeros([1]), StageRule::Paper),
        &["`dt`", "[1]", "[2]"],
    );
    let double = of(zeros([2, 3]), DType::F64);
    refused(
        rk_step(&x, &[&double], &dt, StageRule::Paper),
        &["`slopes`", "F64", "F32"],
    );
}

#[test]
fn sampling() {
    let x = zeros([3]);
    let step = SamplerStep {
        h: 0.1,
        t: 0.0,
        clamp: None,
    };
    let clamped = |t, low, high| SamplerStep {
        t,
        clamp: Some((low, high)),
        ..step
    };
    assert!(sampler_update(&x, &x, None, &step).is_ok());
    refused(
        sampler_update(&x, &zeros([2]), None, &step),
        &["sampler_update", "`v`", "[2]", "[3]"],
    );
    refused(
        sampler_update(&x, &x, Some(&zeros([2])), &step),
        &["`previous`", "[2]"],
    );
    refused(
        sampler_update(&x, &x, None, &clamped(0.0, -1.0, 1.0)),
        &["`t`", "0", "above 0"],
    );
    refused(
        sampler_update(&x, &x, None, &clamped(0.5, 1.0, -1.0)),
        &["`clamp`", "1 … -1"],
    );
    refused(
        sampler_update(&x, &x, None, &clamped(0.5, f64::NAN, 1.0)),
        &["`clamp`", "NaN"],
    );
    refused(
        sampler_update(&x, &x, None, &clamped(f64::NAN, -1.0, 1.0)),
        &["`t`", "NaN"],
    );
    let endless = SamplerStep {
        h: f64::INFINITY,
        ..step
    };
    refused(
        sampler_update(&x, &x, None, &endless),
        &["`h`", "inf", "finite"],
    );
}

#[test]
fn losses() {
    let x = zeros([2, 3]);
    let weights = CatchUpWeights {
        catch_up: &[1.0],
        truth: &[1.0],
        samples: None,
    };
    let mask = of(zeros([2]), DType::U8);
    assert!(catchup_loss(&[&x], &[&x], &x, Some(&mask), &weights).is_ok());
    refused(
        catchup_loss(&[], &[], &x, None, &weights),
        &["catchup_loss", "`predictions`", "empty"],
    );
    refused(
        catchup_loss(&[&x], &[], &x, None, &weights),
        &["`targets`", "a list of 0", "1, one for each"],
    );
    refused(
        catchup_loss(&[&x, &x], &[&x, &x], &x, None, &weights),
        &["`weights.catch_up`", "a list of 1", "2, one for each"],
    );
    let none = CatchUpWeights {
        truth: &[],
        ..weights
    };
    refused(
        catchup_loss(&[&x], &[&x], &x, None, &none),
        &["`weights.truth`", "a list of 0"],
    );
    refused(
        catchup_loss(&[&x], &[&zeros([3, 2])], &x, None, &weights),
        &["`targets`", "[3, 2]"],
    );
    refused(
        catchup_loss(&[&x], &[&x], &zeros([2]), None, &weights),
        &["`velocity`", "[2]"],
    );
    refused(
        catchup_loss(&[&x], &[&x], &x, Some(&zeros([2])), &weights),
        &["`mask`", "F32", "U8"],
    );
    let long = of(zeros([3]), DType::U8);
    refused(
        catchup_loss(&[&x], &[&x], &x, Some(&long), &weights),
        &["`mask`", "[3]", "[2]"],
    );
    let omega = of(zeros([2]), DType::F64);
    let weighted = CatchUpWeights {
        samples: Some(&omega),
        ..weights
    };
    refused(
        catchup_loss(&[&x], &[&x], &x, None, &weighted),
        &["`weights.samples`", "F64", "F32"],
    );
}
