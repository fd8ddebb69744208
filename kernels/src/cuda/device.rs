//! A CUDA device that launches kernels, through cudarc.

use super::{Argument, Gpu, Grid, Kernel, THREADS, View};
use crate::KernelError;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{
    CudaStream, DevicePtr, DevicePtrMut, LaunchConfig, PushKernelArg, SyncOnDrop, sys::CUdeviceptr,
};
use candle_core::cuda_backend::{CudaDType, CudaStorageSlice, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, DType, InplaceOp1, Layout, Result, Shape, Storage, Tensor,
};
use std::cell::RefCell;
use std::ops::Deref;

/// Each source's name and PTX.
static PTX: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/ptx.rs"));

impl Gpu for CudaDevice {
    type Memory = CudaStorage;

    fn allocate(&self, dtype: DType, length: usize) -> Result<CudaStorage> {
        // An allocation of no bytes is an error.
        let length = length.max(1);
        // SAFETY: whoever asks for memory launches a kernel that writes all of it.
        unsafe {
            Ok(match dtype {
                DType::F32 => f32::wrap_cuda_slice(self.alloc(length)?, self.clone()),
                DType::F64 => f64::wrap_cuda_slice(self.alloc(length)?, self.clone()),
                DType::F16 => half::f16::wrap_cuda_slice(self.alloc(length)?, self.clone()),
                DType::BF16 => half::bf16::wrap_cuda_slice(self.alloc(length)?, self.clone()),
                DType::U32 => u32::wrap_cuda_slice(self.alloc(length)?, self.clone()),
                DType::U8 => u8::wrap_cuda_slice(self.alloc(length)?, self.clone()),
                DType::I64 => i64::wrap_cuda_slice(self.alloc(length)?, self.clone()),
                other => candle_core::bail!("no CUDA kernel writes numbers of type {other:?}"),
            })
        }
    }

    fn view<'a>(&self, memory: &'a CudaStorage) -> View<'a, CudaStorage> {
        View {
            memory,
            dtype: memory.dtype(),
            start: 0,
            length: length(memory),
        }
    }

    fn launch(
        &self,
        kernel: Kernel<'_>,
        grid: Grid,
        arguments: &mut [Argument<'_, CudaStorage>],
    ) -> Result<()> {
        let Some((_, ptx)) = PTX.iter().find(|(module, _)| *module == kernel.module) else {
            candle_core::bail!("this program has no CUDA source named {}", kernel.module);
        };
        let module = format!("taper_{}", kernel.module);
        let function = self.get_or_load_custom_func(kernel.name, &module, ptx)?;
        let stream = self.cuda_stream();
        // What keeps other streams off the memory until the kernel has been started.
        let mut guards = Vec::with_capacity(arguments.len());
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments.iter_mut() {
            values.push(match argument {
                Argument::Read(view) => {
                    let (start, guard) = pointer(view.memory, &stream)?;
                    guards.push(guard);
                    Value::Pointer(start + (view.start * view.dtype.size_in_bytes()) as u64)
                }
                Argument::Write(memory, first) => {
                    let bytes = *first * memory.dtype().size_in_bytes();
                    let (start, guard) = pointer_mut(memory, &stream)?;
                    guards.push(guard);
                    Value::Pointer(start + bytes as u64)
                }
                Argument::Absent => Value::Pointer(0),
                Argument::Int(value) => Value::Int(*value),
                Argument::Long(value) => Value::Long(*value),
                Argument::Real(value) => Value::Real(*value),
            });
        }
        let mut builder = function.builder();
        for value in &values {
            match value {
                Value::Pointer(value) => builder.arg(value),
                Value::Int(value) => builder.arg(value),
                Value::Long(value) => builder.arg(value),
                Value::Real(value) => builder.arg(value),
            };
        }
        let configuration = LaunchConfig {
            grid_dim: grid.0.into(),
            block_dim: (THREADS as u32, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: the arguments are those of the kernel, and it stays inside the memory they
        // describe: every launch is run in the emulation under the address sanitizer.
        unsafe { builder.launch(configuration) }.w()?;
        Ok(())
    }
}

/// An argument as the driver reads it.
enum Value {
    Pointer(CUdeviceptr),
    Int(i32),
    Long(i64),
    Real(f64),
}

/// Calls `$body` with the typed slice inside `$storage`.
macro_rules! with_typed_slice {
    ($storage:expr, $slice:ident => $body:expr) => {
        match $storage {
            CudaStorageSlice::F32($slice) => Ok($body),
            CudaStorageSlice::F64($slice) => Ok($body),
            CudaStorageSlice::F16($slice) => Ok($body),
            CudaStorageSlice::BF16($slice) => Ok($body),
            CudaStorageSlice::U32($slice) => Ok($body),
            CudaStorageSlice::U8($slice) => Ok($body),
            CudaStorageSlice::I64($slice) => Ok($body),
            _ => Err(candle_core::Error::Msg(
                "no CUDA kernel takes numbers of this type".to_owned(),
            )),
        }
    };
}

fn length(storage: &CudaStorage) -> usize {
    let length: Result<usize> = with_typed_slice!(&storage.slice, slice => slice.len());
    length.unwrap_or(0)
}

fn pointer<'a>(
    storage: &'a CudaStorage,
    stream: &'a CudaStream,
) -> Result<(CUdeviceptr, SyncOnDrop<'a>)> {
    with_typed_slice!(&storage.slice, slice => slice.device_ptr(stream))
}

fn pointer_mut<'a>(
    storage: &'a mut CudaStorage,
    stream: &'a CudaStream,
) -> Result<(CUdeviceptr, SyncOnDrop<'a>)> {
    with_typed_slice!(&mut storage.slice, slice => slice.device_ptr_mut(stream))
}

impl<'a> View<'a, CudaStorage> {
    /// The elements of a contiguous operand.
    pub(crate) fn of(
        op: &'static str,
        argument: &'static str,
        storage: &'a CudaStorage,
        layout: &Layout,
    ) -> Result<Self> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            let found = layout.stride().to_vec();
            return Err(KernelError::NotContiguous {
                op,
                argument,
                found,
            }
            .into());
        };
        Ok(Self {
            memory: storage,
            dtype: storage.dtype(),
            start,
            length: end - start,
        })
    }
}

impl<'a> View<'a, CudaStorage> {
    /// All that a strided operand may reach, from its first element on.
    pub(crate) fn strided(storage: &'a CudaStorage, layout: &Layout) -> Self {
        Self {
            memory: storage,
            dtype: storage.dtype(),
            start: layout.start_offset(),
            length: length(storage).saturating_sub(layout.start_offset()),
        }
    }
}

/// A tensor of what a kernel wrote.
pub(crate) fn tensor(storage: CudaStorage, shape: impl Into<Shape>) -> Tensor {
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}

/// A tensor whose elements a backward pass reads.
pub(crate) struct Held<'a, G> {
    op: &'static str,
    argument: &'static str,
    storage: G,
    layout: &'a Layout,
}

/// Keeps the storage of a contiguous `tensor` while kernels that read it are started.
pub(crate) fn hold<'a>(
    op: &'static str,
    argument: &'static str,
    tensor: &'a Tensor,
) -> Held<'a, impl Deref<Target = Storage> + use<'a>> {
    let (storage, layout) = tensor.storage_and_layout();
    Held {
        op,
        argument,
        storage,
        layout,
    }
}

impl<G: Deref<Target = Storage>> Held<'_, G> {
    /// Its elements, if they are on a CUDA device.
    pub(crate) fn view(&self) -> Result<View<'_, CudaStorage>> {
        let storage = self.storage()?;
        View::of(self.op, self.argument, storage, self.layout)
    }

    /// The device they are on.
    pub(crate) fn device(&self) -> Result<&CudaDevice> {
        Ok(self.storage()?.device())
    }

    fn storage(&self) -> Result<&CudaStorage> {
        match &*self.storage {
            Storage::Cuda(storage) => Ok(storage),
            other => Err(KernelError::Device {
                op: self.op,
                argument: self.argument,
                found: other.device().location(),
            }
            .into()),
        }
    }
}

/// Calls `body` with the storage of a contiguous `tensor`, to be changed in place, and where
/// in it the tensor starts.
pub(crate) fn with_storage_mut<R>(
    op: &'static str,
    argument: &'static str,
    tensor: &Tensor,
    body: impl FnOnce((&mut CudaStorage, usize)) -> Result<R>,
) -> Result<R> {
    let change = Change {
        op,
        argument,
        state: RefCell::new((Some(body), None)),
    };
    tensor.inplace_op1(&change)?;
    match change.state.into_inner().1 {
        Some(result) => Ok(result),
        None => candle_core::bail!("{op}: `{argument}` was not changed"),
    }
}

/// Candle's only public way to mutable storage is an in-place operator: this one calls a closure.
struct Change<F, R> {
    op: &'static str,
    argument: &'static str,
    state: RefCell<(Option<F>, Option<R>)>,
}

impl<R, F: FnOnce((&mut CudaStorage, usize)) -> Result<R>> InplaceOp1 for Change<F, R> {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        candle_core::bail!("{}: `{}` is on the CPU", self.op, self.argument)
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
        let start = View::of(self.op, self.argument, storage, layout)?.start;
        let mut state = self.state.borrow_mut();
        if let Some(body) = state.0.take() {
            state.1 = Some(body((storage, start))?);
        }
        Ok(())
    }
}
