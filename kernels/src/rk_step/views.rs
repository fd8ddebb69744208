//! Tensors on a GPU that an operator holds itself, as its kernels take them.

use crate::KernelError;
use crate::cuda::View;
use candle_core::{CudaStorage, Result, Storage, Tensor};

/// Calls `body` with the elements of each of `tensors`, all contiguous and on a GPU.
pub(super) fn with_views<R>(
    op: &'static str,
    argument: &'static str,
    tensors: &[Tensor],
    body: impl FnOnce(&[View<'_, CudaStorage>]) -> Result<R>,
) -> Result<R> {
    let held: Vec<_> = tensors.iter().map(Tensor::storage_and_layout).collect();
    let views: Vec<_> = held
        .iter()
        .zip(tensors)
        .map(|((storage, layout), tensor)| match &**storage {
            Storage::Cuda(storage) => View::of(op, argument, storage, layout),
            _ => Err(KernelError::Device {
                op,
                argument,
                found: tensor.device().location(),
            }
            .into()),
        })
        .collect::<Result<_>>()?;
    body(&views)
}
