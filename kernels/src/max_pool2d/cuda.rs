//! Maxima on a GPU.

use super::{OP, Planes};
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, suffix};
use candle_core::{DType, Result};

/// The maxima and, if wanted, where in their planes they were found.
pub(super) fn forward<G: Gpu>(
    gpu: &G,
    x: View<'_, G::Memory>,
    planes: &Planes,
    with_positions: bool,
) -> Result<(G::Memory, Option<G::Memory>)> {
    let name = format!("maxima_{}", suffix(OP, "x", x.dtype)?);
    let length = planes.count * planes.rows.len() * planes.columns.len();
    let mut y = gpu.allocate(x.dtype, length)?;
    let mut positions = match with_positions {
        true => Some(gpu.allocate(DType::U32, length)?),
        false => None,
    };
    if length > 0 {
        let mut arguments = vec![
            Argument::Read(x),
            Argument::write(&mut y),
            Argument::write_if(positions.as_mut()),
        ];
        arguments.extend(axes(planes)?);
        launch(gpu, &name, length, &mut arguments)?;
    }
    Ok((y, positions))
}

/// Each output's gradient, added where its maximum was found.
pub(super) fn backward<G: Gpu>(
    gpu: &G,
    gradient: View<'_, G::Memory>,
    positions: View<'_, G::Memory>,
    planes: &Planes,
) -> Result<G::Memory> {
    let name = format!("spread_maxima_{}", suffix(OP, "gradient", gradient.dtype)?);
    let length = planes.count * planes.height * planes.width;
    let mut dx = gpu.allocate(gradient.dtype, length)?;
    if length > 0 {
        let mut arguments = vec![
            Argument::Read(gradient),
            Argument::Read(positions),
            Argument::write(&mut dx),
        ];
        arguments.extend(axes(planes)?);
        launch(gpu, &name, length, &mut arguments)?;
    }
    Ok(dx)
}

/// Planes, and length, windows, window, stride and padding of each axis.
fn axes<'a, M>(planes: &Planes) -> Result<Vec<Argument<'a, M>>> {
    Argument::<'a, M>::int(planes.count)?;
    let mut arguments = vec![Argument::size(planes.count)];
    for (length, axis) in [
        (planes.height, &planes.rows),
        (planes.width, &planes.columns),
    ] {
        for value in [length, axis.len(), axis.window, axis.stride, axis.padding] {
            arguments.push(Argument::int(value)?);
        }
    }
    Ok(arguments)
}

fn launch<G: Gpu>(
    gpu: &G,
    name: &str,
    items: usize,
    arguments: &mut [Argument<'_, G::Memory>],
) -> Result<()> {
    let kernel = Kernel {
        module: "max_pool2d",
        name,
    };
    gpu.launch(kernel, Grid::over(gpu, items), arguments)
}

#[cfg(test)]
mod tests {
    use super::super::{Planes, cpu};
    use crate::Pool2dGeometry;
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{TYPES, assert_close, emulate, numbers, rounded};

    #[test]
    fn emulated_maxima_equal_the_specification() {
        emulate("max_pool2d/max_pool2d.cu", |gpu| {
            for (index, (size, window, stride, padding)) in [
                ((5, 8), (2, 2), (2, 2), (0, 0)),
                ((7, 6), (3, 4), (2, 3), (1, 2)),
                ((9, 4), (2, 3), (4, 1), (1, 0)),
                ((4, 33), (3, 3), (1, 1), (1, 1)),
            ]
            .into_iter()
            .enumerate()
            {
                for ceil_mode in [false, true] {
                    let (dtype, tolerance) = TYPES[index];
                    let geometry = Pool2dGeometry {
                        window,
                        stride,
                        padding,
                        ceil_mode,
                    };
                    let axis = |length, axis| geometry.axis("test", length, axis).unwrap();
                    let planes = Planes::new(2, size, axis(size.0, 0), axis(size.1, 1));
                    let mut x = numbers("x", 2 * size.0 * size.1);
                    for value in &mut x {
                        *value = (*value * 3.0).round(); // ties
                    }
                    let last = x.len() - 1;
                    (x[0], x[5], x[last]) = (f64::NEG_INFINITY, f64::NAN, f64::INFINITY);
                    let (y, positions) = cpu::forward_with_positions(&x, &planes);
                    let dy = rounded(&numbers("dy", y.len()), dtype);
                    let memory = (gpu.upload(&x, dtype), gpu.upload(&dy, dtype));
                    let check = |what, found: &_, expected: &[f64]| {
                        let what = format!("{what} {dtype:?} {size:?} {geometry:?}");
                        assert_close(&what, &gpu.download(found), expected, tolerance);
                    };
                    let x_view = gpu.view(&memory.0);
                    let (found, none) = super::forward(gpu, x_view, &planes, false).unwrap();
                    assert!(none.is_none());
                    check("y", &found, &y);
                    let (found, kept) = super::forward(gpu, x_view, &planes, true).unwrap();
                    check("y", &found, &y);
                    let kept = kept.unwrap();
                    let places: Vec<f64> = positions.iter().map(|&at| at.into()).collect();
                    check("positions", &kept, &places);
                    let dy_view = gpu.view(&memory.1);
                    let dx = super::backward(gpu, dy_view, gpu.view(&kept), &planes).unwrap();
                    check("dx", &dx, &cpu::backward(&dy, &positions, &planes));
                }
            }
        });
    }
}
