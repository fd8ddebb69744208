//! Positions of maxima on a GPU.

use super::OP;
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, suffix};
use candle_core::{DType, Result};

/// For `[…, length, inner]` the position along the middle axis of each line's first maximum.
pub(super) fn first_maxima<G: Gpu>(
    gpu: &G,
    x: View<'_, G::Memory>,
    length: usize,
    inner: usize,
) -> Result<G::Memory> {
    const WARP: usize = 32;
    let suffix = suffix(OP, "x", x.dtype)?;
    let lines = x.length / length.max(1);
    let mut found = gpu.allocate(DType::U32, lines)?;
    let mut arguments = vec![Argument::Read(x), Argument::write(&mut found)];
    arguments.extend([lines, length].map(Argument::size));
    let (name, threads) = match inner {
        1 => (format!("first_maxima_of_runs_{suffix}"), lines * WARP),
        _ => {
            arguments.push(Argument::size(inner));
            (format!("first_maxima_{suffix}"), lines)
        }
    };
    let kernel = Kernel {
        module: OP,
        name: &name,
    };
    gpu.launch(kernel, Grid::over(gpu, threads), &mut arguments)?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::cpu;
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{TYPES, emulate, numbers};

    #[test]
    fn emulated_maxima_equal_the_specification() {
        emulate("max_axis/max_axis.cu", |gpu| {
            for (dtype, _) in TYPES {
                for (blocks, length, inner) in [
                    (1, 1, 1),
                    (3, 7, 1),
                    (40, 33, 1),
                    (2, 100, 1),
                    (2, 9, 5),
                    (0, 3, 1),
                    (3, 5, 200),
                ] {
                    // Few values: most lines have ties; some have NaN.
                    let values = numbers("maxima", blocks * length * inner);
                    let mut x: Vec<f64> =
                        values.iter().map(|value| (value * 3.0).round()).collect();
                    for place in (5..x.len()).step_by(61) {
                        x[place] = if place % 2 == 0 {
                            f64::NAN
                        } else {
                            f64::NEG_INFINITY
                        };
                    }
                    let on_gpu = gpu.upload(&x, dtype);
                    let found = super::first_maxima(gpu, gpu.view(&on_gpu), length, inner).unwrap();
                    let expected: Vec<f64> = cpu::first_maxima(&x, length, inner)
                        .into_iter()
                        .map(f64::from)
                        .collect();
                    assert_eq!(
                        gpu.download(&found),
                        expected,
                        "{dtype:?} {blocks} {length} {inner}"
                    );
                }
            }
        });
    }
}
