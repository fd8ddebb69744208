//! The affine map in f32 on a CPU: one operator, its gradients one operator each.

use super::{ColumnSums, OP};
use crate::conv2d::{Operand, keep_gradient_graph};
use crate::operand::slice;
use crate::simd::Level;
use crate::simd::matmul::{Matrix, Size, multiply};
use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};

/// `x · weightᵀ + bias`, shapes and types checked.
pub(super) fn apply(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    match bias {
        Some(bias) => x.apply_op3(&weight, &bias.contiguous()?, Forward),
        None => x.apply_op2(&weight, Forward),
    }
}

/// `[batch, in] · [out, in]ᵀ + [out]`.
struct Forward;

impl Forward {
    fn run(x: Operand, weight: Operand, bias: &[f32]) -> Result<(CpuStorage, Shape)> {
        let ((rows, depth), (columns, _)) = (x.1.shape().dims2()?, weight.1.shape().dims2()?);
        let size = Size {
            rows,
            depth,
            columns,
        };
        product(size, (x, false), (weight, true), bias)
    }

    fn gradients(
        x: &Tensor,
        weight: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let of = |wanted: &Tensor, other: &Tensor, op: Gradient| match wanted.track_op() {
            true => gradient
                .apply_op2_no_bwd(&other.contiguous()?, &op)
                .map(Some),
            false => Ok(None),
        };
        if keep_gradient_graph() {
            // Candle's products have derivatives of their own.
            return Ok((
                Some(gradient.matmul(weight)?),
                Some(gradient.t()?.matmul(x)?),
            ));
        }
        Ok((
            of(x, weight, Gradient::OfInput)?,
            of(weight, x, Gradient::OfWeight)?,
        ))
    }
}

fn matrix(operand: Operand<'_>, turned: bool) -> Result<Matrix<'_>> {
    let values = slice(OP, operand.0, operand.1)?;
    Ok(Matrix { values, turned })
}

/// A product of two operands, each possibly turned.
fn product(
    size: Size,
    (a, a_turned): (Operand, bool),
    (b, b_turned): (Operand, bool),
    bias: &[f32],
) -> Result<(CpuStorage, Shape)> {
    let (a, b) = (matrix(a, a_turned)?, matrix(b, b_turned)?);
    let values = multiply(Level::best(), size, a, b, bias);
    Ok((CpuStorage::F32(values), (size.rows, size.columns).into()))
}

impl CustomOp2 for Forward {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Self::run((s1, l1), (s2, l2), &[])
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Self::gradients(x, weight, &gradient.contiguous()?)
    }
}

impl CustomOp3 for Forward {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Self::run((s1, l1), (s2, l2), slice(OP, s3, l3)?)
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (dx, dw) = Self::gradients(x, weight, &gradient)?;
        let db = match bias.track_op() {
            true if keep_gradient_graph() => Some(gradient.sum(0)?),
            true => Some(gradient.apply_op1_no_bwd(&ColumnSums)?),
            false => None,
        };
        Ok((dx, dw, db))
    }
}

/// The gradients of the product, from the output's gradient and the other factor.
enum Gradient {
    /// `[batch, out] · [out, in]`.
    OfInput,
    /// `[batch, out]ᵀ · [batch, in]`.
    OfWeight,
}

impl CustomOp2 for Gradient {
    fn name(&self) -> &'static str {
        match self {
            Self::OfInput => "linear-input-gradient",
            Self::OfWeight => "linear-weight-gradient",
        }
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let ((batch, outputs), (_, columns)) = (l1.shape().dims2()?, l2.shape().dims2()?);
        let (turned, rows, depth) = match self {
            Self::OfInput => (false, batch, outputs),
            Self::OfWeight => (true, outputs, batch),
        };
        let size = Size {
            rows,
            depth,
            columns,
        };
        product(size, ((s1, l1), turned), ((s2, l2), false), &[])
    }
}
