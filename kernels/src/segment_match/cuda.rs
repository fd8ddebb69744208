//! `segment_match` on a GPU.

use super::{OP, Segments};
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, lanes, suffix};
use candle_core::{DType, Result};

/// The loss (one number) and the gradients that were asked for.
pub(super) struct Found<M> {
    pub(super) loss: M,
    pub(super) of_expanded: Option<M>,
    pub(super) of_teacher: Option<M>,
}

/// One pass over E and F_t, and one over the blocks' partial sums (8 bytes a block of workspace).
pub(super) fn forward<G: Gpu>(
    gpu: &G,
    expanded: View<'_, G::Memory>,
    teacher: View<'_, G::Memory>,
    shape: Segments,
    of_expanded: bool,
    of_teacher: bool,
) -> Result<Found<G::Memory>> {
    let Segments {
        batch,
        slices,
        image,
    } = shape;
    let dtype = expanded.dtype;
    let suffix = suffix(OP, "expanded", dtype)?;
    let packed = image.is_multiple_of(lanes(dtype)) && expanded.aligned() && teacher.aligned();
    let name = match packed {
        true => format!("segment_match_packed_{suffix}"),
        false => format!("segment_match_{suffix}"),
    };
    let pieces = batch * if packed { image / lanes(dtype) } else { image };
    let grid = Grid::over(gpu, pieces);
    let new = |wanted: bool, length| wanted.then(|| gpu.allocate(dtype, length)).transpose();
    let mut found = Found {
        loss: gpu.allocate(dtype, 1)?,
        of_expanded: new(of_expanded, expanded.length)?,
        of_teacher: new(of_teacher, teacher.length)?,
    };
    let mut partial = gpu.allocate(DType::F64, grid.blocks())?;
    let mut arguments = [
        Argument::Read(expanded),
        Argument::Read(teacher),
        Argument::write_if(found.of_expanded.as_mut()),
        Argument::write_if(found.of_teacher.as_mut()),
        Argument::write(&mut partial),
        Argument::size(batch),
        Argument::int(slices)?,
        Argument::size(image),
        Argument::Real(2.0 / (batch * image) as f64),
    ];
    gpu.launch(kernel(&name), grid, &mut arguments)?;
    let mut arguments = [
        Argument::Read(gpu.view(&partial)),
        Argument::write(&mut found.loss),
        Argument::int(grid.blocks())?,
        // The mean over nothing is 0 / 0.
        Argument::Real(1.0 / (batch * image) as f64),
    ];
    let name = format!("segment_match_finish_{suffix}");
    gpu.launch(kernel(&name), Grid([1; 3]), &mut arguments)?;
    Ok(found)
}

/// `values` times the one number `factor`, in place; free where the factor is 1.
pub(super) fn scale_in_place<G: Gpu>(
    gpu: &G,
    values: &mut G::Memory,
    (dtype, length): (DType, usize),
    factor: View<'_, G::Memory>,
) -> Result<()> {
    if length == 0 {
        return Ok(());
    }
    let name = format!("segment_match_scale_{}", suffix(OP, "gradient", dtype)?);
    let mut arguments = [
        Argument::write(values),
        Argument::Read(factor),
        Argument::size(length),
    ];
    gpu.launch(kernel(&name), Grid::over(gpu, length), &mut arguments)
}

fn kernel(name: &str) -> Kernel<'_> {
    Kernel { module: OP, name }
}

#[cfg(test)]
mod tests {
    use super::super::{Segments, cpu};
    use super::{forward, scale_in_place};
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{Emulation, TYPES, assert_close, emulate, numbers, rounded};
    use candle_core::DType;

    #[test]
    fn emulated_pass_equals_the_specification() {
        emulate("segment_match/segment_match.cu", |gpu| {
            for (dtype, tolerance) in TYPES {
                // Images with and without tails, one slice, one element, nothing at all, and
                // more pieces than the grid has threads.
                for (batch, slices, image) in [
                    (2, 3, 40),
                    (3, 1, 7),
                    (1, 5, 1),
                    (0, 2, 8),
                    (2, 2, 0),
                    (5, 2, 1600),
                ] {
                    let shape = Segments {
                        batch,
                        slices,
                        image,
                    };
                    for wanted in [(true, true), (true, false), (false, true), (false, false)] {
                        compare(gpu, dtype, tolerance, shape, wanted, 0);
                    }
                    compare(gpu, dtype, tolerance, shape, (true, true), 1);
                }
            }
        });
    }

    fn compare(
        gpu: &Emulation,
        dtype: DType,
        tolerance: f64,
        shape: Segments,
        wanted: (bool, bool),
        start: usize,
    ) {
        let image = shape.batch * shape.image;
        let expanded = rounded(&numbers("expanded", start + image * shape.slices), dtype);
        let teacher = rounded(&numbers("teacher", start + image), dtype);
        let on_gpu = (gpu.upload(&expanded, dtype), gpu.upload(&teacher, dtype));
        let view = |memory, length| gpu.view(memory).narrow(start, length);
        let operands = (
            view(&on_gpu.0, image * shape.slices),
            view(&on_gpu.1, image),
        );
        let found = forward(gpu, operands.0, operands.1, shape, wanted.0, wanted.1).unwrap();
        let (expanded, teacher) = (&expanded[start..], &teacher[start..]);
        let expected = cpu::forward::<f64>(expanded, teacher, shape, wanted.0, wanted.1);
        let what = format!(
            "{dtype:?} {} x {} x {}",
            shape.batch, shape.slices, shape.image
        );
        let check = |name: &str, found: &_, expected: &[f64]| {
            let what = format!("{name} of {what}");
            assert_close(&what, &gpu.download(found), expected, tolerance);
        };
        check("loss", &found.loss, &[expected.loss]);
        for (name, found, expected) in [
            ("dE", found.of_expanded, expected.of_expanded),
            ("dF_t", found.of_teacher, expected.of_teacher),
        ] {
            assert_eq!(found.is_some(), expected.is_some());
            let (Some(mut found), Some(expected)) = (found, expected) else {
                continue;
            };
            check(name, &found, &expected);
            let factor = gpu.upload(&[0.5], dtype);
            let form = (dtype, expected.len());
            scale_in_place(gpu, &mut found, form, gpu.view(&factor)).unwrap();
            let halves: Vec<f64> = expected.iter().map(|value| value / 2.0).collect();
            check(name, &found, &halves);
        }
    }
}
