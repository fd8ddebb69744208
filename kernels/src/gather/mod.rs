//! Elements chosen by an index tensor, and what comes back to where they were.

pub(crate) mod cpu;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod cuda;
pub(crate) mod walk;

use crate::copy_strided::copy_strided;
#[cfg(feature = "cuda")]
use crate::cuda::View;
use crate::element::Element;
use crate::operand::{require_float, shape_error, slice, unsupported};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor};
use walk::{Indices, Outside, Walk, require_axis, require_fit, require_index};

/// `y[…, a, …] = x[…, index[…, a, …], …]` along `axis`: the index's shape.
///
/// * `x`: any shape of rank 1 or more
/// * `index`: `u32` or `i64`, x's rank, at most x's length on every axis but `axis`
///
/// As `torch.gather`. Differentiable in x: the gradients of elements chosen several times are
/// added in the order of the index, whatever the number of threads. Reads the index and the chosen
/// elements once, writes the result once. On a GPU the call waits for the index to be checked.
///
/// # Errors
/// If the type, rank or a length does not fit, or an index lies outside x.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// let index = Tensor::new(&[[0u32], [1]], &Device::Cpu)?;
/// assert_eq!(taper_kernels::gather(&x, 1, &index)?.to_vec2::<f32>()?, [[1.], [4.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn gather(x: &Tensor, axis: usize, index: &Tensor) -> Result<Tensor> {
    const OP: &str = "gather";
    require_float(OP, "x", x)?;
    require_axis(OP, x, axis)?;
    require_index(OP, index)?;
    require_fit(OP, x, axis, index)?;
    let op = Gather {
        op: OP,
        axis,
        lines: false,
    };
    copy_strided(x)?.apply_op2(&copy_strided(index)?, op)
}

/// The entries `index` of `x` along `axis`, whose length becomes that of the index.
///
/// * `x`: any shape of rank 1 or more
/// * `index`: `u32` or `i64`, `[n]`
///
/// As `torch.index_select`; differentiable in x as [`gather`] is.
///
/// # Errors
/// If the type or rank does not fit, or an index lies outside x.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// let index = Tensor::new(&[1u32, 0, 1], &Device::Cpu)?;
/// let rows = taper_kernels::index_select(&x, 0, &index)?;
/// assert_eq!(rows.to_vec2::<f32>()?, [[3., 4.], [1., 2.], [3., 4.]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn index_select(x: &Tensor, axis: usize, index: &Tensor) -> Result<Tensor> {
    select("index_select", ("x", x), axis, index)
}

/// The rows `index` of a table: `[entries, features]` → the index's shape and `[features]`.
///
/// * `weight`: `[entries, features]`
/// * `index`: `u32` or `i64`, any shape
///
/// As `torch.nn.functional.embedding`; differentiable in the table as [`gather`] is.
///
/// # Errors
/// If the type or rank does not fit, or an index lies outside the table.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let table = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
/// let index = Tensor::new(&[[1u32, 1, 0]], &Device::Cpu)?;
/// assert_eq!(taper_kernels::embedding(&table, &index)?.dims(), [1, 3, 2]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn embedding(weight: &Tensor, index: &Tensor) -> Result<Tensor> {
    const OP: &str = "embedding";
    let [_, features] = *weight.dims() else {
        return Err(shape_error(OP, "weight", weight, "[entries, features]"));
    };
    let rows = select(OP, ("weight", weight), 0, &index.flatten_all()?)?;
    let mut shape = index.dims().to_vec();
    shape.push(features);
    rows.reshape(shape)
}

fn select(
    op: &'static str,
    (argument, x): (&'static str, &Tensor),
    axis: usize,
    index: &Tensor,
) -> Result<Tensor> {
    require_float(op, argument, x)?;
    require_axis(op, x, axis)?;
    require_index(op, index)?;
    if index.rank() != 1 {
        return Err(shape_error(op, "index", index, "[n]"));
    }
    let op = Gather {
        op,
        axis,
        lines: true,
    };
    copy_strided(x)?.apply_op2(&copy_strided(index)?, op)
}

#[derive(Clone, Copy)]
struct Gather {
    op: &'static str,
    axis: usize,
    /// Whether the index has one number for each entry along the axis.
    lines: bool,
}

impl Gather {
    /// The dimensions of the result, and the walk that makes it.
    fn walk(&self, data: &[usize], index: &Layout) -> (Vec<usize>, Walk) {
        let (mut dims, mut steps) = (index.dims().to_vec(), index.stride().to_vec());
        if self.lines {
            (dims, steps) = (data.to_vec(), vec![0; data.len()]);
            dims[self.axis] = index.dims()[0];
            steps[self.axis] = 1;
        }
        let walk = Walk::new((&dims, &steps), &dims, data, self.axis);
        (dims, walk)
    }

    fn forward<T: Element>(
        &self,
        data: &[T],
        dims: &[usize],
        indices: Indices,
        layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (shape, walk) = self.walk(dims, layout);
        let outside = Outside::none();
        let picked = cpu::gather(data, indices, &walk, &outside);
        outside.check(self.op, indices, layout.dims(), self.axis, walk.bound)?;
        Ok((T::to_cpu_storage_owned(picked), Shape::from(shape)))
    }
}

impl CustomOp2 for Gather {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        index: &CpuStorage,
        index_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let indices = Indices::of(self.op, index, index_layout)?;
        let dims = x_layout.dims();
        match x.dtype() {
            DType::F32 => {
                self.forward::<f32>(slice(self.op, x, x_layout)?, dims, indices, index_layout)
            }
            DType::F64 => {
                self.forward::<f64>(slice(self.op, x, x_layout)?, dims, indices, index_layout)
            }
            other => Err(unsupported(self.op, "x", other)),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        index: &CudaStorage,
        index_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (shape, walk) = self.walk(x_layout.dims(), index_layout);
        cuda::check(self.op, (index, index_layout), self.axis, walk.bound)?;
        let (x, index) = (
            View::of(self.op, "x", x, x_layout)?,
            View::of(self.op, "index", index, index_layout)?,
        );
        let picked = cuda::gather(x.memory.device(), x, index, &walk)?;
        Ok((picked, Shape::from(shape)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        index: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        if !x.track_op() {
            return Ok((None, None));
        }
        let op = GatherGradient {
            gather: *self,
            x: x.dims().to_vec(),
        };
        let gradient = copy_strided(gradient)?;
        Ok((Some(gradient.apply_op2_no_bwd(index, &op)?), None))
    }
}

/// Zeros of x's shape, to which each element of the gradient is added where its element was chosen.
struct GatherGradient {
    gather: Gather,
    x: Vec<usize>,
}

impl GatherGradient {
    fn run<T: Element>(
        &self,
        gradient: &[T],
        indices: Indices,
        layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Gather { op, axis, .. } = self.gather;
        let (_, walk) = self.gather.walk(&self.x, layout);
        let mut dx = vec![T::from_f64(0.0); self.x.iter().product()];
        let outside = Outside::none();
        cpu::add(&mut dx, gradient, indices, &walk, &outside);
        outside.check(op, indices, layout.dims(), axis, walk.bound)?;
        Ok((T::to_cpu_storage_owned(dx), Shape::from(self.x.as_slice())))
    }
}

impl CustomOp2 for GatherGradient {
    fn name(&self) -> &'static str {
        "gather_gradient"
    }

    fn cpu_fwd(
        &self,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
        index: &CpuStorage,
        index_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let op = self.gather.op;
        let indices = Indices::of(op, index, index_layout)?;
        match gradient.dtype() {
            DType::F32 => {
                self.run::<f32>(slice(op, gradient, gradient_layout)?, indices, index_layout)
            }
            DType::F64 => {
                self.run::<f64>(slice(op, gradient, gradient_layout)?, indices, index_layout)
            }
            other => Err(unsupported(op, "gradient", other)),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        gradient: &CudaStorage,
        gradient_layout: &Layout,
        index: &CudaStorage,
        index_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let op = self.gather.op;
        let (_, walk) = self.gather.walk(&self.x, index_layout);
        let (gradient, index) = (
            View::of(op, "gradient", gradient, gradient_layout)?,
            View::of(op, "index", index, index_layout)?,
        );
        let zeros = (None, self.x.iter().product());
        let dx = cuda::add(gradient.memory.device(), zeros, gradient, index, &walk)?;
        Ok((dx, Shape::from(self.x.as_slice())))
    }
}
