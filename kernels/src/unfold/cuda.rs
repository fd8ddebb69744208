//! The derivative of unfold on a GPU; unfold itself is a strided copy.

use super::{Frames, OP};
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, suffix};
use candle_core::Result;

/// Lines of frames to lines of elements.
pub(super) fn fold<G: Gpu>(
    gpu: &G,
    frames: View<'_, G::Memory>,
    shape: &Frames,
) -> Result<G::Memory> {
    let lines = frames.length / (shape.count() * shape.size);
    let mut result = gpu.allocate(frames.dtype, lines * shape.length)?;
    let mut arguments = vec![Argument::Read(frames), Argument::write(&mut result)];
    let sizes = [lines, shape.length, shape.count(), shape.size, shape.step];
    arguments.extend(sizes.map(Argument::size));
    let name = format!("fold_{}", suffix(OP, "gradient", frames.dtype)?);
    let kernel = Kernel {
        module: "unfold",
        name: &name,
    };
    let grid = Grid::over(gpu, lines * shape.length);
    gpu.launch(kernel, grid, &mut arguments)?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::super::{Frames, cpu};
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{TYPES, assert_close, emulate, numbers, rounded};

    #[test]
    fn emulated_folds_equal_the_specification() {
        emulate("unfold/unfold.cu", |gpu| {
            for (dtype, tolerance) in TYPES {
                for (lines, length, size, step) in [
                    (1, 1, 1, 1),
                    (3, 20, 5, 2),
                    (2, 300, 7, 9),
                    (1, 41, 41, 3),
                    (2, 50, 8, 1),
                ] {
                    let shape = Frames {
                        axis: 0,
                        length,
                        size,
                        step,
                    };
                    let frames = numbers("frames", lines * shape.count() * size);
                    let frames = rounded(&frames, dtype);
                    let on_gpu = gpu.upload(&frames, dtype);
                    let found = super::fold(gpu, gpu.view(&on_gpu), &shape).unwrap();
                    let what = format!("{dtype:?} {length} {size} {step}");
                    assert_close(
                        &what,
                        &gpu.download(&found),
                        &cpu::fold(&frames, &shape),
                        tolerance,
                    );
                }
            }
        });
    }
}
