//! `log_softmax` on a GPU.

use super::OP;
use crate::cuda::{Argument, Gpu, Kernel, View, rows_grid, suffix};
use candle_core::Result;

/// `x − ln Σ exp x` of every row.
pub(super) fn forward<G: Gpu>(
    gpu: &G,
    x: View<'_, G::Memory>,
    classes: usize,
) -> Result<G::Memory> {
    pass(gpu, "forward", &[x], classes)
}

/// `g − exp(output) · Σ g` of every row.
pub(super) fn backward<G: Gpu>(
    gpu: &G,
    output: View<'_, G::Memory>,
    gradient: View<'_, G::Memory>,
    classes: usize,
) -> Result<G::Memory> {
    pass(gpu, "backward", &[output, gradient], classes)
}

fn pass<G: Gpu>(
    gpu: &G,
    kernel: &str,
    operands: &[View<'_, G::Memory>],
    classes: usize,
) -> Result<G::Memory> {
    let (dtype, length) = (operands[0].dtype, operands[0].length);
    let mut result = gpu.allocate(dtype, length)?;
    if length == 0 {
        return Ok(result);
    }
    let rows = length / classes;
    let (grid, long) = rows_grid(gpu, rows, classes);
    let mut arguments: Vec<_> = operands.iter().copied().map(Argument::Read).collect();
    arguments.push(Argument::write(&mut result));
    arguments.extend([Argument::size(rows), Argument::size(classes)]);
    let kind = if long { "_long" } else { "" };
    let name = format!("{OP}_{kernel}{kind}_{}", suffix(OP, "x", dtype)?);
    let kernel = Kernel {
        module: OP,
        name: &name,
    };
    gpu.launch(kernel, grid, &mut arguments)?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::super::cpu;
    use super::{backward, forward};
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{TYPES, assert_close, emulate, numbers, rounded};

    #[test]
    fn emulated_rows_equal_the_specification() {
        emulate("log_softmax/log_softmax.cu", |gpu| {
            for (dtype, tolerance) in TYPES {
                for (rows, classes) in [(9, 10), (1, 1), (3, 100), (2, 1500), (0, 4)] {
                    let mut x = numbers("x", rows * classes);
                    x.iter_mut().for_each(|x| *x *= 20.0);
                    if rows == 3 {
                        (x[5], x[107]) = (f64::NAN, f64::NEG_INFINITY);
                    }
                    let x = rounded(&x, dtype);
                    let on_gpu = gpu.upload(&x, dtype);
                    let y = forward(gpu, gpu.view(&on_gpu), classes).unwrap();
                    let expected = cpu::forward(&x, classes);
                    assert_close("y", &gpu.download(&y), &expected, tolerance);
                    let (y, g) = (rounded(&expected, dtype), numbers("g", rows * classes));
                    let g = rounded(&g, dtype);
                    let on_gpu = (gpu.upload(&y, dtype), gpu.upload(&g, dtype));
                    let dx = backward(gpu, gpu.view(&on_gpu.0), gpu.view(&on_gpu.1), classes);
                    let expected = cpu::backward(&y, &g, classes);
                    let found = gpu.download(&dx.unwrap());
                    assert_close("dx", &found, &expected, 4.0 * tolerance);
                }
            }
        });
    }
}
