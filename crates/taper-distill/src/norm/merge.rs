//! Folding the FT module away after training (method card, section 7).
//!
//! In evaluation every part of the module is affine, so the whole is `Y = M X_s + m` a pixel.
//! All products are taken in f64 and cast once.

use super::FeatureTransform;
use candle_core::{DType, Result, Tensor};
use taper_layers::{BatchNorm2d, Conv2d};

/// `Y = M X_s + m`: `matrix` `[C_s, C_s]` and `offset` `[C_s]`, in f64.
#[derive(Debug, Clone)]
pub struct Merged {
    /// M = W₂' W₁' + ρ I, ρ = 1 with the residual.
    pub matrix: Tensor,
    /// m = W₂' d₁ + d₂.
    pub offset: Tensor,
}

/// The module as one affine map a pixel, by its running statistics.
pub fn fold_transform(transform: &FeatureTransform) -> Result<Merged> {
    let (w1, d1) = fold_norm(&transform.expand, &transform.expand_bn)?;
    let (w2, d2) = fold_norm(&transform.contract, &transform.contract_bn)?;
    let mut matrix = w2.matmul(&w1)?;
    if transform.config().residual {
        let channels = matrix.dim(0)?;
        matrix = (matrix + Tensor::eye(channels, DType::F64, w1.device())?)?;
    }
    let offset = (w2.matmul(&d1.unsqueeze(1)?)?.squeeze(1)? + d2)?;
    Ok(Merged { matrix, offset })
}

/// `W' = A W` `[out, in]` and `d = b - A μ` `[out]`, `A = diag(g / √(v + eps))`, of a 1x1 convolution
/// and its batch norm, in f64.
fn fold_norm(conv: &Conv2d, bn: &BatchNorm2d) -> Result<(Tensor, Tensor)> {
    let (gamma, beta, mean, variance, eps) = bn.affine();
    let weight = conv.weight().detach().to_dtype(DType::F64)?;
    let (weight, shift) =
        taper_kernels::fold_batch_norm(&weight, None, gamma, beta, (mean, variance), eps)?;
    Ok((weight.flatten_from(1)?, shift))
}

/// The classifier after the fold: `W_fc M` and `W_fc m + b_fc`, in the dtypes of `weight` and `bias`.
///
/// Exact where a mean over fixed windows and the linear layer follow the module directly.
/// `positions` is how many pixels the pool leaves: column `channel · positions + position`.
///
/// # Shapes
/// `weight` `[classes, C_s · positions]`, `bias` `[classes]` → the same.
pub fn fold_into_linear(
    merged: &Merged,
    positions: usize,
    weight: &Tensor,
    bias: &Tensor,
) -> Result<(Tensor, Tensor)> {
    let (classes, columns) = weight.dims2()?;
    let channels = merged.matrix.dim(0)?;
    if columns != channels * positions {
        candle_core::bail!(
            "merge: the classifier reads {columns} values, expected {channels} channels of {positions} pixels"
        );
    }
    let w = weight.detach().to_dtype(DType::F64)?;
    // [classes · positions, C_s]: each position is a classifier of its own.
    let by_position = w
        .reshape((classes, channels, positions))?
        .transpose(1, 2)?
        .reshape((classes * positions, channels))?;
    let folded = by_position
        .matmul(&merged.matrix)?
        .reshape((classes, positions, channels))?
        .transpose(1, 2)?
        .reshape((classes, columns))?;
    let shift = by_position
        .matmul(&merged.offset.unsqueeze(1)?)?
        .reshape((classes, positions))?
        .sum(1)?;
    let b = bias.detach().to_dtype(DType::F64)?;
    Ok((
        folded.to_dtype(weight.dtype())?,
        (shift + b)?.to_dtype(bias.dtype())?,
    ))
}
