//! Elementwise operators and batch norm.

use crate::{Findings, IMAGES, bytes, learned, single};
use candle_core::{Result, Tensor};
use taper_kernels::{Activation, add_relu, batch_norm_eval, batch_norm_train, relu};

pub(crate) fn elementwise_and_norms(findings: &mut Findings) -> Result<()> {
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
