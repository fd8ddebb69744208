//! Convolution on a GPU: which kernel takes which shape, and in how many parts.

use super::OPERATOR;
use super::geometry::Problem;
use crate::activation::Activation;
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, suffix};
use candle_core::{DType, Result};

/// Groups with fewer result channels than this are computed an element a thread.
const FEW_CHANNELS: usize = 8;
/// About how many blocks a weight gradient is worth, and at least how many steps of its sum are one part.
const BLOCKS: usize = 512;
const STEPS_A_PART: usize = 256;

/// What the forward pass adds and applies to its sums.
pub(crate) struct Finish<'a, M> {
    pub(crate) bias: Option<View<'a, M>>,
    /// Of the output's shape.
    pub(crate) residual: Option<View<'a, M>>,
    pub(crate) activation: Activation,
}

/// `act(input ⋆ weight + bias + residual)`.
pub(crate) fn forward<G: Gpu>(
    gpu: &G,
    problem: &Problem,
    input: View<'_, G::Memory>,
    weight: View<'_, G::Memory>,
    finish: &Finish<'_, G::Memory>,
) -> Result<G::Memory> {
    let mut output = gpu.allocate(input.dtype, problem.output_len())?;
    if problem.output_len() == 0 {
        return Ok(output);
    }
    let mut arguments = vec![
        Argument::Read(input),
        Argument::Read(weight),
        Argument::read_if(finish.bias),
        Argument::read_if(finish.residual),
        Argument::write(&mut output),
        Argument::Int((finish.activation == Activation::Relu).into()),
    ];
    arguments.extend(geometry(problem)?);
    let (rows, columns) = (problem.group_out(), problem.batch * problem.output_pixels());
    match rows < FEW_CHANNELS {
        true => {
            let grid = Grid::over(gpu, problem.output_len());
            launch(gpu, "forward_direct", input.dtype, grid, &mut arguments)?;
        }
        false => {
            let grid = tiles(gpu, rows, columns, problem.geometry.groups)?;
            launch(gpu, "forward", input.dtype, grid, &mut arguments)?;
        }
    }
    Ok(output)
}

/// dx from the output's gradient.
pub(crate) fn input_gradient<G: Gpu>(
    gpu: &G,
    problem: &Problem,
    gradient: View<'_, G::Memory>,
    weight: View<'_, G::Memory>,
) -> Result<G::Memory> {
    let mut dx = gpu.allocate(gradient.dtype, problem.input_len())?;
    if problem.input_len() == 0 {
        return Ok(dx);
    }
    let mut arguments = vec![
        Argument::Read(gradient),
        Argument::Read(weight),
        Argument::write(&mut dx),
    ];
    arguments.extend(geometry(problem)?);
    let (rows, columns) = (problem.group_in(), problem.batch * problem.input_pixels());
    match rows < FEW_CHANNELS {
        true => {
            let (grid, name) = (
                Grid::over(gpu, problem.input_len()),
                "input_gradient_direct",
            );
            launch(gpu, name, gradient.dtype, grid, &mut arguments)?;
        }
        false => {
            let grid = tiles(gpu, rows, columns, problem.geometry.groups)?;
            launch(gpu, "input_gradient", gradient.dtype, grid, &mut arguments)?;
        }
    }
    Ok(dx)
}

/// dw from the input and the output's gradient; workspace: as many weights as the sum has parts.
pub(crate) fn weight_gradient<G: Gpu>(
    gpu: &G,
    problem: &Problem,
    input: View<'_, G::Memory>,
    gradient: View<'_, G::Memory>,
) -> Result<G::Memory> {
    let (dtype, length) = (input.dtype, problem.weight_len());
    let mut dw = gpu.allocate(dtype, length)?;
    if length == 0 {
        return Ok(dw);
    }
    let (rows, columns) = (problem.group_out(), problem.group_in() * problem.taps());
    let direct = rows < FEW_CHANNELS;
    let side = tile(gpu);
    let blocks = match direct {
        true => length,
        false => rows.div_ceil(side) * columns.div_ceil(side) * problem.geometry.groups,
    };
    let steps = problem.batch * problem.output_pixels();
    let most = (steps / STEPS_A_PART).max(1);
    let splits = BLOCKS.div_ceil(blocks).min(most);
    let wide = if dtype == DType::F64 {
        DType::F64
    } else {
        DType::F32
    };
    let mut partial = gpu.allocate(wide, splits * length)?;
    let mut arguments = vec![
        Argument::Read(input),
        Argument::Read(gradient),
        Argument::write(&mut partial),
    ];
    match direct {
        true => {
            arguments.extend(geometry(problem)?);
            let grid = Grid::exactly([length, splits, 1])?;
            launch(gpu, "weight_gradient_direct", dtype, grid, &mut arguments)?;
        }
        false => {
            arguments.push(Argument::int(splits)?);
            arguments.extend(geometry(problem)?);
            let grid = tiles(gpu, rows, columns, problem.geometry.groups * splits)?;
            launch(gpu, "weight_gradient", dtype, grid, &mut arguments)?;
        }
    }
    let mut arguments = [
        Argument::Read(gpu.view(&partial)),
        Argument::write(&mut dw),
        Argument::int(splits)?,
        Argument::size(length),
    ];
    launch(
        gpu,
        "add_splits",
        dtype,
        Grid::over(gpu, length),
        &mut arguments,
    )?;
    Ok(dw)
}

/// Sums `values` `[batch, channels, pixels]` over batch and pixels, in f64.
pub(crate) fn channel_sums<G: Gpu>(
    gpu: &G,
    values: View<'_, G::Memory>,
    [batch, channels, pixels]: [usize; 3],
) -> Result<G::Memory> {
    let mut sums = gpu.allocate(values.dtype, channels)?;
    if channels == 0 {
        return Ok(sums);
    }
    let mut arguments = [
        Argument::Read(values),
        Argument::write(&mut sums),
        Argument::int(batch)?,
        Argument::int(channels)?,
        Argument::int(pixels)?,
    ];
    let grid = Grid::exactly([channels, 1, 1])?;
    launch(gpu, "channel_sums", values.dtype, grid, &mut arguments)?;
    Ok(sums)
}

/// The side of the tile that a block makes: `TILE` in the source.
fn tile(gpu: &impl Gpu) -> usize {
    if gpu.threads() == 256 { 64 } else { 32 }
}

fn tiles(gpu: &impl Gpu, rows: usize, columns: usize, layers: usize) -> Result<Grid> {
    let side = tile(gpu);
    Grid::exactly([columns.div_ceil(side), rows.div_ceil(side), layers])
}

/// The arguments that every kernel ends with. The kernels count in 32 bits.
fn geometry<'a, M>(problem: &Problem) -> Result<Vec<Argument<'a, M>>> {
    for length in [
        problem.input_len(),
        problem.output_len(),
        problem.weight_len(),
    ] {
        Argument::<M>::int(length)?;
    }
    let geometry = &problem.geometry;
    let pairs = [
        (problem.batch, geometry.groups),
        (problem.group_in(), problem.group_out()),
        problem.input,
        problem.output,
        problem.kernel,
        geometry.stride,
        geometry.padding,
        geometry.dilation,
    ];
    pairs
        .into_iter()
        .flat_map(|(first, second)| [first, second])
        .map(Argument::int)
        .collect()
}

fn launch<G: Gpu>(
    gpu: &G,
    kernel: &str,
    dtype: DType,
    grid: Grid,
    arguments: &mut [Argument<'_, G::Memory>],
) -> Result<()> {
    let name = format!("conv2d_{kernel}_{}", suffix(OPERATOR, "input", dtype)?);
    let kernel = Kernel {
        module: "conv2d",
        name: &name,
    };
    gpu.launch(kernel, grid, arguments)
}

#[cfg(test)]
mod tests {
    use super::super::{Conv2dGeometry, cpu};
    use super::*;
    use crate::cuda::emulation::{Emulation, TYPES, assert_close, emulate, numbers, rounded};

    /// Input, weight and geometry: dense with tails and more than one tile, strided, rectangular
    /// and dilated, grouped, depthwise with a multiplier, 1 × 1, one pixel, no image.
    fn problems() -> Vec<Problem> {
        let with = |stride, padding, dilation, groups| Conv2dGeometry {
            stride,
            padding,
            dilation,
            groups,
        };
        [
            ([2, 3, 7, 6], [34, 3, 3, 3], with((1, 1), (1, 1), (1, 1), 1)),
            ([1, 9, 8, 5], [8, 9, 3, 2], with((2, 3), (1, 0), (1, 1), 1)),
            ([1, 8, 9, 10], [9, 8, 2, 3], with((2, 1), (2, 3), (3, 2), 1)),
            (
                [2, 16, 4, 4],
                [16, 8, 3, 3],
                with((1, 1), (1, 1), (1, 1), 2),
            ),
            ([2, 3, 6, 5], [6, 1, 3, 3], with((2, 2), (1, 1), (1, 1), 3)),
            (
                [3, 10, 3, 3],
                [12, 10, 1, 1],
                with((1, 1), (0, 0), (1, 1), 1),
            ),
            ([1, 1, 1, 1], [1, 1, 1, 1], with((1, 1), (0, 0), (1, 1), 1)),
            ([0, 8, 4, 4], [8, 8, 3, 3], with((1, 1), (1, 1), (1, 1), 1)),
            // A sum long enough for two parts, of a tile and of a block.
            (
                [2, 8, 16, 17],
                [8, 8, 1, 1],
                with((1, 1), (0, 0), (1, 1), 1),
            ),
            (
                [2, 2, 16, 17],
                [2, 1, 1, 1],
                with((1, 1), (0, 0), (1, 1), 2),
            ),
        ]
        .into_iter()
        .map(|(input, weight, geometry)| {
            Problem::of_shapes("conv2d", &input, &weight, &geometry).unwrap()
        })
        .collect()
    }

    #[test]
    fn emulated_passes_equal_the_specification() {
        emulate("conv2d/conv2d.cu", |gpu| {
            for (index, problem) in problems().iter().enumerate() {
                // Every type once in a while, f32 always: emulation takes its time.
                for (dtype, tolerance) in [TYPES[0], TYPES[1 + index % 3]] {
                    compare(gpu, dtype, 3.0 * tolerance, problem);
                }
            }
        });
    }

    fn compare(gpu: &Emulation, dtype: DType, tolerance: f64, problem: &Problem) {
        let host = |name: &str, length| rounded(&numbers(name, length), dtype);
        let input = host("input", problem.input_len());
        let weight = host("weight", problem.weight_len());
        let gradient = host("gradient", problem.output_len());
        let bias = host("bias", problem.out_channels);
        let up = |values: &[f64]| gpu.upload(values, dtype);
        let on_gpu = [&input, &weight, &gradient, &bias].map(|values| up(values));
        let view = |index: usize| gpu.view(&on_gpu[index]);
        let check = |name: &str, found: &_, expected: &[f64]| {
            let what = format!("{name} {dtype:?} {problem:?}");
            assert_close(&what, &gpu.download(found), expected, tolerance);
        };
        let mut finish = Finish {
            bias: None,
            residual: None,
            activation: Activation::None,
        };
        let y = forward(gpu, problem, view(0), view(1), &finish).unwrap();
        check("y", &y, &cpu::forward(problem, &input, &weight, None));
        // The gradient has the output's shape, so it can be the residual too.
        (finish.bias, finish.residual) = (Some(view(3)), Some(view(2)));
        finish.activation = Activation::Relu;
        let y = forward(gpu, problem, view(0), view(1), &finish).unwrap();
        let mut expected = cpu::forward(problem, &input, &weight, Some(&bias));
        for (value, residual) in expected.iter_mut().zip(&gradient) {
            *value = (*value + residual).max(0.0);
        }
        check("finished y", &y, &expected);
        let dx = input_gradient(gpu, problem, view(2), view(1)).unwrap();
        check("dx", &dx, &cpu::input_gradient(problem, &gradient, &weight));
        let dw = weight_gradient(gpu, problem, view(0), view(2)).unwrap();
        check("dw", &dw, &cpu::weight_gradient(problem, &input, &gradient));
        let (channels, pixels) = (problem.out_channels, problem.output_pixels());
        let sums = channel_sums(gpu, view(2), [problem.batch, channels, pixels]).unwrap();
        check("db", &sums, &cpu::channel_sums(&gradient, channels, pixels));
    }
}
