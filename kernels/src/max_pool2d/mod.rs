//! The largest element of every window.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;

#[cfg(feature = "cuda")]
use crate::cuda::View;
use crate::element::Element;
use crate::operand::{slice, unsupported};
use crate::pool2d::{Axis, Pool2dGeometry, image_dims};
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Device, Layout, Result, Shape, Tensor};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

const OP: &str = "max_pool2d";

/// The largest element of every window: `[batch, channels, height, width]` → `[batch, channels, rows, columns]`.
///
/// As PyTorch has it: padding counts as −∞, the first of equal elements gets the whole
/// gradient, NaN wins. Reads x once and writes the result, and where x is tracked the
/// positions of the maxima (4 bytes each), from which the backward pass scatters.
///
/// # Errors
/// If x is not an image tensor of `f32` or `f64`, or the geometry does not fit it.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use taper_kernels::{Pool2dGeometry, max_pool2d};
/// let x = Tensor::new(&[[[[1f32, 5.], [3., 2.]]]], &Device::Cpu)?;
/// let y = max_pool2d(&x, &Pool2dGeometry::square(2, 2, 0))?;
/// assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, [5.0]);
/// # Ok::<(), candle_core::Error>(())
/// ```
pub fn max_pool2d(x: &Tensor, geometry: &Pool2dGeometry) -> Result<Tensor> {
    let (batch, channels, height, width) = image_dims(OP, x)?;
    let rows = geometry.axis(OP, height, 0)?;
    let columns = geometry.axis(OP, width, 1)?;
    if u32::try_from(height * width).is_err() {
        return Err(crate::operand::shape_error(
            OP,
            "x",
            x,
            "fewer than 2³² elements in a channel",
        ));
    }
    let planes = Planes::new(batch * channels, (height, width), rows, columns);
    let output = Shape::from((batch, channels, planes.rows.len(), planes.columns.len()));
    let op = MaxPool2d {
        planes: Arc::new(planes),
        output,
        positions: x.track_op().then(OnceLock::new),
    };
    x.contiguous()?.apply_op1(op)
}

/// The images of one channel each, and their windows.
struct Planes {
    count: usize,
    height: usize,
    width: usize,
    rows: Axis,
    columns: Axis,
    /// For each column of the window: the outputs that have an element there, and the first one's.
    offsets: Vec<(Range<usize>, usize)>,
}

impl Planes {
    fn new(count: usize, (height, width): (usize, usize), rows: Axis, columns: Axis) -> Self {
        Self {
            count,
            height,
            width,
            offsets: (0..columns.window)
                .map(|offset| columns.outputs_at(offset, width))
                .collect(),
            rows,
            columns,
        }
    }
}

struct MaxPool2d {
    planes: Arc<Planes>,
    output: Shape,
    /// Where in its plane each maximum was found, if a backward pass may ask.
    positions: Option<OnceLock<Tensor>>,
}

impl MaxPool2d {
    fn forward<T: Element>(&self, x: &[T]) -> Result<CpuStorage> {
        let Some(kept) = &self.positions else {
            return Ok(T::to_cpu_storage_owned(cpu::forward(x, &self.planes)));
        };
        let (output, positions) = cpu::forward_with_positions(x, &self.planes);
        let positions = Tensor::from_vec(positions, &self.output, &Device::Cpu)?;
        kept.get_or_init(|| positions);
        Ok(T::to_cpu_storage_owned(output))
    }
}

impl CustomOp1 for MaxPool2d {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let output = match storage.dtype() {
            DType::F32 => self.forward::<f32>(slice(OP, storage, layout)?)?,
            DType::F64 => self.forward::<f64>(slice(OP, storage, layout)?)?,
            other => return Err(unsupported(OP, "x", other)),
        };
        Ok((output, self.output.clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let x = View::of(OP, "x", storage, layout)?;
        let wanted = self.positions.is_some();
        let (y, positions) = cuda::forward(storage.device(), x, &self.planes, wanted)?;
        if let (Some(kept), Some(positions)) = (&self.positions, positions) {
            kept.get_or_init(|| crate::cuda::tensor(positions, &self.output));
        }
        Ok((y, self.output.clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let Some(positions) = self.positions.as_ref().and_then(OnceLock::get) else {
            return Ok(None);
        };
        let op = MaxPool2dGradient {
            planes: self.planes.clone(),
            input: x.shape().clone(),
        };
        gradient
            .contiguous()?
            .apply_op2_no_bwd(positions, &op)
            .map(Some)
    }
}

/// dx from (gradient of the maxima, their positions).
struct MaxPool2dGradient {
    planes: Arc<Planes>,
    input: Shape,
}

impl CustomOp2 for MaxPool2dGradient {
    fn name(&self) -> &'static str {
        "max_pool2d-gradient"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let positions = slice(OP, s2, l2)?;
        let dx = match s1.dtype() {
            DType::F32 => {
                CpuStorage::F32(cpu::backward(slice(OP, s1, l1)?, positions, &self.planes))
            }
            DType::F64 => {
                CpuStorage::F64(cpu::backward(slice(OP, s1, l1)?, positions, &self.planes))
            }
            other => return Err(unsupported(OP, "gradient", other)),
        };
        Ok((dx, self.input.clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        s1: &CudaStorage,
        l1: &Layout,
        s2: &CudaStorage,
        l2: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let gradient = View::of(OP, "gradient", s1, l1)?;
        let positions = View::of(OP, "positions", s2, l2)?;
        let dx = cuda::backward(s1.device(), gradient, positions, &self.planes)?;
        Ok((dx, self.input.clone()))
    }
}
