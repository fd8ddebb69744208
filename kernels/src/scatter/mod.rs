//! A copy of a tensor with elements replaced or added where an index tensor says.

pub(crate) mod cpu;

use crate::copy_strided::copy_strided;
#[cfg(feature = "cuda")]
use crate::cuda::View;
use crate::element::Element;
#[cfg(feature = "cuda")]
use crate::gather::cuda;
use crate::gather::walk::{Indices, Outside, Walk, require_axis, require_fit, require_index};
use crate::operand::{require_dtype, require_float, shape_error, slice, unsupported};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor};

/// `y = x`, then `y[…, index[…, a, …], …] = source[…, a, …]` along `axis`, the elements of the index in order.
///
/// * `x`: any shape of rank 1 or more
/// * `index`: `u32` or `i64`, x's rank, on every axis at most the source's length and, except on
///   `axis`, at most x's
/// * `source`: x's rank and type
///
/// As `torch.scatter`, and where several elements go to one place **the last in the order of the
/// index stays** (PyTorch leaves open which). Differentiable in x, whose replaced elements get
/// nothing, and in the source, whose elements get the gradient of their place if they stayed there.
/// Reads x, index and source once, writes the result once. Workspace of the source's gradient: 4
/// bytes an element of x.
///
/// # Errors
/// If a type, rank or length does not fit, or an index lies outside x.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
/// let index = Tensor::new(&[2u32, 0, 2], &Device::Cpu)?;
/// let source = Tensor::new(&[7f32, 8., 9.], &Device::Cpu)?;
/// assert_eq!(taper_kernels::scatter(&x, 0, &index, &source)?.to_vec1::<f32>()?, [8., 2., 9.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn scatter(x: &Tensor, axis: usize, index: &Tensor, source: &Tensor) -> Result<Tensor> {
    apply("scatter", Mode::Replace, x, axis, index, source)
}

/// `y = x`, then `y[…, index[…, a, …], …] += source[…, a, …]` along `axis`; shapes as for [`scatter`].
///
/// As `torch.scatter_add`; what goes to one place is added in the order of the index, whatever the
/// number of threads. Differentiable in x and source. Reads x, index and source once, writes the
/// result once.
///
/// # Errors
/// If a type, rank or length does not fit, or an index lies outside x.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let x = Tensor::new(&[1f32, 2., 3.], &Device::Cpu)?;
/// let index = Tensor::new(&[2u32, 0, 2], &Device::Cpu)?;
/// let source = Tensor::new(&[7f32, 8., 9.], &Device::Cpu)?;
/// let sums = taper_kernels::scatter_add(&x, 0, &index, &source)?;
/// assert_eq!(sums.to_vec1::<f32>()?, [9., 2., 19.]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn scatter_add(x: &Tensor, axis: usize, index: &Tensor, source: &Tensor) -> Result<Tensor> {
    apply("scatter_add", Mode::Add, x, axis, index, source)
}

fn apply(
    op: &'static str,
    mode: Mode,
    x: &Tensor,
    axis: usize,
    index: &Tensor,
    source: &Tensor,
) -> Result<Tensor> {
    require_float(op, "x", x)?;
    require_dtype(op, "source", source, x.dtype())?;
    require_axis(op, x, axis)?;
    require_index(op, index)?;
    require_fit(op, x, axis, index)?;
    let long_enough = source.rank() == index.rank()
        && source
            .dims()
            .iter()
            .zip(index.dims())
            .all(|(source, index)| source >= index);
    if !long_enough || u32::try_from(index.dims()[axis]).is_err() {
        let expected = format!("at least the index's lengths {:?}", index.dims());
        return Err(shape_error(op, "source", source, expected));
    }
    let scatter = Scatter { op, mode, axis };
    copy_strided(x)?.apply_op3(&copy_strided(index)?, &copy_strided(source)?, scatter)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Replace,
    Add,
}

#[derive(Clone, Copy)]
struct Scatter {
    op: &'static str,
    mode: Mode,
    axis: usize,
}

impl Scatter {
    fn walk(&self, index: &Layout, source: &[usize], x: &[usize]) -> Walk {
        Walk::new((index.dims(), index.stride()), source, x, self.axis)
    }

    fn forward<T: Element>(
        &self,
        x: (&CpuStorage, &Layout),
        index: (&CpuStorage, &Layout),
        source: (&CpuStorage, &Layout),
    ) -> Result<(CpuStorage, Shape)> {
        let indices = Indices::of(self.op, index.0, index.1)?;
        let walk = self.walk(index.1, source.1.dims(), x.1.dims());
        let outside = Outside::none();
        let (values, source) = (
            slice::<T>(self.op, x.0, x.1)?,
            slice::<T>(self.op, source.0, source.1)?,
        );
        let result = match self.mode {
            Mode::Replace => cpu::replace(values, indices, source, &walk, &outside),
            Mode::Add => cpu::add(values, indices, source, &walk, &outside),
        };
        outside.check(self.op, indices, index.1.dims(), self.axis, walk.bound)?;
        Ok((T::to_cpu_storage_owned(result), x.1.shape().clone()))
    }
}

impl CustomOp3 for Scatter {
    fn name(&self) -> &'static str {
        self.op
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        index: &CpuStorage,
        index_layout: &Layout,
        source: &CpuStorage,
        source_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let operands = (
            (x, x_layout),
            (index, index_layout),
            (source, source_layout),
        );
        match x.dtype() {
            DType::F32 => self.forward::<f32>(operands.0, operands.1, operands.2),
            DType::F64 => self.forward::<f64>(operands.0, operands.1, operands.2),
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
        source: &CudaStorage,
        source_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let walk = self.walk(index_layout, source_layout.dims(), x_layout.dims());
        cuda::check(self.op, (index, index_layout), self.axis, walk.bound)?;
        let (x, index, source) = (
            View::of(self.op, "x", x, x_layout)?,
            View::of(self.op, "index", index, index_layout)?,
            View::of(self.op, "source", source, source_layout)?,
        );
        let device = x.memory.device();
        let result = match self.mode {
            Mode::Replace => cuda::replace(device, x, Some(source), index, &walk)?,
            Mode::Add => cuda::add(device, (Some(x), x.length), source, index, &walk)?,
        };
        Ok((result, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        index: &Tensor,
        source: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = copy_strided(gradient)?;
        let of_x = match self.mode {
            _ if !x.track_op() => None,
            Mode::Add => Some(gradient.clone()),
            Mode::Replace => Some(gradient.apply_op2_no_bwd(index, &KeptGradient(*self))?),
        };
        let of_source = SourceGradient {
            scatter: *self,
            source: source.dims().to_vec(),
        };
        let of_source = source
            .track_op()
            .then(|| gradient.apply_op2_no_bwd(index, &of_source))
            .transpose()?;
        Ok((of_x, None, of_source))
    }
}

/// The gradient of x: that of the result where nothing was replaced.
struct KeptGradient(Scatter);

impl KeptGradient {
    fn run<T: Element>(
        &self,
        (gradient, layout): (&CpuStorage, &Layout),
        indices: Indices,
        index: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let walk = self.0.walk(index, index.dims(), layout.dims());
        let gradient = slice::<T>(self.0.op, gradient, layout)?;
        let kept = cpu::clear(gradient, indices, &walk);
        Ok((T::to_cpu_storage_owned(kept), layout.shape().clone()))
    }
}

impl CustomOp2 for KeptGradient {
    fn name(&self) -> &'static str {
        "scatter_x_gradient"
    }

    fn cpu_fwd(
        &self,
        gradient: &CpuStorage,
        layout: &Layout,
        index: &CpuStorage,
        index_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let indices = Indices::of(self.0.op, index, index_layout)?;
        match gradient.dtype() {
            DType::F32 => self.run::<f32>((gradient, layout), indices, index_layout),
            DType::F64 => self.run::<f64>((gradient, layout), indices, index_layout),
            other => Err(unsupported(self.0.op, "gradient", other)),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        gradient: &CudaStorage,
        layout: &Layout,
        index: &CudaStorage,
        index_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let walk = self
            .0
            .walk(index_layout, index_layout.dims(), layout.dims());
        let (gradient, index) = (
            View::of(self.0.op, "gradient", gradient, layout)?,
            View::of(self.0.op, "index", index, index_layout)?,
        );
        let kept = cuda::replace(gradient.memory.device(), gradient, None, index, &walk)?;
        Ok((kept, layout.shape().clone()))
    }
}

/// The gradient of the source: that of each element's place, if the element stayed there.
struct SourceGradient {
    scatter: Scatter,
    source: Vec<usize>,
}

impl SourceGradient {
    fn run<T: Element>(
        &self,
        (gradient, layout): (&CpuStorage, &Layout),
        indices: Indices,
        index: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let walk = self.scatter.walk(index, &self.source, layout.dims());
        let gradient = slice::<T>(self.scatter.op, gradient, layout)?;
        let length = self.source.iter().product();
        let replaced = self.scatter.mode == Mode::Replace;
        let found = cpu::source_gradient(gradient, indices, &walk, length, replaced);
        Ok((
            T::to_cpu_storage_owned(found),
            Shape::from(self.source.as_slice()),
        ))
    }
}

impl CustomOp2 for SourceGradient {
    fn name(&self) -> &'static str {
        "scatter_source_gradient"
    }

    fn cpu_fwd(
        &self,
        gradient: &CpuStorage,
        layout: &Layout,
        index: &CpuStorage,
        index_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let indices = Indices::of(self.scatter.op, index, index_layout)?;
        match gradient.dtype() {
            DType::F32 => self.run::<f32>((gradient, layout), indices, index_layout),
            DType::F64 => self.run::<f64>((gradient, layout), indices, index_layout),
            other => Err(unsupported(self.scatter.op, "gradient", other)),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        gradient: &CudaStorage,
        layout: &Layout,
        index: &CudaStorage,
        index_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let op = self.scatter.op;
        let walk = self.scatter.walk(index_layout, &self.source, layout.dims());
        let (gradient, index) = (
            View::of(op, "gradient", gradient, layout)?,
            View::of(op, "index", index, index_layout)?,
        );
        let (device, length) = (gradient.memory.device(), self.source.iter().product());
        let replaced = self.scatter.mode == Mode::Replace;
        let found = cuda::source_gradient(device, gradient, index, &walk, length, replaced)?;
        Ok((found, Shape::from(self.source.as_slice())))
    }
}
