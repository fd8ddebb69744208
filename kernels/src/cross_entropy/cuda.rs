//! `cross_entropy` on a GPU.

use super::OP;
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, rows_grid, suffix};
use candle_core::{DType, Result};

/// The mean loss (one number) and, if wanted, its gradient; workspace: 8 bytes a row.
pub(super) fn forward<G: Gpu>(
    gpu: &G,
    logits: View<'_, G::Memory>,
    targets: View<'_, G::Memory>,
    classes: usize,
    smoothing: f64,
    wanted: bool,
) -> Result<(G::Memory, Option<G::Memory>)> {
    let (dtype, rows) = (logits.dtype, targets.length);
    let suffix = suffix(OP, "logits", dtype)?;
    let mut loss = gpu.allocate(dtype, 1)?;
    let mut partial = gpu.allocate(DType::F64, rows)?;
    let mut gradient = wanted
        .then(|| gpu.allocate(dtype, logits.length))
        .transpose()?;
    if logits.length > 0 {
        let (grid, long) = rows_grid(gpu, rows, classes);
        let mut arguments = [
            Argument::Read(logits),
            Argument::Read(targets),
            Argument::write(&mut partial),
            Argument::write_if(gradient.as_mut()),
            Argument::int(rows)?,
            Argument::int(classes)?,
            Argument::Real(smoothing),
        ];
        let kind = if long { "_long" } else { "" };
        launch(gpu, &format!("rows{kind}_{suffix}"), grid, &mut arguments)?;
    }
    let mut arguments = [
        Argument::Read(gpu.view(&partial)),
        Argument::write(&mut loss),
        Argument::size(rows),
    ];
    launch(
        gpu,
        &format!("finish_{suffix}"),
        Grid([1; 3]),
        &mut arguments,
    )?;
    Ok((loss, gradient))
}

fn launch<G: Gpu>(
    gpu: &G,
    kernel: &str,
    grid: Grid,
    arguments: &mut [Argument<'_, G::Memory>],
) -> Result<()> {
    let name = format!("{OP}_{kernel}");
    let kernel = Kernel {
        module: OP,
        name: &name,
    };
    gpu.launch(kernel, grid, arguments)
}

#[cfg(test)]
mod tests {
    use super::super::cpu;
    use super::forward;
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{TYPES, assert_close, emulate, numbers, rounded};
    use candle_core::DType;

    #[test]
    fn emulated_loss_equals_the_specification() {
        emulate("cross_entropy/cross_entropy.cu", |gpu| {
            for (dtype, tolerance) in TYPES {
                for (rows, classes) in [(9, 10), (1, 1), (3, 100), (2, 1500), (0, 4)] {
                    for smoothing in [0.0, 0.1] {
                        let mut logits = numbers("logits", rows * classes);
                        logits.iter_mut().for_each(|x| *x *= 8.0);
                        let logits = rounded(&logits, dtype);
                        let targets: Vec<u32> = (0..rows)
                            .map(|row| ((row * 7 + 3) % classes) as u32)
                            .collect();
                        let indices: Vec<f64> = targets.iter().map(|&t| f64::from(t)).collect();
                        let on_gpu = (gpu.upload(&logits, dtype), gpu.upload(&indices, DType::U32));
                        let (loss, gradient) = forward(
                            gpu,
                            gpu.view(&on_gpu.0),
                            gpu.view(&on_gpu.1),
                            classes,
                            smoothing,
                            true,
                        )
                        .unwrap();
                        let (expected, of_logits) =
                            cpu::forward(&logits, &targets, classes, smoothing, true);
                        assert_close("loss", &gpu.download(&loss), &[expected], tolerance);
                        let gradient = gpu.download(&gradient.unwrap());
                        let of_logits = of_logits.unwrap();
                        assert_close("gradient", &gradient, &of_logits, 4.0 * tolerance);
                    }
                }
            }
            let on_gpu = (
                gpu.upload(&[0.0; 3], DType::F32),
                gpu.upload(&[3.0], DType::U32),
            );
            let (logits, targets) = (gpu.view(&on_gpu.0), gpu.view(&on_gpu.1));
            let (loss, _) = forward(gpu, logits, targets, 3, 0.0, false).unwrap();
            assert!(gpu.download(&loss)[0].is_nan(), "a class out of range");
        });
    }
}
