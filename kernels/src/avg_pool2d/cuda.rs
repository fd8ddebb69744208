//! Averages on a GPU.

use super::{Planes, Windows};
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, suffix};
use candle_core::Result;

/// The mean of every window.
pub(super) fn window_means<G: Gpu>(
    gpu: &G,
    op: &'static str,
    x: View<'_, G::Memory>,
    planes: &Planes,
) -> Result<G::Memory> {
    let length = planes.count * planes.rows.len() * planes.columns.len();
    pass(gpu, (op, "window_means"), x, length, || axes(planes))
}

/// Each output's gradient, spread over its window.
pub(super) fn window_means_backward<G: Gpu>(
    gpu: &G,
    gradient: View<'_, G::Memory>,
    planes: &Planes,
) -> Result<G::Memory> {
    let length = planes.count * planes.height * planes.width;
    let names = ("avg_pool2d", "spread_means");
    pass(gpu, names, gradient, length, || axes(planes))
}

/// The mean of every `plane` consecutive elements.
pub(super) fn global_means<G: Gpu>(
    gpu: &G,
    x: View<'_, G::Memory>,
    plane: usize,
) -> Result<G::Memory> {
    let name = format!("image_means_{}", suffix("global_avg_pool2d", "x", x.dtype)?);
    let images = x.length / plane;
    let mut y = gpu.allocate(x.dtype, images)?;
    if images > 0 {
        let mut arguments = [
            Argument::Read(x),
            Argument::write(&mut y),
            Argument::size(plane),
        ];
        launch(gpu, &name, Grid::exactly([images, 1, 1])?, &mut arguments)?;
    }
    Ok(y)
}

/// Each gradient divided by `plane`, repeated `plane` times.
pub(super) fn global_means_backward<G: Gpu>(
    gpu: &G,
    gradient: View<'_, G::Memory>,
    plane: usize,
) -> Result<G::Memory> {
    let images = gradient.length;
    let names = ("global_avg_pool2d", "spread_image_means");
    pass(gpu, names, gradient, images * plane, || {
        Ok(vec![Argument::size(images), Argument::size(plane)])
    })
}

/// A kernel with one thread for each of the `length` elements that it writes.
fn pass<'a, G: Gpu>(
    gpu: &G,
    (op, kernel): (&'static str, &str),
    input: View<'a, G::Memory>,
    length: usize,
    more: impl FnOnce() -> Result<Vec<Argument<'a, G::Memory>>>,
) -> Result<G::Memory> {
    let name = format!("{kernel}_{}", suffix(op, "x", input.dtype)?);
    let mut output = gpu.allocate(input.dtype, length)?;
    if length > 0 {
        let mut arguments = vec![Argument::Read(input)];
        let more = more()?;
        arguments.push(Argument::write(&mut output));
        arguments.extend(more);
        launch(gpu, &name, Grid::over(gpu, length), &mut arguments)?;
    }
    Ok(output)
}

/// Planes, and length, windows, window, stride and padding of each axis.
fn axes<'a, M>(planes: &Planes) -> Result<Vec<Argument<'a, M>>> {
    let (geometry, include_pad) = match planes.windows {
        Windows::Given {
            geometry,
            count_include_pad,
        } => (geometry, count_include_pad),
        Windows::Fitted { .. } => (crate::Pool2dGeometry::square(0, 0, 0), false),
    };
    Argument::<'a, M>::int(planes.count)?;
    let mut arguments = vec![Argument::size(planes.count)];
    for value in [
        planes.height,
        planes.rows.len(),
        geometry.window.0,
        geometry.stride.0,
        geometry.padding.0,
        planes.width,
        planes.columns.len(),
        geometry.window.1,
        geometry.stride.1,
        geometry.padding.1,
        include_pad.into(),
    ] {
        arguments.push(Argument::int(value)?);
    }
    Ok(arguments)
}

fn launch<G: Gpu>(
    gpu: &G,
    name: &str,
    grid: Grid,
    arguments: &mut [Argument<'_, G::Memory>],
) -> Result<()> {
    let kernel = Kernel {
        module: "avg_pool2d",
        name,
    };
    gpu.launch(kernel, grid, arguments)
}

#[cfg(test)]
mod tests {
    use super::super::{Planes, Windows, cpu};
    use crate::Pool2dGeometry;
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{TYPES, assert_close, emulate, numbers, rounded};

    fn cases() -> Vec<((usize, usize), Windows)> {
        let mut cases = Vec::new();
        for (size, window, stride, padding) in [
            ((5, 8), (2, 2), (2, 2), (0, 0)),
            ((7, 6), (3, 4), (2, 3), (1, 2)),
            ((9, 4), (2, 3), (4, 1), (1, 0)),
        ] {
            for (ceil_mode, count_include_pad) in [(false, true), (true, false), (true, true)] {
                let geometry = Pool2dGeometry {
                    window,
                    stride,
                    padding,
                    ceil_mode,
                };
                let windows = Windows::Given {
                    geometry,
                    count_include_pad,
                };
                cases.push((size, windows));
            }
        }
        for (rows, columns) in [(1, 1), (3, 4), (7, 2), (10, 9)] {
            cases.push(((7, 5), Windows::Fitted { rows, columns }));
        }
        cases
    }

    #[test]
    fn emulated_averages_equal_the_specification() {
        emulate("avg_pool2d/avg_pool2d.cu", |gpu| {
            for (index, (size, windows)) in cases().into_iter().enumerate() {
                let (dtype, tolerance) = TYPES[[0, 1, 0, 2, 3][index % 5]];
                let planes = Planes::new("test", 3, size, windows).unwrap();
                let outputs = 3 * planes.rows.len() * planes.columns.len();
                let x = rounded(&numbers("x", 3 * size.0 * size.1), dtype);
                let dy = rounded(&numbers("dy", outputs), dtype);
                let memory = (gpu.upload(&x, dtype), gpu.upload(&dy, dtype));
                let (x_view, dy_view) = (gpu.view(&memory.0), gpu.view(&memory.1));
                let check = |what, found: &_, expected: &[f64]| {
                    let what = format!("{what} {dtype:?} {size:?} {windows:?}");
                    assert_close(&what, &gpu.download(found), expected, tolerance);
                };
                let y = super::window_means(gpu, "test", x_view, &planes).unwrap();
                check("y", &y, &cpu::window_means(&x, &planes));
                let dx = super::window_means_backward(gpu, dy_view, &planes).unwrap();
                check("dx", &dx, &cpu::window_means_backward(&dy, &planes));
                let plane = size.0 * size.1;
                let y = super::global_means(gpu, x_view, plane).unwrap();
                check("means", &y, &cpu::global_means(&x, plane));
                let dx = super::global_means_backward(gpu, dy_view, plane).unwrap();
                check("spread", &dx, &cpu::global_means_backward(&dy, plane));
            }
        });
    }
}
