//! Kernels on a GPU: how an operator's `.cu` is launched, and how it is tested without a GPU.
//!
//! # How to give an operator its CUDA kernel
//!
//! 1. `src/<op>/<op>.cu`. Include `taper.cuh` (types of number, 16-byte accesses, sums over a
//!    block). Write templates over the type `T` of the tensors; widen before computing, narrow
//!    before storing. Export with `KERNEL(name_##suffix, arguments) { … }` for `EACH_TYPE`.
//!    Blocks have `THREADS` (256) threads in one dimension; loop from `grid_thread()` in steps
//!    of `grid_threads()`. Shared memory is `BLOCK_SHARED(type, name, count)`. Pointers, `int`,
//!    `int64` and `double` are the only types of argument. No atomics where order changes a
//!    result: sum in two kernels. The file's name is its module's: it must be unique.
//! 2. `src/<op>/cuda.rs`, compiled with the feature `cuda` and in tests
//!    (`#[cfg(any(feature = "cuda", test))] mod cuda;`). Functions over any [`Gpu`] that take
//!    [`View`]s, allocate the outputs and launch. They decide everything a CUDA device and the
//!    emulation must agree on: grid, workspace, order of kernels.
//! 3. In `mod.rs`, beside `cpu_fwd`, a few lines of glue:
//!    ```ignore
//!    #[cfg(feature = "cuda")]
//!    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
//!        let y = cuda::relu(storage.device(), View::of("relu", "x", storage, layout)?)?;
//!        Ok((y, layout.shape().clone()))
//!    }
//!    ```
//!    Derivatives are operators of their own, applied by `apply_opN_no_bwd` from `bwd`, so
//!    that Candle sends them to the device that the tensors are on.
//! 4. Tests at the end of `cuda.rs` run the same functions on [`emulation::Emulation`] against
//!    the specification, for every type and for shapes that leave tails. Each is run under the
//!    address and the thread sanitizer by [`emulation::emulate`].
//! 5. `python3 ci/nvrtc-check.py <op>` shows registers and spills; `tests/cuda.rs` gets a line
//!    that compares the operator on a GPU with the CPU in `f64`.

#[cfg(feature = "cuda")]
mod device;
#[cfg(test)]
pub(crate) mod emulation;

#[cfg(feature = "cuda")]
pub(crate) use device::{hold, tensor, with_storage_mut};

use candle_core::{DType, Result};

/// Threads of every block; `THREADS` in `taper.cuh`.
pub(crate) const THREADS: usize = 256;
/// Blocks that loop over any number of elements: the same on every device, so that sums are too.
const MOST_BLOCKS: usize = 1024;

/// What launches kernels: a CUDA device, or its emulation on the CPU.
pub(crate) trait Gpu {
    /// Numbers of one type on the device.
    type Memory;

    /// Memory for `length` numbers, not written yet.
    fn allocate(&self, dtype: DType, length: usize) -> Result<Self::Memory>;

    /// All of `memory`, to be read.
    fn view<'a>(&self, memory: &'a Self::Memory) -> View<'a, Self::Memory>;

    /// Starts `kernel`; it runs after all that were started before it.
    fn launch(
        &self,
        kernel: Kernel<'_>,
        grid: Grid,
        arguments: &mut [Argument<'_, Self::Memory>],
    ) -> Result<()>;

    /// Threads of a block: [`THREADS`], or what the emulation was compiled for.
    fn threads(&self) -> usize {
        THREADS
    }

    /// At most how many blocks [`Grid::over`] takes; fewer in the emulation, so that small tests loop.
    fn most_blocks(&self) -> usize {
        MOST_BLOCKS
    }
}

/// A kernel of the source `<module>.cu`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel<'a> {
    pub(crate) module: &'static str,
    pub(crate) name: &'a str,
}

/// How many blocks run, in each dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid(pub(crate) [u32; 3]);

impl Grid {
    /// One thread for each of `items`, up to the most blocks; the kernel loops over the rest.
    pub(crate) fn over(gpu: &impl Gpu, items: usize) -> Self {
        let blocks = items.div_ceil(gpu.threads()).clamp(1, gpu.most_blocks());
        Self([blocks as u32, 1, 1])
    }

    #[allow(dead_code)] // for operators to come
    /// Exactly these blocks, at least one each; more than 65,535 in y or z do not exist.
    pub(crate) fn exactly(blocks: [usize; 3]) -> Result<Self> {
        let [x, y, z] = blocks;
        if x > i32::MAX as usize || y > 65_535 || z > 65_535 {
            candle_core::bail!("a CUDA grid of {x} × {y} × {z} blocks is too large");
        }
        Ok(Self(blocks.map(|count| count.max(1) as u32)))
    }

    /// The number of blocks.
    pub(crate) fn blocks(self) -> usize {
        self.0.iter().map(|&count| count as usize).product()
    }
}

/// Consecutive numbers in memory on the device, to be read.
#[derive(Debug)]
pub(crate) struct View<'a, M> {
    pub(crate) memory: &'a M,
    pub(crate) dtype: DType,
    pub(crate) start: usize,
    pub(crate) length: usize,
}

impl<M> Clone for View<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for View<'_, M> {}

impl<M> View<'_, M> {
    #[allow(dead_code)] // for operators to come
    /// `length` of these numbers from `start` on.
    pub(crate) fn narrow(self, start: usize, length: usize) -> Self {
        debug_assert!(start + length <= self.length);
        Self {
            start: self.start + start,
            length,
            ..self
        }
    }

    /// Whether it can be read 16 bytes at a time: allocations begin at a multiple of 256 bytes.
    pub(crate) fn aligned(self) -> bool {
        (self.start * self.dtype.size_in_bytes()).is_multiple_of(16)
    }
}

/// One argument of a kernel.
#[derive(Debug)]
pub(crate) enum Argument<'a, M> {
    /// A pointer to const.
    Read(View<'a, M>),
    /// A pointer, from this element on.
    Write(&'a mut M, usize),
    /// A null pointer.
    Absent,
    /// An `int`.
    Int(i32),
    /// An `int64`.
    Long(i64),
    /// A `double`.
    Real(f64),
}

impl<'a, M> Argument<'a, M> {
    /// All of `memory`, to be written.
    pub(crate) fn write(memory: &'a mut M) -> Self {
        Self::Write(memory, 0)
    }

    /// `memory`, to be written, or null.
    pub(crate) fn write_if(memory: Option<&'a mut M>) -> Self {
        memory.map_or(Self::Absent, Self::write)
    }

    #[allow(dead_code)] // for operators to come
    /// What is to be read, or null.
    pub(crate) fn read_if(view: Option<View<'a, M>>) -> Self {
        view.map_or(Self::Absent, Self::Read)
    }

    /// A size as an `int64`.
    pub(crate) fn size(value: usize) -> Self {
        Self::Long(value as i64)
    }

    /// A size that the kernel keeps in an `int`.
    pub(crate) fn int(value: usize) -> Result<Self> {
        match i32::try_from(value) {
            Ok(value) => Ok(Self::Int(value)),
            Err(_) => candle_core::bail!("{value} is too large for a CUDA kernel's int"),
        }
    }
}

/// The end of a kernel's name for tensors of this type.
pub(crate) fn suffix(
    op: &'static str,
    argument: &'static str,
    dtype: DType,
) -> Result<&'static str> {
    Ok(match dtype {
        DType::F32 => "f32",
        DType::F64 => "f64",
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        found => {
            return Err(crate::KernelError::DType {
                op,
                argument,
                found,
                expected: "f32, f64, f16 or bf16".to_owned(),
            }
            .into());
        }
    })
}

/// How many numbers of this type a 16-byte access moves.
pub(crate) fn lanes(dtype: DType) -> usize {
    16 / dtype.size_in_bytes()
}

/// The longest row that one warp goes through; longer ones take a block.
const LONG_ROW: usize = 1024;

/// Blocks for `Row` in `taper.cuh`, and whether a row is long and takes one each.
pub(crate) fn rows_grid(gpu: &impl Gpu, rows: usize, columns: usize) -> (Grid, bool) {
    let long = columns > LONG_ROW;
    let threads = if long { gpu.threads() } else { 32 };
    (Grid::over(gpu, rows * threads), long)
}
