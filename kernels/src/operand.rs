//! Candle tensors as slices, and back.

use crate::element::Element;
use crate::error::KernelError;
use candle_core::{
    CpuStorage, DType, InplaceOp1, InplaceOp2, Layout, Result, Storage, Tensor, WithDType,
};
use std::cell::RefCell;

/// The elements of a contiguous operand.
pub(crate) fn slice<'a, T: WithDType>(
    op: &'static str,
    storage: &'a CpuStorage,
    layout: &Layout,
) -> Result<&'a [T]> {
    let values = T::cpu_storage_as_slice(storage)?;
    match layout.contiguous_offsets() {
        // An empty view may begin behind the end of its storage.
        Some((start, end)) if start < end => Ok(&values[start..end]),
        Some(_) => Ok(&[]),
        None => Err(not_contiguous(op, "input", layout)),
    }
}

/// Calls `body` with the elements of `tensor`, copied first if it is a strided view.
pub(crate) fn with_slice<T: WithDType, R>(
    op: &'static str,
    argument: &'static str,
    tensor: &Tensor,
    body: impl FnOnce(&[T]) -> Result<R>,
) -> Result<R> {
    let tensor = crate::copy_strided::detached_copy(tensor)?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => body(slice(op, storage, layout)?),
        _ => Err(KernelError::Device {
            op,
            argument,
            found: tensor.device().location(),
        }
        .into()),
    }
}

/// Calls `body` with the elements of a contiguous `tensor`, to be changed in place.
pub(crate) fn with_slice_mut<T: Element, R>(
    op: &'static str,
    argument: &'static str,
    tensor: &Tensor,
    body: impl FnOnce(&mut [T]) -> Result<R>,
) -> Result<R> {
    if tensor.elem_count() == 0 {
        // Candle takes some empty tensors for overlapping ones.
        return body(&mut []);
    }
    let change = Change {
        op,
        argument,
        state: RefCell::new((Some(body), None)),
        element: std::marker::PhantomData,
    };
    tensor.inplace_op1(&change)?;
    match change.state.into_inner().1 {
        Some(result) => Ok(result),
        None => Err(KernelError::Device {
            op,
            argument,
            found: tensor.device().location(),
        }
        .into()),
    }
}

/// Candle's only public way to mutable elements is an in-place operator: this one calls a closure.
struct Change<F, R, T> {
    op: &'static str,
    argument: &'static str,
    state: RefCell<(Option<F>, Option<R>)>,
    element: std::marker::PhantomData<T>,
}

impl<T: Element, R, F: FnOnce(&mut [T]) -> Result<R>> InplaceOp1 for Change<F, R, T> {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            return Err(not_contiguous(self.op, self.argument, layout));
        };
        let mut state = self.state.borrow_mut();
        if let Some(body) = state.0.take() {
            state.1 = Some(body(
                &mut T::slice_mut(self.op, self.argument, storage)?[start..end],
            )?);
        }
        Ok(())
    }
}

/// Refuses two tensors that share one storage: changing one in place while the other is read would deadlock.
pub(crate) fn require_separate(
    op: &'static str,
    (argument, tensor): (&'static str, &Tensor),
    (other, with): (&'static str, &Tensor),
) -> Result<()> {
    if tensor.elem_count() == 0 || with.elem_count() == 0 {
        return Ok(());
    }
    let aliased = || KernelError::Aliased {
        op,
        argument,
        other,
    };
    tensor
        .inplace_op2(with, &Separate(op))
        .map_err(|_| aliased().into())
}

/// Does nothing, and fails when its operands share storage.
struct Separate(&'static str);

impl InplaceOp2 for Separate {
    fn name(&self) -> &'static str {
        self.0
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        _: &mut candle_core::CudaStorage,
        _: &Layout,
        _: &candle_core::CudaStorage,
        _: &Layout,
    ) -> Result<()> {
        Ok(())
    }
}

fn not_contiguous(op: &'static str, argument: &'static str, layout: &Layout) -> candle_core::Error {
    KernelError::NotContiguous {
        op,
        argument,
        found: layout.stride().to_vec(),
    }
    .into()
}

/// Refuses anything but `f32` and `f64`; on a GPU also the floating point types of 16 bits.
pub(crate) fn require_float(
    op: &'static str,
    argument: &'static str,
    tensor: &Tensor,
) -> Result<()> {
    match tensor.dtype() {
        DType::F32 | DType::F64 => Ok(()),
        DType::F16 | DType::BF16 if tensor.device().is_cuda() => Ok(()),
        found => Err(unsupported(op, argument, found)),
    }
}

/// The error for a type of number that has no code.
pub(crate) fn unsupported(
    op: &'static str,
    argument: &'static str,
    found: DType,
) -> candle_core::Error {
    KernelError::DType {
        op,
        argument,
        found,
        expected: "f32 or f64".to_owned(),
    }
    .into()
}

/// Refuses a tensor whose type differs from the first argument's.
pub(crate) fn require_dtype(
    op: &'static str,
    argument: &'static str,
    tensor: &Tensor,
    expected: DType,
) -> Result<()> {
    if tensor.dtype() == expected {
        return Ok(());
    }
    Err(KernelError::DType {
        op,
        argument,
        found: tensor.dtype(),
        expected: format!("{expected:?}"),
    }
    .into())
}

/// Refuses a tensor whose shape is not `expected`.
pub(crate) fn require_shape(
    op: &'static str,
    argument: &'static str,
    tensor: &Tensor,
    expected: &[usize],
) -> Result<()> {
    if tensor.dims() == expected {
        return Ok(());
    }
    Err(shape_error(op, argument, tensor, format!("{expected:?}")))
}

/// The error for a shape that cannot be used.
pub(crate) fn shape_error(
    op: &'static str,
    argument: &'static str,
    tensor: &Tensor,
    expected: impl Into<String>,
) -> candle_core::Error {
    KernelError::Shape {
        op,
        argument,
        found: tensor.dims().to_vec(),
        expected: expected.into(),
    }
    .into()
}

/// The error for a number that cannot be used.
pub(crate) fn value_error(
    op: &'static str,
    argument: &'static str,
    found: impl std::fmt::Display,
    expected: impl Into<String>,
) -> candle_core::Error {
    KernelError::Value {
        op,
        argument,
        found: found.to_string(),
        expected: expected.into(),
    }
    .into()
}

/// Calls `body` with the elements of each of `tensors`; strided views are copied first.
pub(crate) fn with_slices<T: WithDType, R>(
    op: &'static str,
    argument: &'static str,
    tensors: &[Tensor],
    body: impl FnOnce(&[&[T]]) -> Result<R>,
) -> Result<R> {
    let tensors: Vec<Tensor> = tensors
        .iter()
        .map(Tensor::contiguous)
        .collect::<Result<_>>()?;
    let held: Vec<_> = tensors.iter().map(Tensor::storage_and_layout).collect();
    let slices: Vec<&[T]> = held
        .iter()
        .zip(&tensors)
        .map(|((storage, layout), tensor)| match &**storage {
            Storage::Cpu(storage) => slice(op, storage, layout),
            _ => Err(KernelError::Device {
                op,
                argument,
                found: tensor.device().location(),
            }
            .into()),
        })
        .collect::<Result<_>>()?;
    body(&slices)
}
