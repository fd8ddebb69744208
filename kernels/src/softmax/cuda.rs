//! Softmax and its logarithm on a GPU.

use crate::axis::Axis;
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, lanes, suffix};
use candle_core::Result;

/// Rows up to this length have a warp each, longer ones a block.
const SHORT: usize = 1024;
/// Threads of a warp.
const WARP: usize = 32;

/// The probabilities or, with `log`, their logarithms.
pub(super) fn forward<G: Gpu>(
    gpu: &G,
    x: View<'_, G::Memory>,
    axis: Axis,
    log: bool,
) -> Result<G::Memory> {
    pass(gpu, "softmax", &[x], axis, log)
}

/// dx from the result y and its gradient.
pub(super) fn backward<G: Gpu>(
    gpu: &G,
    y: View<'_, G::Memory>,
    gradient: View<'_, G::Memory>,
    axis: Axis,
    log: bool,
) -> Result<G::Memory> {
    pass(gpu, "softmax_gradient", &[y, gradient], axis, log)
}

fn pass<G: Gpu>(
    gpu: &G,
    kernel: &str,
    operands: &[View<'_, G::Memory>],
    axis: Axis,
    log: bool,
) -> Result<G::Memory> {
    let dtype = operands[0].dtype;
    let suffix = suffix("softmax", "x", dtype)?;
    let mut output = gpu.allocate(dtype, operands[0].length)?;
    if operands[0].length == 0 {
        return Ok(output);
    }
    let mut arguments: Vec<_> = operands.iter().copied().map(Argument::Read).collect();
    arguments.push(Argument::write(&mut output));
    let columns = axis.outer * axis.inner;
    arguments.extend([Argument::size(columns), Argument::int(axis.size)?]);
    let (name, grid) = if axis.inner == 1 {
        let packed =
            axis.size.is_multiple_of(lanes(dtype)) && operands.iter().all(|view| view.aligned());
        arguments.extend([Argument::Int(log.into()), Argument::Int(packed.into())]);
        let (team, threads) = match axis.size <= SHORT {
            true => ("warp", WARP),
            false => ("block", gpu.threads()),
        };
        let name = format!("{kernel}_{team}_{suffix}");
        (name, Grid::over(gpu, columns * threads))
    } else {
        arguments.extend([Argument::size(axis.inner), Argument::Int(log.into())]);
        let name = format!("{kernel}_columns_{suffix}");
        (name, Grid::over(gpu, columns))
    };
    let kernel = Kernel {
        module: "softmax",
        name: &name,
    };
    gpu.launch(kernel, grid, &mut arguments)?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::super::cpu;
    use super::{backward, forward};
    use crate::axis::Axis;
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{TYPES, assert_close, emulate, numbers, rounded};

    #[test]
    fn emulated_passes_equal_the_specification() {
        emulate("softmax/softmax.cu", |gpu| {
            for (dtype, tolerance) in TYPES {
                for (outer, size, inner, start) in [
                    (0, 3, 1, 0),
                    (3, 0, 2, 0),
                    (1, 1, 1, 0),
                    (9, 40, 1, 0),
                    (9, 40, 1, 1),
                    (4, 37, 1, 0),
                    (5, 1100, 1, 0),
                    (2, 1027, 1, 0),
                    (3, 5, 70, 0),
                ] {
                    let axis = Axis { outer, size, inner };
                    let length = outer * size * inner;
                    let x: Vec<f64> = numbers("x", start + length)
                        .into_iter()
                        .map(|value| 5.0 * value)
                        .collect();
                    let mut x = rounded(&x, dtype);
                    if size > 30 {
                        x[start + 7] = f64::NEG_INFINITY;
                        x[start + size * inner + 3] = f64::NAN;
                    }
                    let g = rounded(&numbers("g", start + length), dtype);
                    let on_gpu = (gpu.upload(&x, dtype), gpu.upload(&g, dtype));
                    let view_x = gpu.view(&on_gpu.0).narrow(start, length);
                    let view_g = gpu.view(&on_gpu.1).narrow(start, length);
                    for log in [false, true] {
                        let check = |what: &str, found: &_, expected: &[f64]| {
                            let what = format!("{what} {axis:?} {log}");
                            assert_close(&what, &gpu.download(found), expected, 2.0 * tolerance);
                        };
                        let found = forward(gpu, view_x, axis, log).unwrap();
                        check("forward", &found, &cpu::forward(&x[start..], axis, log));
                        // The specification has the same y, as its type holds it.
                        let y = gpu.download(&found);
                        let view_y = gpu.view(&found);
                        let found = backward(gpu, view_y, view_g, axis, log).unwrap();
                        let expected = cpu::backward(&y, &g[start..], axis, log);
                        check("backward", &found, &expected);
                    }
                }
            }
        });
    }
}
