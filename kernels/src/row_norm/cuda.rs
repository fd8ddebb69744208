//! Layer norm and group norm on a GPU.

use super::op::{Affine, Options};
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, suffix};
use candle_core::{DType, Result};

/// Parts that the sums over all runs are computed in, at most: 64 · 2 · 8 bytes a place of workspace.
const PARTS: usize = 64;

/// The result, and shift, scale and offset of every run.
pub(super) fn forward<G: Gpu>(
    gpu: &G,
    op: &'static str,
    [x, weight, bias]: [View<'_, G::Memory>; 3],
    options: Options,
) -> Result<(G::Memory, G::Memory)> {
    let rows = options.rows;
    let suffix = suffix(op, "x", x.dtype)?;
    let mut y = gpu.allocate(x.dtype, x.length)?;
    let mut statistics = gpu.allocate(wide(x.dtype), 3 * rows.count)?;
    let [by_channel, plane, grouped, groups] = places(options)?;
    if rows.count > 0 {
        let mut arguments = [
            Argument::Read(x),
            Argument::Read(weight),
            Argument::Read(bias),
            Argument::write(&mut y),
            Argument::write(&mut statistics),
            Argument::size(rows.count),
            Argument::int(rows.size)?,
            by_channel,
            plane,
            grouped,
            groups,
            Argument::Int(options.silu.into()),
            Argument::Real(options.eps),
        ];
        let grid = Grid::over(gpu, rows.count * gpu.threads());
        gpu.launch(kernel(&format!("row_norm_{suffix}")), grid, &mut arguments)?;
    }
    Ok((y, statistics))
}

/// dx, then the gradients of weight and bias.
pub(super) fn backward<G: Gpu>(
    gpu: &G,
    op: &'static str,
    [x, weight, bias, gradient]: [View<'_, G::Memory>; 4],
    statistics: View<'_, G::Memory>,
    options: Options,
) -> Result<G::Memory> {
    let rows = options.rows;
    let suffix = suffix(op, "x", x.dtype)?;
    let mut found = gpu.allocate(x.dtype, x.length + 2 * weight.length)?;
    let silu = || Argument::Int(options.silu.into());
    if x.length > 0 {
        let [by_channel, plane, grouped, groups] = places(options)?;
        let mut arguments = [
            Argument::Read(x),
            Argument::Read(weight),
            Argument::Read(bias),
            Argument::Read(gradient),
            Argument::Read(statistics),
            Argument::write(&mut found),
            Argument::size(rows.count),
            Argument::int(rows.size)?,
            by_channel,
            plane,
            grouped,
            groups,
            silu(),
        ];
        let name = format!("row_norm_gradient_{suffix}");
        let grid = Grid::over(gpu, rows.count * gpu.threads());
        gpu.launch(kernel(&name), grid, &mut arguments)?;
    }
    if weight.length == 0 {
        return Ok(found);
    }
    let parts = match (rows.affine, x.length) {
        (_, 0) => 0,
        (Affine::Element, _) => rows.count.min(PARTS),
        (Affine::Channel { groups, .. }, _) => rows.count / groups,
    };
    let mut partial = gpu.allocate(DType::F64, parts * 2 * weight.length)?;
    match rows.affine {
        _ if parts == 0 => {}
        Affine::Element => {
            let mut arguments = [
                Argument::Read(x),
                Argument::Read(gradient),
                Argument::Read(statistics),
                Argument::write(&mut partial),
                Argument::size(rows.count),
                Argument::int(rows.size)?,
            ];
            let name = format!("row_norm_places_{suffix}");
            let Grid([blocks, ..]) = Grid::over(gpu, rows.size);
            let grid = Grid::exactly([blocks as usize, parts, 1])?;
            gpu.launch(kernel(&name), grid, &mut arguments)?;
        }
        Affine::Channel { .. } => {
            let [_, plane, grouped, groups] = places(options)?;
            let mut arguments = [
                Argument::Read(x),
                Argument::Read(weight),
                Argument::Read(bias),
                Argument::Read(gradient),
                Argument::Read(statistics),
                Argument::write(&mut partial),
                Argument::size(parts),
                plane,
                grouped,
                groups,
                silu(),
            ];
            let name = format!("row_norm_channels_{suffix}");
            let grid = Grid::over(gpu, parts * weight.length * gpu.threads());
            gpu.launch(kernel(&name), grid, &mut arguments)?;
        }
    }
    let mut arguments = [
        Argument::Read(gpu.view(&partial)),
        Argument::Write(&mut found, x.length),
        Argument::size(parts),
        Argument::size(2 * weight.length),
    ];
    let name = format!("row_norm_total_{suffix}");
    let grid = Grid::over(gpu, 2 * weight.length);
    gpu.launch(kernel(&name), grid, &mut arguments)?;
    Ok(found)
}

/// The type that kernels compute in.
fn wide(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}

/// by_channel, plane, grouped, groups: which weight an element takes.
fn places<'a, M>(options: Options) -> Result<[Argument<'a, M>; 4]> {
    let [by_channel, plane, grouped, groups] = match options.rows.affine {
        Affine::Element => [0, 1, options.rows.size, 1],
        Affine::Channel {
            channels,
            groups,
            plane,
        } => [1, plane, channels / groups, groups],
    };
    Ok([
        Argument::int(by_channel)?,
        Argument::int(plane)?,
        Argument::int(grouped)?,
        Argument::int(groups)?,
    ])
}

fn kernel(name: &str) -> Kernel<'_> {
    Kernel {
        module: "row_norm",
        name,
    }
}

#[cfg(test)]
mod tests {
    use super::super::op::{Affine, Backward, Options, Rows};
    use super::super::{by_channel, by_element};
    use super::{backward, forward};
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{Emulation, TYPES, assert_close, emulate, numbers, rounded};
    use candle_core::DType;

    #[test]
    fn emulated_passes_equal_the_specification() {
        emulate("row_norm/row_norm.cu", |gpu| {
            for (dtype, tolerance) in TYPES {
                for (count, size) in [(0, 3), (3, 0), (1, 1), (7, 33), (70, 5), (2, 300)] {
                    let affine = Affine::Element;
                    let rows = Rows {
                        count,
                        size,
                        affine,
                    };
                    compare(gpu, dtype, tolerance, rows, false);
                }
                for (images, groups, grouped, plane) in [
                    (0, 2, 3, 4),
                    (2, 2, 1, 0),
                    (1, 1, 1, 2),
                    (3, 2, 3, 35),
                    (2, 4, 1, 70),
                ] {
                    let rows = Rows {
                        count: images * groups,
                        size: grouped * plane,
                        affine: Affine::Channel {
                            channels: groups * grouped,
                            groups,
                            plane,
                        },
                    };
                    compare(gpu, dtype, tolerance, rows, false);
                    compare(gpu, dtype, tolerance, rows, true);
                }
            }
        });
    }

    fn compare(gpu: &Emulation, dtype: DType, tolerance: f64, rows: Rows, silu: bool) {
        let options = Options {
            rows,
            eps: 1e-3,
            silu,
        };
        let parameters = match rows.affine {
            Affine::Element => rows.size,
            Affine::Channel { channels, .. } => channels,
        };
        let length = rows.count * rows.size;
        // A mean far above the deviation, as far as the type holds it.
        let far = if dtype == DType::F64 || dtype == DType::F32 {
            50.0
        } else {
            0.5
        };
        let x: Vec<f64> = numbers("x", length).iter().map(|x| x + far).collect();
        let values = [
            x,
            numbers("weight", parameters),
            numbers("bias", parameters),
            numbers("gradient", length),
        ]
        .map(|values| rounded(&values, dtype));
        let memory = values.each_ref().map(|values| gpu.upload(values, dtype));
        let [x, weight, bias, gradient] = memory.each_ref().map(|memory| gpu.view(memory));
        let (y, kept) = forward(gpu, "layer_norm", [x, weight, bias], options).unwrap();
        let operands = [x, weight, bias, gradient];
        let found = backward(gpu, "layer_norm", operands, gpu.view(&kept), options).unwrap();
        let [x, weight, bias, gradient] = values.each_ref().map(Vec::as_slice);
        let (expected, statistics) = match rows.affine {
            Affine::Element => by_element::forward(x, weight, bias, options),
            Affine::Channel { .. } => by_channel::forward(x, weight, bias, options),
        };
        let check = |what: &str, found: &[f64], expected: &[f64]| {
            let what = format!("{what} {dtype:?} {rows:?} {silu}");
            // The far mean costs f32 some digits of x itself.
            assert_close(&what, found, expected, 10.0 * tolerance);
        };
        check("forward", &gpu.download(&y), &expected);
        let operands = Backward {
            x,
            weight,
            bias,
            gradient,
            statistics: &statistics,
            options,
        };
        let expected = match rows.affine {
            Affine::Element => by_element::backward(&operands),
            Affine::Channel { .. } => by_channel::backward(&operands),
        };
        let found = gpu.download(&found);
        check("dx", &found[..length], &expected[..length]);
        check("parameters", &found[length..], &expected[length..]);
    }
}
