//! The bias on a GPU.

use super::OP;
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, suffix};
use candle_core::Result;

/// Every row plus `bias`.
pub(super) fn add_bias<G: Gpu>(
    gpu: &G,
    x: View<'_, G::Memory>,
    bias: View<'_, G::Memory>,
) -> Result<G::Memory> {
    let mut y = gpu.allocate(x.dtype, x.length)?;
    if x.length == 0 {
        return Ok(y);
    }
    let mut arguments = [
        Argument::Read(x),
        Argument::Read(bias),
        Argument::write(&mut y),
        Argument::int(x.length)?,
        Argument::int(bias.length)?,
    ];
    let name = format!("linear_add_bias_{}", suffix(OP, "x", x.dtype)?);
    gpu.launch(kernel(&name), Grid::over(gpu, x.length), &mut arguments)?;
    Ok(y)
}

/// The sum of every column, in f64.
pub(super) fn column_sums<G: Gpu>(
    gpu: &G,
    values: View<'_, G::Memory>,
    columns: usize,
) -> Result<G::Memory> {
    let mut sums = gpu.allocate(values.dtype, columns)?;
    if columns == 0 {
        return Ok(sums);
    }
    let mut arguments = [
        Argument::Read(values),
        Argument::write(&mut sums),
        Argument::size(values.length / columns),
        Argument::size(columns),
    ];
    let name = format!(
        "linear_column_sums_{}",
        suffix(OP, "gradient", values.dtype)?
    );
    gpu.launch(kernel(&name), Grid::over(gpu, columns), &mut arguments)?;
    Ok(sums)
}

fn kernel(name: &str) -> Kernel<'_> {
    Kernel { module: OP, name }
}

#[cfg(test)]
mod tests {
    use super::super::cpu;
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{TYPES, assert_close, emulate, numbers, rounded};

    #[test]
    fn emulated_bias_equals_the_specification() {
        emulate("linear/linear.cu", |gpu| {
            for (dtype, tolerance) in TYPES {
                for (rows, columns) in [(3, 10), (1, 1), (40, 300), (0, 5)] {
                    let x = rounded(&numbers("x", rows * columns), dtype);
                    let bias = rounded(&numbers("bias", columns), dtype);
                    let on_gpu = (gpu.upload(&x, dtype), gpu.upload(&bias, dtype));
                    let (view, bias_view) = (gpu.view(&on_gpu.0), gpu.view(&on_gpu.1));
                    let y = super::add_bias(gpu, view, bias_view).unwrap();
                    let expected = cpu::add_bias(&x, &bias);
                    assert_close("y", &gpu.download(&y), &expected, tolerance);
                    let sums = super::column_sums(gpu, view, columns).unwrap();
                    let expected = cpu::column_sums(&x, columns);
                    assert_close("sums", &gpu.download(&sums), &expected, tolerance);
                }
            }
        });
    }
}
