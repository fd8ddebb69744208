//! Dropout on a GPU: the same hash, hence the same mask.

use super::{Mask, OP};
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, suffix};
use candle_core::Result;

/// x under the mask.
pub(super) fn apply<G: Gpu>(gpu: &G, x: View<'_, G::Memory>, mask: Mask) -> Result<G::Memory> {
    let name = format!("dropout_{}", suffix(OP, "x", x.dtype)?);
    let (dtype, length) = (x.dtype, x.length);
    let mut output = gpu.allocate(dtype, length)?;
    if length == 0 {
        return Ok(output);
    }
    let mut arguments = [
        Argument::Read(x),
        Argument::write(&mut output),
        Argument::size(length),
        Argument::Long(mask.key.cast_signed()),
        Argument::Long(mask.threshold.into()),
        Argument::Real(mask.scale),
    ];
    let kernel = Kernel {
        module: OP,
        name: &name,
    };
    gpu.launch(kernel, Grid::over(gpu, length), &mut arguments)?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::super::{Mask, cpu};
    use super::apply;
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{TYPES, assert_close, emulate, numbers, rounded};

    #[test]
    fn an_emulated_pass_equals_the_specification() {
        emulate("dropout/dropout.cu", |gpu| {
            for (dtype, tolerance) in TYPES {
                for (length, start) in [(0, 0), (1, 0), (1000, 0), (1000, 1), (5000, 3)] {
                    let x = rounded(&numbers("x", start + length), dtype);
                    let on_gpu = gpu.upload(&x, dtype);
                    let view = gpu.view(&on_gpu).narrow(start, length);
                    let mask = Mask::new(0.3, 0xF00D_0000_0000_0007);
                    let found = apply(gpu, view, mask).unwrap();
                    let expected = cpu::apply(&x[start..], mask);
                    assert_close("dropout", &gpu.download(&found), &expected, tolerance);
                }
            }
        });
    }
}
