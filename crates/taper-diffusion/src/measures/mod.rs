//! How good samples are: distances between distributions, and how straight the way to them is.
//!
//! Features and points are `[count, width]` tensors of any float type; all arithmetic is in f64.

mod assignment;
mod energy;
mod frechet;
mod kernel_distance;
mod moments;
mod neighbours;
mod straightness;
mod wasserstein;

pub use assignment::assignment;
pub use energy::energy_distance;
pub use frechet::{frechet_distance, reference_statistics};
pub use kernel_distance::{KernelDistance, kernel_distance};
pub use moments::{Gaussian, Moments};
pub use neighbours::{PrecisionRecall, precision_recall};
pub use straightness::Straightness;
pub use wasserstein::wasserstein2;

use crate::error::{DiffusionError, Result};
use candle_core::{DType, Tensor};

/// Two sets as f64 on the CPU, of one width and neither empty.
fn pair(measure: &'static str, a: &Tensor, b: &Tensor) -> Result<(Tensor, Tensor)> {
    match (a.dims(), b.dims()) {
        (&[m, width], &[n, other]) if width == other && width > 0 && m > 0 && n > 0 => {}
        (a, b) => {
            return Err(DiffusionError::measure(
                measure,
                format!("{a:?} and {b:?}"),
                "two sets [count, width] of one width, neither empty",
            ));
        }
    }
    let wide = |x: &Tensor| {
        let x = x.detach().to_device(&candle_core::Device::Cpu)?;
        x.to_dtype(DType::F64)?.contiguous()
    };
    Ok((wide(a)?, wide(b)?))
}

/// Squared distances between the rows of `a` and of `b`, `[a, b]`, row by row.
fn squared_distances(a: &Tensor, b: &Tensor) -> candle_core::Result<Vec<f64>> {
    let (rows, columns, width) = (a.dim(0)?, b.dim(0)?, a.dim(1)?);
    if width <= 4 {
        let (a, b) = (a.to_vec2::<f64>()?, b.to_vec2::<f64>()?);
        let mut distances = Vec::with_capacity(rows * columns);
        for a in &a {
            for b in &b {
                distances.push(a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum());
            }
        }
        return Ok(distances);
    }
    // |a|² + |b|² − 2 a·b; rounding may leave it a little below 0.
    let norms = |x: &Tensor| x.sqr()?.sum_keepdim(1);
    let products = (a.matmul(&b.t()?)? * 2.0)?;
    let sums = norms(a)?.broadcast_add(&norms(b)?.t()?)?;
    let distances = (sums - products)?.flatten_all()?.to_vec1::<f64>()?;
    Ok(distances.into_iter().map(|d| d.max(0.0)).collect())
}
