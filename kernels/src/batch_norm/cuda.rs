//! Batch normalisation on a GPU.

use super::grid::Grid as Planes;
use crate::activation::Activation;
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, lanes, suffix};
use candle_core::{DType, Result};

/// About how many blocks sum a tensor, and at least how many pieces each of their threads adds.
const BLOCKS: usize = 1024;
const PIECES_A_THREAD: usize = 4;

/// `[2, channels]` in f64: every channel's mean and its biased variance.
pub(super) fn moments<G: Gpu>(
    gpu: &G,
    op: &'static str,
    x: View<'_, G::Memory>,
    planes: &Planes,
) -> Result<G::Memory> {
    let suffix = suffix(op, "x", x.dtype)?;
    let packed = packed(planes, &[x]);
    let grid = parts(gpu, x.dtype, planes, packed)?;
    let mut statistics = gpu.allocate(DType::F64, 2 * planes.channels)?;
    if planes.channels == 0 {
        return Ok(statistics);
    }
    let mut partial = gpu.allocate(DType::F64, 2 * grid.blocks())?;
    let [batch, channels, plane] = shape(planes)?;
    let mut arguments = [
        Argument::Read(x),
        Argument::write(&mut partial),
        batch,
        channels,
        plane,
        Argument::Int(packed.into()),
    ];
    launch(gpu, "moments", suffix, grid, &mut arguments)?;
    let [batch, channels, plane] = shape(planes)?;
    let mut arguments = [
        Argument::Read(x),
        Argument::Read(gpu.view(&partial)),
        Argument::write(&mut statistics),
        batch,
        channels,
        plane,
        Argument::Int(grid.0[1] as i32),
    ];
    let grid = Grid::over(gpu, planes.channels);
    launch(gpu, "finish_moments", suffix, grid, &mut arguments)?;
    Ok(statistics)
}

/// Weights and biases, `[2 · channels]`, statistics as [`moments`] has them, and what is added
/// to their variances.
pub(super) struct Channels<'a, M> {
    pub(super) parameters: View<'a, M>,
    pub(super) statistics: View<'a, M>,
    pub(super) eps: f64,
}

/// `act((x − mean) · weight / √(variance + eps) + bias + residual)`.
pub(super) fn forward<G: Gpu>(
    gpu: &G,
    op: &'static str,
    x: View<'_, G::Memory>,
    residual: Option<View<'_, G::Memory>>,
    channels: &Channels<'_, G::Memory>,
    planes: &Planes,
    activation: Activation,
) -> Result<G::Memory> {
    let suffix = suffix(op, "x", x.dtype)?;
    let mut y = gpu.allocate(x.dtype, x.length)?;
    if x.length == 0 {
        return Ok(y);
    }
    let packed = packed(planes, &[x, residual.unwrap_or(x)]);
    let [batch, count, plane] = shape(planes)?;
    let mut arguments = [
        Argument::Read(x),
        Argument::read_if(residual),
        Argument::Read(channels.parameters),
        Argument::Read(channels.statistics),
        Argument::write(&mut y),
        batch,
        count,
        plane,
        Argument::Int(packed.into()),
        Argument::Real(channels.eps),
        Argument::Int((activation == Activation::Relu).into()),
    ];
    let items = if packed {
        x.length / lanes(x.dtype)
    } else {
        x.length
    };
    launch(
        gpu,
        "forward",
        suffix,
        Grid::over(gpu, items),
        &mut arguments,
    )?;
    Ok(y)
}

/// What the backward pass reads.
pub(super) struct Backward<'a, M> {
    pub(super) x: View<'a, M>,
    pub(super) gradient: View<'a, M>,
    /// The result, if an activation lies behind it.
    pub(super) output: Option<View<'a, M>>,
    pub(super) channels: Channels<'a, M>,
    /// Whether the statistics are the batch's and so depend on x.
    pub(super) of_batch: bool,
}

/// The gradients that were asked for: of x, of weights and biases, and the one behind the activation.
pub(super) struct Found<M> {
    pub(super) x: Option<M>,
    pub(super) packed: Option<M>,
    pub(super) masked: Option<M>,
}

impl<M> Backward<'_, M> {
    pub(super) fn run<G: Gpu<Memory = M>>(
        &self,
        gpu: &G,
        op: &'static str,
        planes: &Planes,
        [of_x, of_parameters, of_residual]: [bool; 3],
    ) -> Result<Found<M>> {
        let dtype = self.x.dtype;
        let suffix = suffix(op, "x", dtype)?;
        let new = |wanted: bool, length| wanted.then(|| gpu.allocate(dtype, length)).transpose();
        let mut found = Found {
            x: new(of_x, self.x.length)?,
            packed: new(of_parameters, 2 * planes.channels)?,
            masked: new(of_residual, self.x.length)?,
        };
        if planes.channels == 0 {
            return Ok(found);
        }
        let packed = packed(
            planes,
            &[self.x, self.gradient, self.output.unwrap_or(self.x)],
        );
        let sums = match of_parameters || (of_x && self.of_batch) {
            true => Some(self.sums(gpu, suffix, planes, packed, found.packed.as_mut())?),
            false => None,
        };
        if self.x.length == 0 || !(of_x || of_residual) {
            return Ok(found);
        }
        let sums = sums.as_ref().filter(|_| self.of_batch);
        let [batch, channels, plane] = shape(planes)?;
        let mut arguments = [
            Argument::Read(self.x),
            Argument::Read(self.gradient),
            Argument::read_if(self.output),
            Argument::Read(self.channels.parameters),
            Argument::Read(self.channels.statistics),
            Argument::read_if(sums.map(|sums| gpu.view(sums))),
            Argument::write_if(found.x.as_mut()),
            Argument::write_if(found.masked.as_mut()),
            batch,
            channels,
            plane,
            Argument::Int(packed.into()),
            Argument::Real(self.channels.eps),
        ];
        let items = if packed {
            self.x.length / lanes(dtype)
        } else {
            self.x.length
        };
        launch(
            gpu,
            "backward",
            suffix,
            Grid::over(gpu, items),
            &mut arguments,
        )?;
        Ok(found)
    }

    /// Σ g′ and Σ g′ (x − mean) of every channel, `[2, channels]` in f64; writes the parameters' gradients.
    fn sums<G: Gpu<Memory = M>>(
        &self,
        gpu: &G,
        suffix: &str,
        planes: &Planes,
        packed: bool,
        parameters: Option<&mut M>,
    ) -> Result<M> {
        let grid = parts(gpu, self.x.dtype, planes, packed)?;
        let mut partial = gpu.allocate(DType::F64, 2 * grid.blocks())?;
        let [batch, channels, plane] = shape(planes)?;
        let mut arguments = [
            Argument::Read(self.x),
            Argument::Read(self.gradient),
            Argument::read_if(self.output),
            Argument::Read(self.channels.statistics),
            Argument::write(&mut partial),
            batch,
            channels,
            plane,
            Argument::Int(packed.into()),
        ];
        launch(gpu, "sums", suffix, grid, &mut arguments)?;
        let mut sums = gpu.allocate(DType::F64, 2 * planes.channels)?;
        let mut arguments = [
            Argument::Read(gpu.view(&partial)),
            Argument::Read(self.channels.statistics),
            Argument::write(&mut sums),
            Argument::write_if(parameters),
            Argument::int(planes.channels)?,
            Argument::Int(grid.0[1] as i32),
            Argument::Real(self.channels.eps),
        ];
        let grid = Grid::over(gpu, planes.channels);
        launch(gpu, "finish_sums", suffix, grid, &mut arguments)?;
        Ok(sums)
    }
}

/// Whether planes are a multiple of 16 bytes and begin at one.
fn packed<M>(planes: &Planes, operands: &[View<'_, M>]) -> bool {
    let lanes = lanes(operands[0].dtype);
    planes.plane.is_multiple_of(lanes) && operands.iter().all(|operand| operand.aligned())
}

/// A block for each channel and part of it.
fn parts(gpu: &impl Gpu, dtype: DType, planes: &Planes, packed: bool) -> Result<Grid> {
    let pieces = planes.count() / if packed { lanes(dtype) } else { 1 };
    let most = pieces.div_ceil(gpu.threads() * PIECES_A_THREAD).max(1);
    let splits = BLOCKS.div_ceil(planes.channels.max(1)).min(most);
    Grid::exactly([planes.channels, splits, 1])
}

fn shape<'a, M>(planes: &Planes) -> Result<[Argument<'a, M>; 3]> {
    Argument::<M>::int(planes.elements())?; // the kernels count in 32 bits
    Ok([
        Argument::int(planes.batch)?,
        Argument::int(planes.channels)?,
        Argument::int(planes.plane)?,
    ])
}

fn launch<G: Gpu>(
    gpu: &G,
    kernel: &str,
    suffix: &str,
    grid: Grid,
    arguments: &mut [Argument<'_, G::Memory>],
) -> Result<()> {
    let name = format!("batch_norm_{kernel}_{suffix}");
    let kernel = Kernel {
        module: "batch_norm",
        name: &name,
    };
    gpu.launch(kernel, grid, arguments)
}

#[cfg(test)]
mod tests {
    use super::super::{cpu, inverse_deviation};
    use super::*;
    use crate::cuda::emulation::{Emulation, TYPES, assert_close, emulate, numbers, rounded};

    const EPS: f64 = 1e-3;

    #[test]
    fn emulated_passes_equal_the_specification() {
        emulate("batch_norm/batch_norm.cu", |gpu| {
            for (dtype, tolerance) in TYPES {
                for (batch, channels, plane) in [
                    (2, 3, 8),
                    (3, 2, 5),
                    (7, 5, 1),
                    (1, 1, 900),
                    (0, 2, 4),
                    (2, 0, 4),
                ] {
                    let planes = Planes::new(batch, channels, plane);
                    compare(gpu, dtype, 4.0 * tolerance, &planes);
                }
            }
        });
    }

    fn compare(gpu: &Emulation, dtype: DType, tolerance: f64, planes: &Planes) {
        let (count, channels) = (planes.elements(), planes.channels);
        let host = |name: &str, length| rounded(&numbers(name, length), dtype);
        // Far from 0, so that centring matters.
        let x = numbers("x", count)
            .iter()
            .map(|value| value + 8.0)
            .collect::<Vec<_>>();
        let (x, residual) = (rounded(&x, dtype), host("residual", count));
        let (gradient, parameters) = (host("gradient", count), host("parameters", 2 * channels));
        let up = |values: &[f64]| gpu.upload(values, dtype);
        let on_gpu = [&x, &residual, &gradient, &parameters].map(|values| up(values));
        let [gpu_x, gpu_residual, gpu_gradient, gpu_parameters] =
            [0, 1, 2, 3].map(|index| gpu.view(&on_gpu[index]));
        let what = |name: &str| format!("{name} {dtype:?} {planes:?}");
        let check = |name: &str, found: &_, expected: &[f64], tolerance: f64| {
            assert_close(&what(name), &gpu.download(found), expected, tolerance);
        };

        let statistics = moments(gpu, "batch_norm", gpu_x, planes).unwrap();
        let (mean, variance) = cpu::moments(&x, planes);
        if planes.count() > 0 {
            let found = gpu.download(&statistics);
            assert_close(&what("mean"), &found[..channels], &mean, 1e-6);
            assert_close(&what("variance"), &found[channels..], &variance, 1e-5);
        }
        // From here on with the specification's statistics, so that errors do not add up.
        let values: Vec<f64> = mean.iter().chain(&variance).copied().collect();
        let statistics = gpu.upload(&values, DType::F64);
        let inverse = inverse_deviation(variance, EPS);
        let of_cpu = || cpu::Channels {
            mean: &mean,
            inverse_deviation: &inverse,
            weight: &parameters[..channels],
            bias: &parameters[channels..],
        };
        let of_gpu = || Channels {
            parameters: gpu_parameters,
            statistics: gpu.view(&statistics),
            eps: EPS,
        };
        for (with_residual, activation) in [(false, Activation::None), (true, Activation::Relu)] {
            let y = forward(
                gpu,
                "batch_norm",
                gpu_x,
                with_residual.then_some(gpu_residual),
                &of_gpu(),
                planes,
                activation,
            );
            let residual = with_residual.then_some(residual.as_slice());
            let expected = cpu::forward(&x, residual, &of_cpu(), planes, activation);
            check("y", &y.unwrap(), &expected, tolerance);

            let output = rounded(&expected, dtype);
            let on_gpu = gpu.upload(&output, dtype);
            let masked = activation == Activation::Relu;
            for of_batch in [true, false] {
                let found = Backward {
                    x: gpu_x,
                    gradient: gpu_gradient,
                    output: masked.then(|| gpu.view(&on_gpu)),
                    channels: of_gpu(),
                    of_batch,
                }
                .run(gpu, "batch_norm", planes, [true, of_batch, masked])
                .unwrap();
                let expected = cpu::Backward {
                    x: &x,
                    gradient: &gradient,
                    output: masked.then_some(&output),
                    channels: of_cpu(),
                    grid: planes,
                    of_batch,
                }
                .run(true, of_batch, masked);
                for (name, found, expected) in [
                    ("dx", found.x, expected.x),
                    ("parameters", found.packed, expected.packed),
                    ("masked", found.masked, expected.masked),
                ] {
                    assert_eq!(found.is_some(), expected.is_some());
                    if let (Some(found), Some(expected)) = (found, expected) {
                        check(name, &found, &expected, tolerance);
                    }
                }
            }
        }
    }
}
