//! Sums on a GPU: see `sum_axes.cu`.

use super::cpu::{Problem, count};
use crate::copy_strided::cpu::Axis;
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, suffix};
use candle_core::{DType, Result};

/// Threads that keep a device busy.
const THREADS_WANTED: usize = 1 << 16;
/// Terms of a sum that a thread adds at least.
const TERMS: usize = 16;

/// The sums over the axes marked in `summed`. Workspace: 8 bytes for each part of a sum.
pub(super) fn sum<G: Gpu>(
    gpu: &G,
    x: View<'_, G::Memory>,
    dims: &[usize],
    summed: &[bool],
) -> Result<G::Memory> {
    let suffix = suffix("sum_axes", "x", x.dtype)?;
    let problem = Problem::new(dims, summed);
    let kept = dims.iter().zip(summed).filter(|(_, summed)| !**summed);
    let outputs: usize = kept.map(|(&length, _)| length).product();
    let rows = if x.length == 0 {
        0
    } else {
        count(&problem.summed)
    };
    let (name, terms, threads) = match problem.within {
        true => ("sum_runs", rows * problem.run, gpu.threads()),
        false => ("sum_columns", rows, 1),
    };
    let most = (terms / (threads * TERMS)).max(1);
    let parts = (THREADS_WANTED / (outputs * threads).max(1)).clamp(1, most);
    let mut partial = gpu.allocate(DType::F64, outputs * parts)?;
    let mut sums = gpu.allocate(x.dtype, outputs)?;
    if outputs == 0 {
        return Ok(sums);
    }
    let mut arguments = vec![Argument::Read(x), Argument::write(&mut partial)];
    arguments.extend([outputs, terms, parts, problem.run].map(Argument::size));
    for axes in [&problem.kept, &problem.summed] {
        let Some(missing) = 4usize.checked_sub(axes.len()) else {
            candle_core::bail!(
                "more than 8 axes kept and summed by turns cannot be summed on a GPU"
            );
        };
        let one = Axis {
            length: 1,
            stride: 0,
        };
        for axis in std::iter::repeat_n(&one, missing).chain(axes) {
            arguments.extend([axis.length, axis.stride].map(Argument::size));
        }
    }
    let name = format!("{name}_{suffix}");
    let grid = Grid::over(gpu, outputs * parts * threads);
    gpu.launch(kernel(&name), grid, &mut arguments)?;
    let mut arguments = [
        Argument::Read(gpu.view(&partial)),
        Argument::write(&mut sums),
        Argument::size(outputs),
        Argument::size(parts),
    ];
    let name = format!("sum_finish_{suffix}");
    gpu.launch(kernel(&name), Grid::over(gpu, outputs), &mut arguments)?;
    Ok(sums)
}

fn kernel(name: &str) -> Kernel<'_> {
    Kernel {
        module: "sum_axes",
        name,
    }
}

#[cfg(test)]
mod tests {
    use super::super::cpu;
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{TYPES, assert_close, emulate, numbers, rounded};

    #[test]
    fn emulated_sums_equal_the_specification() {
        emulate("sum_axes/sum_axes.cu", |gpu| {
            for (dtype, tolerance) in TYPES {
                let cases: [&[usize]; 8] = [
                    &[1],
                    &[5000],
                    &[3, 5, 7],
                    &[200, 33],
                    &[4, 0, 3],
                    &[0, 3],
                    &[2, 3, 2, 3, 2],
                    &[3, 1300],
                ];
                for dims in cases {
                    let x = rounded(&numbers("sums", dims.iter().product()), dtype);
                    let on_gpu = gpu.upload(&x, dtype);
                    for mask in 0..1usize << dims.len() {
                        let summed: Vec<bool> =
                            (0..dims.len()).map(|axis| mask >> axis & 1 == 1).collect();
                        let found = super::sum(gpu, gpu.view(&on_gpu), dims, &summed).unwrap();
                        let expected = cpu::sum(&x, dims, &summed);
                        let what = format!("{dtype:?} {dims:?} {summed:?}");
                        assert_close(&what, &gpu.download(&found), &expected, tolerance);
                    }
                }
            }
        });
    }
}
