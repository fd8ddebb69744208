//! Losses, and what stands before them.

use crate::{Findings, IMAGES, TILE, bytes, learned, single};
use candle_core::{DType, Device, Result, Tensor, Var};
use taper_kernels::{CtcOptions, cross_entropy, ctc_loss, linear, log_softmax, segment_match};

pub(crate) fn losses(findings: &mut Findings) -> Result<()> {
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
