//! Strided copies on a GPU: see `copy_strided.cu`.

use super::cpu::{Axis, merged};
use crate::cuda::{Argument, Gpu, Grid, Kernel, View};
use candle_core::Result;

/// Axes that a kernel takes; a view with more that cannot be merged is copied in steps.
const AXES: usize = 6;

/// The elements of the view of `source` with these dimensions and strides, in order.
pub(crate) fn copy<G: Gpu>(
    gpu: &G,
    source: View<'_, G::Memory>,
    dims: &[usize],
    strides: &[usize],
) -> Result<G::Memory> {
    let count: usize = dims.iter().product();
    let mut result = gpu.allocate(source.dtype, count)?;
    if count == 0 {
        return Ok(result);
    }
    let axes = merged(dims, strides);
    if axes.len() > AXES {
        candle_core::bail!(
            "a view with more than {AXES} axes that differ cannot be copied on a GPU"
        );
    }
    // The axis whose elements lie together, if that is not the last.
    let turned = axes.iter().position(|axis| axis.stride == 1);
    match (turned, axes.last()) {
        (Some(turned), Some(&last)) if last.stride > 1 => {
            turn(gpu, source, &axes, turned, last, &mut result)?
        }
        _ => {
            let mut arguments = vec![
                Argument::Read(source),
                Argument::write(&mut result),
                Argument::size(count),
            ];
            describe(&mut arguments, AXES, axes.iter().map(|&axis| (axis, 0)));
            let name = format!("copy_strided_{}", word(source));
            gpu.launch(kernel(&name), Grid::over(gpu, count), &mut arguments)?;
        }
    }
    Ok(result)
}

/// Tiles of axis `turned` and the last one, for every place along the others.
fn turn<G: Gpu>(
    gpu: &G,
    source: View<'_, G::Memory>,
    axes: &[Axis],
    turned: usize,
    last: Axis,
    result: &mut G::Memory,
) -> Result<()> {
    const TILE: usize = 32;
    let step_in_result = |axis: usize| axes[axis + 1..].iter().map(|axis| axis.length).product();
    let row_step = step_in_result(turned);
    let rows = axes[turned].length;
    let others = (0..axes.len() - 1).filter(|&axis| axis != turned);
    let others: Vec<(Axis, usize)> = others
        .map(|axis| (axes[axis], step_in_result(axis)))
        .collect();
    let planes: usize = others.iter().map(|(axis, _)| axis.length).product();
    let tiles = planes * rows.div_ceil(TILE) * last.length.div_ceil(TILE);
    let mut arguments = vec![Argument::Read(source), Argument::write(result)];
    arguments.extend([rows, last.length, last.stride, row_step].map(Argument::size));
    describe(&mut arguments, AXES - 2, others.into_iter());
    let name = format!("copy_turned_{}", word(source));
    // A block a tile.
    let grid = Grid::over(gpu, tiles * gpu.threads());
    gpu.launch(kernel(&name), grid, &mut arguments)
}

/// Each axis as (length, step in the source, step in the result), after axes of one element up to `count`.
fn describe<M>(
    arguments: &mut Vec<Argument<'_, M>>,
    count: usize,
    axes: impl ExactSizeIterator<Item = (Axis, usize)>,
) {
    let one = Axis {
        length: 1,
        stride: 0,
    };
    let missing = std::iter::repeat_n((one, 0), count - axes.len());
    for (Axis { length, stride }, to) in missing.chain(axes) {
        arguments.extend([length, stride, to].map(Argument::size));
    }
}

/// The word that has an element's size.
fn word<M>(source: View<'_, M>) -> &'static str {
    match source.dtype.size_in_bytes() {
        1 => "word8",
        2 => "word16",
        4 => "word32",
        _ => "word64",
    }
}

fn kernel(name: &str) -> Kernel<'_> {
    Kernel {
        module: "copy_strided",
        name,
    }
}

#[cfg(test)]
mod tests {
    use super::super::cpu::copy_view;
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{emulate, numbers, rounded};
    use candle_core::DType;

    #[test]
    fn emulated_copies_equal_the_specification() {
        emulate("copy_strided/copy_strided.cu", |gpu| {
            for dtype in [
                DType::F16,
                DType::BF16,
                DType::F32,
                DType::U32,
                DType::F64,
                DType::I64,
            ] {
                let numbers = numbers("copies", 9000);
                let whole = matches!(dtype, DType::U32 | DType::I64);
                let numbers: Vec<f64> = match whole {
                    true => numbers
                        .iter()
                        .map(|value| (value.abs() * 1e6).floor())
                        .collect(),
                    false => rounded(&numbers, dtype),
                };
                let on_gpu = gpu.upload(&numbers, dtype);
                let cases: [(&[usize], &[usize]); 9] = [
                    (&[], &[]),
                    (&[0, 3], &[3, 1]),
                    (&[40, 70], &[1, 40]),
                    (&[2, 33, 5, 7], &[33 * 35, 1, 7 * 33, 33]),
                    (&[31, 65], &[1, 33]),
                    (&[7, 33], &[0, 2]),
                    (&[9, 20, 5], &[1, 0, 9]),
                    (&[100, 20], &[40, 3]),
                    (&[2, 3, 2, 3, 2, 3], &[1, 2, 7, 20, 61, 130]),
                ];
                for (dims, strides) in cases {
                    let found = super::copy(gpu, gpu.view(&on_gpu), dims, strides).unwrap();
                    let expected = copy_view(&numbers, dims, strides);
                    assert_eq!(
                        gpu.download(&found),
                        expected,
                        "{dtype:?} {dims:?} {strides:?}"
                    );
                }
                let part = gpu.view(&on_gpu).narrow(5, 600);
                let found = super::copy(gpu, part, &[20, 30], &[1, 20]).unwrap();
                let expected = copy_view(&numbers[5..], &[20, 30], &[1, 20]);
                assert_eq!(gpu.download(&found), expected);
            }
        });
    }
}
