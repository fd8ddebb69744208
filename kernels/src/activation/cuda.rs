//! The elementwise functions on a GPU.

use super::function::Function;
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, lanes, suffix};
use candle_core::Result;

/// f(x).
pub(super) fn values<G: Gpu>(
    gpu: &G,
    function: Function,
    x: View<'_, G::Memory>,
) -> Result<G::Memory> {
    let name = function.name();
    pass(gpu, name, name, &[x], function.constants())
}

/// g · f′(x), from what the function saves and g.
pub(super) fn gradients<G: Gpu>(
    gpu: &G,
    function: Function,
    saved: View<'_, G::Memory>,
    gradient: View<'_, G::Memory>,
) -> Result<G::Memory> {
    let name = function.name();
    let kernel = format!("{name}_gradient");
    pass(gpu, name, &kernel, &[saved, gradient], function.constants())
}

/// max(a + b, 0).
pub(super) fn add_relu<G: Gpu>(
    gpu: &G,
    a: View<'_, G::Memory>,
    b: View<'_, G::Memory>,
) -> Result<G::Memory> {
    pass(gpu, "add_relu", "add_relu", &[a, b], [0.0; 2])
}

/// One kernel that reads `operands` and writes as many numbers.
fn pass<G: Gpu>(
    gpu: &G,
    op: &'static str,
    kernel: &str,
    operands: &[View<'_, G::Memory>],
    constants: [f64; 2],
) -> Result<G::Memory> {
    let (dtype, length) = (operands[0].dtype, operands[0].length);
    let name = format!("{kernel}_{}", suffix(op, "x", dtype)?);
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
    arguments.extend(constants.map(Argument::Real));
    let kernel = Kernel {
        module: "activation",
        name: &name,
    };
    gpu.launch(kernel, Grid::over(gpu, items), &mut arguments)?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::super::function::Function;
    use super::super::op::{Gradients, Values};
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{TYPES, assert_close, emulate, numbers, rounded};

    const FUNCTIONS: [Function; 13] = [
        Function::Relu,
        Function::LeakyRelu { slope: 0.3 },
        Function::Elu {
            alpha: 0.7,
            scale: 1.1,
        },
        Function::Relu6,
        Function::HardSigmoid,
        Function::HardSwish,
        Function::Sigmoid,
        Function::Tanh,
        Function::Softplus,
        Function::Silu,
        Function::Mish,
        Function::Gelu,
        Function::GeluTanh,
    ];

    #[test]
    fn emulated_passes_equal_the_specification() {
        emulate("activation/activation.cu", |gpu| {
            for (dtype, tolerance) in TYPES {
                for (length, start) in [(0, 0), (1, 0), (7, 1), (1003, 0), (1500, 3)] {
                    let mut a: Vec<f64> = numbers("a", start + length)
                        .into_iter()
                        .map(|value| 7.0 * value)
                        .collect();
                    for (place, special) in
                        a.iter_mut()
                            .rev()
                            .zip([f64::NAN, -40.0, 3.0, -3.0, 0.0, 30.0])
                    {
                        *place = special;
                    }
                    let b = numbers("b", start + length);
                    let (a, b) = (rounded(&a, dtype), rounded(&b, dtype));
                    let on_gpu = (gpu.upload(&a, dtype), gpu.upload(&b, dtype));
                    let (a, b) = (&a[start..], &b[start..]);
                    let view = |memory| gpu.view(memory).narrow(start, length);
                    let (view_a, view_b) = (view(&on_gpu.0), view(&on_gpu.1));
                    let check = |what, found: &_, expected: &[f64]| {
                        assert_close(what, &gpu.download(found), expected, 3.0 * tolerance);
                    };
                    for function in FUNCTIONS {
                        let y = super::values(gpu, function, view_a).unwrap();
                        check(function.name(), &y, &function.visit(Values(a)));
                        let dx = super::gradients(gpu, function, view_a, view_b).unwrap();
                        check(function.name(), &dx, &function.visit(Gradients(a, b)));
                    }
                    let y = super::add_relu(gpu, view_a, view_b).unwrap();
                    let sum: Vec<f64> = a.iter().zip(b).map(|(a, b)| a + b).collect();
                    check("add_relu", &y, &Function::Relu.visit(Values(&sum)));
                }
            }
        });
    }
}
