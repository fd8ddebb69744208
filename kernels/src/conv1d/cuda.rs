//! One-dimensional convolution on a GPU.

use crate::conv2d::Problem;
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, suffix};
use candle_core::{DType, Result};

/// Groups of fewer rows have kernels of their own.
const ROWS_AT_LEAST: usize = 8;
/// Steps of a weight gradient's sum that a chunk should have, and how many chunks there are at most.
const STEPS_A_CHUNK: usize = 512;
const CHUNKS_AT_MOST: usize = 32;

/// y from (input, weight) and the bias, if there is one.
pub(super) fn forward<G: Gpu>(
    gpu: &G,
    problem: &Problem,
    x: View<'_, G::Memory>,
    weight: View<'_, G::Memory>,
    bias: Option<View<'_, G::Memory>>,
) -> Result<G::Memory> {
    let suffix = suffix("conv1d", "input", x.dtype)?;
    let mut y = gpu.allocate(x.dtype, problem.output_len())?;
    if problem.output_len() == 0 {
        return Ok(y);
    }
    let mut arguments = vec![
        Argument::Read(x),
        Argument::Read(weight),
        Argument::read_if(bias),
        Argument::write(&mut y),
    ];
    arguments.extend(sizes(problem)?);
    if problem.group_out() < ROWS_AT_LEAST {
        let grid = Grid::over(gpu, problem.output_len());
        launch(gpu, &format!("conv1d_thin_{suffix}"), grid, &mut arguments)?;
    } else {
        let columns = problem.batch * problem.output.1;
        let grid = tiles(gpu, problem.group_out(), columns, problem.geometry.groups)?;
        launch(gpu, &format!("conv1d_{suffix}"), grid, &mut arguments)?;
    }
    Ok(y)
}

/// dx from (gradient of the output, weight) and, for a transposed convolution, the bias.
pub(super) fn input_gradient<G: Gpu>(
    gpu: &G,
    problem: &Problem,
    dy: View<'_, G::Memory>,
    weight: View<'_, G::Memory>,
    bias: Option<View<'_, G::Memory>>,
) -> Result<G::Memory> {
    let suffix = suffix("conv1d", "gradient", dy.dtype)?;
    let mut dx = gpu.allocate(dy.dtype, problem.input_len())?;
    if problem.input_len() == 0 {
        return Ok(dx);
    }
    if problem.group_in() < ROWS_AT_LEAST {
        let mut arguments = vec![
            Argument::Read(dy),
            Argument::Read(weight),
            Argument::read_if(bias),
            Argument::write(&mut dx),
        ];
        arguments.extend(sizes(problem)?);
        let grid = Grid::over(gpu, problem.input_len());
        let name = format!("conv1d_thin_input_gradient_{suffix}");
        launch(gpu, &name, grid, &mut arguments)?;
        return Ok(dx);
    }
    for remainder in 0..problem.geometry.stride.1.min(problem.input.1) {
        let phase = Phase::new(problem, remainder);
        let mut arguments = vec![
            Argument::Read(dy),
            Argument::Read(weight),
            Argument::read_if(bias),
            Argument::write(&mut dx),
        ];
        arguments.extend(phase.arguments()?);
        arguments.extend(sizes(problem)?);
        let columns = problem.batch * phase.columns;
        let grid = tiles(gpu, problem.group_in(), columns, problem.geometry.groups)?;
        let name = format!("conv1d_input_gradient_{suffix}");
        launch(gpu, &name, grid, &mut arguments)?;
    }
    Ok(dx)
}

/// dw from (input, gradient of the output). Workspace: a copy of the weight a chunk, in the wide type.
pub(super) fn weight_gradient<G: Gpu>(
    gpu: &G,
    problem: &Problem,
    x: View<'_, G::Memory>,
    dy: View<'_, G::Memory>,
) -> Result<G::Memory> {
    let dtype = x.dtype;
    let suffix = suffix("conv1d", "input", dtype)?;
    let mut dw = gpu.allocate(dtype, problem.weight_len())?;
    if problem.weight_len() == 0 {
        return Ok(dw);
    }
    if problem.group_out() < ROWS_AT_LEAST {
        let mut arguments = vec![
            Argument::Read(x),
            Argument::Read(dy),
            Argument::write(&mut dw),
        ];
        arguments.extend(sizes(problem)?);
        let grid = Grid::exactly([problem.weight_len(), 1, 1])?;
        let name = format!("conv1d_thin_weight_gradient_{suffix}");
        launch(gpu, &name, grid, &mut arguments)?;
        return Ok(dw);
    }
    let steps = problem.batch * problem.output.1;
    let chunks = (steps / STEPS_A_CHUNK).clamp(1, CHUNKS_AT_MOST);
    let wide = match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    let mut partial = gpu.allocate(wide, chunks * problem.weight_len())?;
    let mut arguments = vec![
        Argument::Read(x),
        Argument::Read(dy),
        Argument::write(&mut partial),
        Argument::int(chunks)?,
    ];
    arguments.extend(sizes(problem)?);
    let columns = problem.group_in() * problem.kernel.1;
    let groups = problem.geometry.groups * chunks;
    let grid = tiles(gpu, problem.group_out(), columns, groups)?;
    let name = format!("conv1d_weight_gradient_{suffix}");
    launch(gpu, &name, grid, &mut arguments)?;
    let mut arguments = [
        Argument::Read(gpu.view(&partial)),
        Argument::write(&mut dw),
        Argument::size(problem.weight_len()),
        Argument::int(chunks)?,
    ];
    let grid = Grid::over(gpu, problem.weight_len());
    launch(
        gpu,
        &format!("conv1d_chunks_{suffix}"),
        grid,
        &mut arguments,
    )?;
    Ok(dw)
}

/// Sums `[batch, channels, length]` to `[channels]`.
pub(super) fn channel_sums<G: Gpu>(
    gpu: &G,
    values: View<'_, G::Memory>,
    (batch, channels, length): (usize, usize, usize),
) -> Result<G::Memory> {
    let suffix = suffix("conv1d", "gradient", values.dtype)?;
    let mut sums = gpu.allocate(values.dtype, channels)?;
    if channels == 0 {
        return Ok(sums);
    }
    let mut arguments = [
        Argument::Read(values),
        Argument::write(&mut sums),
        Argument::int(batch)?,
        Argument::int(channels)?,
        Argument::int(length)?,
    ];
    let name = format!("conv1d_bias_gradient_{suffix}");
    launch(gpu, &name, Grid::exactly([channels, 1, 1])?, &mut arguments)?;
    Ok(sums)
}

/// Input positions of one remainder by the stride, and the taps that reach them.
struct Phase {
    remainder: usize,
    columns: usize,
    first_tap: usize,
    tap_step: usize,
    taps: usize,
    /// The output that the first tap reads for the first position.
    first: isize,
    /// Outputs from one tap back to the next.
    back: usize,
}

impl Phase {
    fn new(problem: &Problem, remainder: usize) -> Self {
        let g = &problem.geometry;
        let (stride, dilation, kernel) = (g.stride.1, g.dilation.1, problem.kernel.1);
        let ahead = |tap: usize| (remainder + g.padding.1) as isize - (tap * dilation) as isize;
        let reaches = |tap: &usize| ahead(*tap) % stride as isize == 0;
        let first_tap = (0..kernel).find(reaches);
        let tap_step = (1..=stride)
            .find(|step| (step * dilation).is_multiple_of(stride))
            .unwrap_or(stride);
        Self {
            remainder,
            columns: (problem.input.1 - remainder).div_ceil(stride),
            first_tap: first_tap.unwrap_or(0),
            tap_step,
            taps: first_tap.map_or(0, |first| (kernel - first).div_ceil(tap_step)),
            first: first_tap.map_or(0, |first| ahead(first) / stride as isize),
            back: tap_step * dilation / stride,
        }
    }

    fn arguments<'a, M>(&self) -> Result<[Argument<'a, M>; 7]> {
        let Ok(first) = i32::try_from(self.first) else {
            candle_core::bail!("{} is too large for a CUDA kernel's int", self.first);
        };
        Ok([
            Argument::int(self.remainder)?,
            Argument::int(self.columns)?,
            Argument::int(self.first_tap)?,
            Argument::int(self.tap_step)?,
            Argument::int(self.taps)?,
            Argument::Int(first),
            Argument::int(self.back)?,
        ])
    }
}

/// The numbers that every kernel takes last. Their products along one axis must fit an `int` too.
fn sizes<'a, M>(problem: &Problem) -> Result<[Argument<'a, M>; 10]> {
    let g = &problem.geometry;
    let span = (problem.output.1 * g.stride.1)
        .saturating_add(problem.kernel.1.saturating_mul(g.dilation.1))
        .saturating_add(problem.input.1 + g.padding.1);
    let planes = problem.batch * problem.in_channels.max(problem.out_channels);
    for most in [span, planes] {
        Argument::<'a, M>::int(most)?;
    }
    Ok([
        Argument::int(problem.batch)?,
        Argument::int(g.groups)?,
        Argument::int(problem.group_in())?,
        Argument::int(problem.group_out())?,
        Argument::int(problem.input.1)?,
        Argument::int(problem.kernel.1)?,
        Argument::int(problem.output.1)?,
        Argument::int(g.stride.1)?,
        Argument::int(g.padding.1)?,
        Argument::int(g.dilation.1)?,
    ])
}

/// A block a tile of each of `count` products of rows × columns.
fn tiles(gpu: &impl Gpu, rows: usize, columns: usize, count: usize) -> Result<Grid> {
    let side = 4 * gpu.threads().isqrt();
    Grid::exactly([columns.div_ceil(side), rows.div_ceil(side), count])
}

fn launch<G: Gpu>(
    gpu: &G,
    name: &str,
    grid: Grid,
    arguments: &mut [Argument<'_, G::Memory>],
) -> Result<()> {
    let kernel = Kernel {
        module: "conv1d",
        name,
    };
    gpu.launch(kernel, grid, arguments)
}

#[cfg(test)]
mod tests {
    use super::super::{Conv1dGeometry, geometry::problem_of_shapes};
    use crate::conv2d::{Convolve, channel_sums};
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{TYPES, assert_close, emulate, numbers, rounded};
    use candle_core::DType;

    /// Batch, channels in and out, length, kernel, stride, padding, dilation, groups.
    type Case = (
        usize,
        (usize, usize),
        usize,
        usize,
        usize,
        (usize, usize),
        usize,
        usize,
    );

    const CASES: &[Case] = &[
        (2, (9, 11), 20, 3, 1, (1, 1), 1, 1),
        (3, (12, 40), 21, 5, 2, (2, 1), 1, 1),
        (1, (18, 16), 30, 4, 3, (4, 0), 2, 2),
        (2, (8, 9), 17, 2, 4, (0, 3), 2, 1),
        (2, (33, 8), 9, 1, 1, (0, 0), 1, 1),
        (2, (6, 6), 40, 7, 1, (3, 3), 1, 6),
        (1, (4, 12), 19, 3, 2, (1, 0), 3, 4),
        (1, (1, 16), 90, 9, 2, (4, 4), 1, 1),
        (70, (8, 8), 20, 1, 1, (0, 0), 1, 1),
        (0, (8, 8), 20, 3, 1, (0, 0), 1, 1),
    ];

    #[test]
    fn emulated_passes_equal_the_specification() {
        emulate("conv1d/conv1d.cu", |gpu| {
            for (dtype, tolerance) in TYPES {
                for (index, case) in CASES.iter().enumerate() {
                    // The types share their code: f32 sees all cases, the others some.
                    if dtype != DType::F32 && index % 3 != dtype.size_in_bytes() % 3 {
                        continue;
                    }
                    let &(
                        batch,
                        (inputs, outputs),
                        length,
                        kernel,
                        stride,
                        padding,
                        dilation,
                        groups,
                    ) = case;
                    let geometry = Conv1dGeometry {
                        stride,
                        padding,
                        dilation,
                        groups,
                    };
                    let (x, w) = ([batch, inputs, length], [outputs, inputs / groups, kernel]);
                    let p = problem_of_shapes("conv1d", ("input", &x), ("weight", &w), &geometry)
                        .unwrap();
                    let operand = |label, count| rounded(&numbers(label, count), dtype);
                    let (x, w) = (operand("x", p.input_len()), operand("w", p.weight_len()));
                    let (dy, bias) = (operand("dy", p.output_len()), operand("b", outputs));
                    let in_bias = operand("c", inputs);
                    let upload = |values: &[f64]| gpu.upload(values, dtype);
                    let memory = [&x, &w, &dy, &bias, &in_bias].map(|values| upload(values));
                    let [gx, gw, gdy, gb, gc] =
                        [0, 1, 2, 3, 4].map(|index| gpu.view(&memory[index]));
                    let check = |what, found: &_, expected: &[f64]| {
                        let what = format!("{what} {dtype:?} {case:?}");
                        assert_close(&what, &gpu.download(found), expected, 4.0 * tolerance);
                    };
                    let y = super::forward(gpu, &p, gx, gw, Some(gb)).unwrap();
                    check("y", &y, &Convolve::forward(&p, &x, &w, Some(&bias)));
                    let y = super::forward(gpu, &p, gx, gw, None).unwrap();
                    check("y", &y, &Convolve::forward(&p, &x, &w, None));
                    let mut expected: Vec<f64> = Convolve::input_gradient(&p, &dy, &w);
                    let dx = super::input_gradient(gpu, &p, gdy, gw, None).unwrap();
                    check("dx", &dx, &expected);
                    for (index, value) in expected.iter_mut().enumerate() {
                        *value += in_bias[index / length % inputs];
                    }
                    let dx = super::input_gradient(gpu, &p, gdy, gw, Some(gc)).unwrap();
                    check("dx with bias", &dx, &expected);
                    let dw = super::weight_gradient(gpu, &p, gx, gdy).unwrap();
                    check("dw", &dw, &Convolve::weight_gradient(&p, &x, &dy));
                    let shape = (batch, outputs, p.output.1);
                    let db = super::channel_sums(gpu, gdy, shape).unwrap();
                    check("db", &db, &channel_sums(&dy, outputs, p.output.1));
                }
            }
        });
    }
}
