//! The gated linear unit on a GPU.

use super::OP;
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, lanes, suffix};
use candle_core::Result;

/// a · sigmoid(b).
pub(super) fn forward<G: Gpu>(gpu: &G, x: View<'_, G::Memory>, run: usize) -> Result<G::Memory> {
    let length = x.length / 2;
    pass(gpu, "glu", &[x], (length, run), length)
}

/// The gradients of a and b.
pub(super) fn backward<G: Gpu>(
    gpu: &G,
    x: View<'_, G::Memory>,
    gradient: View<'_, G::Memory>,
    run: usize,
) -> Result<G::Memory> {
    let form = (gradient.length, run);
    pass(gpu, "glu_gradient", &[x, gradient], form, x.length)
}

/// One kernel over the `length` elements of the result that writes `written` numbers.
fn pass<G: Gpu>(
    gpu: &G,
    kernel: &str,
    operands: &[View<'_, G::Memory>],
    (length, run): (usize, usize),
    written: usize,
) -> Result<G::Memory> {
    let dtype = operands[0].dtype;
    let name = format!("{kernel}_{}", suffix(OP, "x", dtype)?);
    let mut output = gpu.allocate(dtype, written)?;
    if length == 0 {
        return Ok(output);
    }
    let packed = run.is_multiple_of(lanes(dtype)) && operands.iter().all(|view| view.aligned());
    let items = if packed {
        length / lanes(dtype)
    } else {
        length
    };
    let mut arguments: Vec<_> = operands.iter().copied().map(Argument::Read).collect();
    arguments.push(Argument::write(&mut output));
    arguments.extend([
        Argument::size(length),
        Argument::size(run),
        Argument::Int(packed.into()),
    ]);
    let kernel = Kernel {
        module: OP,
        name: &name,
    };
    gpu.launch(kernel, Grid::over(gpu, items), &mut arguments)?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::super::cpu;
    use super::{backward, forward};
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{TYPES, assert_close, emulate, numbers, rounded};

    #[test]
    fn emulated_passes_equal_the_specification() {
        emulate("glu/glu.cu", |gpu| {
            for (dtype, tolerance) in TYPES {
                for (outer, run, start) in [
                    (0, 8, 0),
                    (3, 0, 0),
                    (1, 1, 0),
                    (5, 40, 0),
                    (5, 40, 1),
                    (3, 37, 0),
                    (2, 1600, 0),
                ] {
                    let (length, whole) = (outer * run, 2 * outer * run);
                    let x = rounded(&numbers("x", start + whole), dtype);
                    let g = rounded(&numbers("g", start + length), dtype);
                    let on_gpu = (gpu.upload(&x, dtype), gpu.upload(&g, dtype));
                    let view_x = gpu.view(&on_gpu.0).narrow(start, whole);
                    let view_g = gpu.view(&on_gpu.1).narrow(start, length);
                    let (x, g) = (&x[start..], &g[start..]);
                    let found = forward(gpu, view_x, run).unwrap();
                    let expected = cpu::forward(x, run);
                    assert_close("glu", &gpu.download(&found), &expected, tolerance);
                    let found = backward(gpu, view_x, view_g, run).unwrap();
                    let expected = cpu::backward(x, g, run);
                    assert_close("gradient", &gpu.download(&found), &expected, tolerance);
                }
            }
        });
    }
}
