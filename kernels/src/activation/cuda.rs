//! The rectifier on a GPU.

use crate::cuda::{Argument, Gpu, Grid, Kernel, View, lanes, suffix};
use candle_core::Result;

/// max(x, 0).
pub(super) fn relu<G: Gpu>(gpu: &G, x: View<'_, G::Memory>) -> Result<G::Memory> {
    pass(gpu, ("relu", "x"), "relu", &[x])
}

/// max(a + b, 0).
pub(super) fn add_relu<G: Gpu>(
    gpu: &G,
    a: View<'_, G::Memory>,
    b: View<'_, G::Memory>,
) -> Result<G::Memory> {
    pass(gpu, ("add_relu", "a"), "add_relu", &[a, b])
}

/// The gradient where the output is positive.
pub(super) fn masked_gradient<G: Gpu>(
    gpu: &G,
    output: View<'_, G::Memory>,
    gradient: View<'_, G::Memory>,
) -> Result<G::Memory> {
    let name = ("relu", "gradient");
    pass(gpu, name, "masked_gradient", &[output, gradient])
}

/// One kernel that reads `operands` and writes as many numbers.
fn pass<G: Gpu>(
    gpu: &G,
    (op, argument): (&'static str, &'static str),
    kernel: &str,
    operands: &[View<'_, G::Memory>],
) -> Result<G::Memory> {
    let (dtype, length) = (operands[0].dtype, operands[0].length);
    let name = format!("{kernel}_{}", suffix(op, argument, dtype)?);
    let mut output = gpu.allocate(dtype, length)?;
    if length == 0 {
        return Ok(output);
    }
    let packed = operands.iter().all(|operand| operand.aligned());
    let items = if packed {
        length.div_ceil(lanes(dtype))
    } else {
        length
    };
    let mut arguments: Vec<_> = operands.iter().copied().map(Argument::Read).collect();
    arguments.push(Argument::write(&mut output));
    arguments.push(Argument::size(length));
    arguments.push(Argument::Int(packed.into()));
    let kernel = Kernel {
        module: "activation",
        name: &name,
    };
    gpu.launch(kernel, Grid::over(gpu, items), &mut arguments)?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::super::cpu;
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{TYPES, assert_close, emulate, numbers, rounded};

    #[test]
    fn emulated_passes_equal_the_specification() {
        emulate("activation/activation.cu", |gpu| {
            for (dtype, tolerance) in TYPES {
                for (length, start) in [(0, 0), (1, 0), (7, 1), (1000, 0), (7001, 0), (2500, 3)] {
                    let mut a = numbers("a", start + length);
                    if let Some(last) = a.last_mut() {
                        *last = f64::NAN;
                    }
                    let b = numbers("b", start + length);
                    let (a, b) = (rounded(&a, dtype), rounded(&b, dtype));
                    let on_gpu = (gpu.upload(&a, dtype), gpu.upload(&b, dtype));
                    let (a, b) = (&a[start..], &b[start..]);
                    let view = |memory| gpu.view(memory).narrow(start, length);
                    let (view_a, view_b) = (view(&on_gpu.0), view(&on_gpu.1));
                    let check = |what, found: &_, expected: &[f64]| {
                        assert_close(what, &gpu.download(found), expected, tolerance);
                    };
                    let y = super::relu(gpu, view_a).unwrap();
                    check("relu", &y, &cpu::relu(a));
                    let y = super::add_relu(gpu, view_a, view_b).unwrap();
                    check("add_relu", &y, &cpu::add_relu(a, b));
                    let dx = super::masked_gradient(gpu, view_a, view_b).unwrap();
                    check("gradient", &dx, &cpu::masked_gradient(a, b));
                }
            }
        });
    }
}
