//! Binary cross-entropy on a GPU.

use super::OP;
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, suffix};
use candle_core::{DType, Result};

/// The mean loss; 8 bytes a block of workspace.
pub(super) fn mean_loss<G: Gpu>(
    gpu: &G,
    logits: View<'_, G::Memory>,
    targets: View<'_, G::Memory>,
) -> Result<G::Memory> {
    let (dtype, length) = (logits.dtype, logits.length);
    let suffix = suffix(OP, "logits", dtype)?;
    let grid = Grid::over(gpu, length);
    let mut partial = gpu.allocate(DType::F64, grid.blocks())?;
    let mut arguments = [
        Argument::Read(logits),
        Argument::Read(targets),
        Argument::write(&mut partial),
        Argument::size(length),
    ];
    gpu.launch(
        kernel(&format!("binary_losses_{suffix}")),
        grid,
        &mut arguments,
    )?;
    let mut loss = gpu.allocate(dtype, 1)?;
    let mut arguments = [
        Argument::Read(gpu.view(&partial)),
        Argument::write(&mut loss),
        Argument::int(grid.blocks())?,
        // The mean over nothing is 0 / 0.
        Argument::Real(length as f64),
    ];
    let name = format!("binary_finish_{suffix}");
    gpu.launch(kernel(&name), Grid([1; 3]), &mut arguments)?;
    Ok(loss)
}

/// The gradient in the logits if there are targets, else that in the targets; `gradient` is one number.
pub(super) fn gradient<G: Gpu>(
    gpu: &G,
    logits: View<'_, G::Memory>,
    targets: Option<View<'_, G::Memory>>,
    gradient: View<'_, G::Memory>,
) -> Result<G::Memory> {
    let (dtype, length) = (logits.dtype, logits.length);
    let suffix = suffix(OP, "logits", dtype)?;
    let name = match targets {
        Some(_) => format!("binary_of_logits_{suffix}"),
        None => format!("binary_of_targets_{suffix}"),
    };
    let mut found = gpu.allocate(dtype, length)?;
    let mut arguments = vec![Argument::Read(logits)];
    arguments.extend(targets.map(Argument::Read));
    arguments.extend([
        Argument::Read(gradient),
        Argument::write(&mut found),
        Argument::size(length),
    ]);
    gpu.launch(kernel(&name), Grid::over(gpu, length), &mut arguments)?;
    Ok(found)
}

fn kernel(name: &str) -> Kernel<'_> {
    Kernel {
        module: "binary_cross_entropy",
        name,
    }
}

#[cfg(test)]
mod tests {
    use super::super::cpu;
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{TYPES, assert_close, emulate, numbers, rounded};

    #[test]
    fn emulated_losses_equal_the_specification() {
        emulate("binary_cross_entropy/binary_cross_entropy.cu", |gpu| {
            for (dtype, tolerance) in TYPES {
                for length in [0, 1, 7, 700] {
                    let scaled: Vec<f64> = numbers("x", length).iter().map(|x| 200.0 * x).collect();
                    let (x, y) = (
                        rounded(&scaled, dtype),
                        rounded(&numbers("y", length), dtype),
                    );
                    let on_gpu = [
                        gpu.upload(&x, dtype),
                        gpu.upload(&y, dtype),
                        gpu.upload(&[0.5], dtype),
                    ];
                    let [x_view, y_view, g_view] = on_gpu.each_ref().map(|memory| gpu.view(memory));
                    let check = |what: &str, found: &_, expected: &[f64]| {
                        let what = format!("{what} {dtype:?} {length}");
                        assert_close(&what, &gpu.download(found), expected, tolerance);
                    };
                    let loss = super::mean_loss(gpu, x_view, y_view).unwrap();
                    check("loss", &loss, &[cpu::mean_loss(&x, &y)]);
                    let found = super::gradient(gpu, x_view, Some(y_view), g_view).unwrap();
                    check("dx", &found, &cpu::logits_gradient(&x, &y, 0.5));
                    let found = super::gradient(gpu, x_view, None, g_view).unwrap();
                    check("dy", &found, &cpu::targets_gradient(&x, 0.5));
                }
            }
        });
    }
}
