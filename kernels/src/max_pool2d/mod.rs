//! The largest element of every window.

mod cpu;

use crate::element::Element;
use crate::operand::{slice, unsupported, with_slice};
use crate::pool2d::{Axis, Pool2dGeometry, image_dims};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
use std::ops::Range;
use std::sync::OnceLock;

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
    let planes = Planes {
        count: batch * channels,
        height,
        width,
        offsets: (0..columns.window)
            .map(|offset| columns.outputs_at(offset, width))
            .collect(),
        rows,
        columns,
    };
    let output = Shape::from((batch, channels, planes.rows.len(), planes.columns.len()));
    let op = MaxPool2d {
        planes,
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

struct MaxPool2d {
    planes: Planes,
    output: Shape,
    /// Where in its plane each maximum was found, if a backward pass may ask.
    positions: Option<OnceLock<Vec<u32>>>,
}

impl MaxPool2d {
    fn forward<T: Element>(&self, x: &[T]) -> CpuStorage {
        T::to_cpu_storage_owned(match &self.positions {
            None => cpu::forward(x, &self.planes),
            Some(kept) => {
                let (output, positions) = cpu::forward_with_positions(x, &self.planes);
                kept.get_or_init(|| positions);
                output
            }
        })
    }

    fn backward<T: Element>(
        &self,
        x: &Tensor,
        positions: &[u32],
        gradient: &Tensor,
    ) -> Result<Tensor> {
        let dx = with_slice::<T, _>(OP, "gradient", gradient, |gradient| {
            Ok(cpu::backward(gradient, positions, &self.planes))
        })?;
        Tensor::from_vec(dx, x.shape(), x.device())
    }
}

impl CustomOp1 for MaxPool2d {
    fn name(&self) -> &'static str {
        OP
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let output = match storage.dtype() {
            DType::F32 => self.forward::<f32>(slice(OP, storage, layout)?),
            DType::F64 => self.forward::<f64>(slice(OP, storage, layout)?),
            other => return Err(unsupported(OP, "x", other)),
        };
        Ok((output, self.output.clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let Some(positions) = self.positions.as_ref().and_then(OnceLock::get) else {
            return Ok(None);
        };
        match x.dtype() {
            DType::F32 => self.backward::<f32>(x, positions, gradient),
            _ => self.backward::<f64>(x, positions, gradient),
        }
        .map(Some)
    }
}
