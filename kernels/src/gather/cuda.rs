//! Gathers and scatters on a GPU: see `gather.cu`.

use super::walk::{Steps, Walk};
use crate::cuda::{Argument, Gpu, Grid, Kernel, View, suffix};
use candle_core::{DType, Result};

/// Threads that a kernel which puts things into the data should have.
const THREADS_WANTED: usize = 1 << 16;

/// The picked elements; zeros where an index lies outside.
pub(super) fn gather<G: Gpu>(
    gpu: &G,
    data: View<'_, G::Memory>,
    index: View<'_, G::Memory>,
    walk: &Walk,
) -> Result<G::Memory> {
    let count = elements(walk);
    let mut picked = gpu.allocate(data.dtype, count)?;
    let mut arguments = vec![
        Argument::Read(data),
        Argument::Read(index),
        Argument::write(&mut picked),
    ];
    describe(&mut arguments, walk)?;
    let grid = Grid::over(gpu, count);
    launch(gpu, "gather_pick", data.dtype, index, grid, &mut arguments)?;
    Ok(picked)
}

/// One `f64`: minus the first position of an index that is not below `bound`, or −∞.
pub(super) fn outside<G: Gpu>(
    gpu: &G,
    index: View<'_, G::Memory>,
    bound: usize,
) -> Result<G::Memory> {
    let grid = Grid::over(gpu, index.length);
    let mut of_blocks = gpu.allocate(DType::F64, grid.blocks())?;
    let mut arguments = [
        Argument::Read(index),
        Argument::write(&mut of_blocks),
        Argument::size(index.length),
        Argument::size(bound),
    ];
    let name = format!("gather_check_{}", index_suffix(index)?);
    gpu.launch(kernel(&name), grid, &mut arguments)?;
    let mut found = gpu.allocate(DType::F64, 1)?;
    let mut arguments = [
        Argument::Read(gpu.view(&of_blocks)),
        Argument::write(&mut found),
        Argument::int(grid.blocks())?,
    ];
    gpu.launch(kernel("gather_outside"), Grid([1; 3]), &mut arguments)?;
    Ok(found)
}

/// Refuses an index outside, which the host must wait for the device to see.
#[cfg(feature = "cuda")]
pub(crate) fn check(
    op: &'static str,
    (index, layout): (&candle_core::CudaStorage, &candle_core::Layout),
    axis: usize,
    bound: usize,
) -> Result<()> {
    use candle_core::backend::BackendStorage;
    let found = outside(index.device(), View::of(op, "index", index, layout)?, bound)?;
    let found = found.to_cpu_storage()?.as_slice::<f64>()?[0];
    if found == f64::NEG_INFINITY {
        return Ok(());
    }
    let index = index.to_cpu_storage()?;
    let indices = super::walk::Indices::of(op, &index, layout)?;
    let position = -found as usize;
    Err(super::walk::outside_error(
        op,
        indices,
        position,
        layout.dims(),
        axis,
        bound,
    ))
}

/// `base`, or `length` zeros, with the picked elements added to their places. Sums of 16-bit numbers are
/// kept in `f32`: 4 bytes an element of workspace.
pub(crate) fn add<G: Gpu>(
    gpu: &G,
    (base, length): (Option<View<'_, G::Memory>>, usize),
    picked: View<'_, G::Memory>,
    index: View<'_, G::Memory>,
    walk: &Walk,
) -> Result<G::Memory> {
    let dtype = picked.dtype;
    if matches!(dtype, DType::F32 | DType::F64) {
        let mut data = begin(gpu, (base, length), dtype)?;
        put(
            gpu,
            "gather_add",
            Some(picked),
            &mut data,
            dtype,
            index,
            walk,
        )?;
        return Ok(data);
    }
    let mut sums = gpu.allocate(DType::F32, length)?;
    let suffix = suffix("scatter_add", "x", dtype)?;
    let name = format!("gather_begin_wide_{suffix}");
    let mut arguments = [
        Argument::read_if(base),
        Argument::write(&mut sums),
        Argument::size(length),
    ];
    gpu.launch(kernel(&name), Grid::over(gpu, length), &mut arguments)?;
    put(
        gpu,
        "gather_add",
        Some(picked),
        &mut sums,
        dtype,
        index,
        walk,
    )?;
    let mut data = gpu.allocate(dtype, length)?;
    let name = format!("gather_finish_wide_{suffix}");
    let mut arguments = [
        Argument::Read(gpu.view(&sums)),
        Argument::write(&mut data),
        Argument::size(length),
    ];
    gpu.launch(kernel(&name), Grid::over(gpu, length), &mut arguments)?;
    Ok(data)
}

/// `base` with the picked elements, or zeros, in their places.
pub(crate) fn replace<G: Gpu>(
    gpu: &G,
    base: View<'_, G::Memory>,
    picked: Option<View<'_, G::Memory>>,
    index: View<'_, G::Memory>,
    walk: &Walk,
) -> Result<G::Memory> {
    let mut data = begin(gpu, (Some(base), base.length), base.dtype)?;
    put(
        gpu,
        "scatter_replace",
        picked,
        &mut data,
        base.dtype,
        index,
        walk,
    )?;
    Ok(data)
}

/// The gradient of a scatter's source of `length` elements: see the CPU's.
pub(crate) fn source_gradient<G: Gpu>(
    gpu: &G,
    gradient: View<'_, G::Memory>,
    index: View<'_, G::Memory>,
    walk: &Walk,
    length: usize,
    replaced: bool,
) -> Result<G::Memory> {
    let dtype = gradient.dtype;
    // Written by `put` at every place that is read.
    let mut last = replaced
        .then(|| gpu.allocate(DType::U32, gradient.length))
        .transpose()?;
    if let Some(last) = &mut last {
        let name = format!("scatter_last_{}", index_suffix(index)?);
        put_named(gpu, &name, None, last, index, walk)?;
    }
    let mut found = begin(gpu, (None, length), dtype)?;
    let mut arguments = vec![
        Argument::Read(gradient),
        Argument::Read(index),
        Argument::read_if(last.as_ref().map(|last| gpu.view(last))),
        Argument::write(&mut found),
    ];
    describe(&mut arguments, walk)?;
    let grid = Grid::over(gpu, elements(walk));
    let name = "scatter_source_gradient";
    launch(gpu, name, dtype, index, grid, &mut arguments)?;
    Ok(found)
}

/// A copy of `base`, or zeros.
fn begin<G: Gpu>(
    gpu: &G,
    (base, length): (Option<View<'_, G::Memory>>, usize),
    dtype: DType,
) -> Result<G::Memory> {
    let mut data = gpu.allocate(dtype, length)?;
    let name = format!("gather_begin_{}", suffix("gather", "x", dtype)?);
    let mut arguments = [
        Argument::read_if(base),
        Argument::write(&mut data),
        Argument::size(length),
    ];
    gpu.launch(kernel(&name), Grid::over(gpu, length), &mut arguments)?;
    Ok(data)
}

fn put<G: Gpu>(
    gpu: &G,
    name: &str,
    picked: Option<View<'_, G::Memory>>,
    data: &mut G::Memory,
    dtype: DType,
    index: View<'_, G::Memory>,
    walk: &Walk,
) -> Result<()> {
    let suffix = suffix("scatter", "x", dtype)?;
    let name = format!("{name}_{suffix}_{}", index_suffix(index)?);
    put_named(gpu, &name, Some(picked), data, index, walk)
}

/// `picked`: none where the kernel has no such argument.
fn put_named<G: Gpu>(
    gpu: &G,
    name: &str,
    picked: Option<Option<View<'_, G::Memory>>>,
    data: &mut G::Memory,
    index: View<'_, G::Memory>,
    walk: &Walk,
) -> Result<()> {
    let lines = walk.blocks() * walk.run.length;
    if elements(walk) == 0 || walk.bound == 0 {
        return Ok(());
    }
    let segments = THREADS_WANTED.div_ceil(lines).min(walk.bound);
    let mut arguments: Vec<_> = picked.map(Argument::read_if).into_iter().collect();
    arguments.extend([
        Argument::Read(index),
        Argument::write(data),
        Argument::size(segments),
    ]);
    describe(&mut arguments, walk)?;
    let grid = Grid::over(gpu, lines * segments);
    gpu.launch(kernel(name), grid, &mut arguments)
}

fn launch<G: Gpu>(
    gpu: &G,
    name: &str,
    dtype: DType,
    index: View<'_, G::Memory>,
    grid: Grid,
    arguments: &mut [Argument<'_, G::Memory>],
) -> Result<()> {
    let suffix = suffix("gather", "x", dtype)?;
    let name = format!("{name}_{suffix}_{}", index_suffix(index)?);
    gpu.launch(kernel(&name), grid, arguments)
}

/// The walk's numbers, in the order of the kernels' parameters.
fn describe<M>(arguments: &mut Vec<Argument<'_, M>>, walk: &Walk) -> Result<()> {
    const ONE: Steps = Steps {
        length: 1,
        index: 0,
        picked: 0,
        data: 0,
    };
    let axes = walk.axes();
    let Some(missing) = 4usize.checked_sub(axes.len()) else {
        candle_core::bail!("a tensor with more than 6 axes that differ cannot be indexed on a GPU");
    };
    let blocks = std::iter::repeat_n(&ONE, missing).chain(axes);
    for steps in blocks.chain([&walk.axis, &walk.run]) {
        let Steps {
            length,
            index,
            picked,
            data,
        } = *steps;
        arguments.extend([length, index, picked, data].map(Argument::size));
    }
    arguments.extend([walk.bound, walk.stride].map(Argument::size));
    Ok(())
}

fn elements(walk: &Walk) -> usize {
    walk.blocks() * walk.axis.length * walk.run.length
}

fn index_suffix<M>(index: View<'_, M>) -> Result<&'static str> {
    match index.dtype {
        DType::U32 => Ok("u32"),
        DType::I64 => Ok("i64"),
        found => candle_core::bail!("an index of type {found:?}, expected u32 or i64"),
    }
}

fn kernel(name: &str) -> Kernel<'_> {
    Kernel {
        module: "gather",
        name,
    }
}

#[cfg(test)]
mod tests {
    use super::super::cpu;
    use super::super::walk::{Indices, Outside, Walk};
    use super::{add, gather, outside, replace, source_gradient};
    use crate::cuda::Gpu;
    use crate::cuda::emulation::{Emulation, TYPES, assert_close, emulate, numbers, rounded};
    use crate::scatter::cpu as specification;
    use candle_core::{DType, Layout, Shape};

    /// Dimensions of data, index and picked, and the axis.
    type Case = (&'static [usize], &'static [usize], &'static [usize], usize);

    const CASES: [Case; 7] = [
        (&[5, 3], &[7, 3], &[7, 3], 0),
        (&[4, 6], &[4, 5], &[4, 5], 1),
        (&[3, 4, 5], &[2, 6, 3], &[2, 7, 4], 1),
        (&[9], &[200], &[200], 0),
        (&[2, 3, 2, 3], &[1, 3, 4, 2], &[2, 3, 4, 2], 2),
        (&[3, 0], &[3, 0], &[3, 0], 0),
        (&[40, 3], &[1, 3], &[1, 3], 0),
    ];

    fn strides(dims: &[usize]) -> Vec<usize> {
        Layout::contiguous(Shape::from(dims)).stride().to_vec()
    }

    #[test]
    fn emulated_moves_equal_the_specification() {
        emulate("gather/gather.cu", |gpu| {
            for (dtype, tolerance) in TYPES {
                for (number, case) in CASES.into_iter().enumerate() {
                    compare(gpu, dtype, tolerance, case, number % 2 == 0);
                }
            }
            indices_outside_are_found(gpu);
        });
    }

    fn compare(gpu: &Emulation, dtype: DType, tolerance: f64, case: Case, long: bool) {
        let (data, index, picked, axis) = case;
        let count = |dims: &[usize]| dims.iter().product::<usize>();
        let x = rounded(&numbers("x", count(data)), dtype);
        let source = rounded(&numbers("source", count(picked)), dtype);
        let chosen: Vec<f64> = numbers("index", count(index))
            .iter()
            .map(|value| ((value + 1.0) / 2.0 * data[axis] as f64).floor())
            .collect();
        let index_type = if long { DType::I64 } else { DType::U32 };
        let on_gpu = [
            gpu.upload(&x, dtype),
            gpu.upload(&chosen, index_type),
            gpu.upload(&source, dtype),
        ];
        let [x_view, index_view, source_view] = on_gpu.each_ref().map(|memory| gpu.view(memory));
        let plain: Vec<i64> = chosen.iter().map(|&value| value as i64).collect();
        let indices = Indices::I64(&plain);
        let check = |what: &str, found: &_, expected: &[f64]| {
            let what = format!("{what} of {case:?} {dtype:?}");
            assert_close(&what, &gpu.download(found), expected, tolerance);
        };

        let same = Walk::new((index, &strides(index)), index, data, axis);
        let found = gather(gpu, x_view, index_view, &same).unwrap();
        let expected = cpu::gather(&x, indices, &same, &Outside::none());
        check("gather", &found, &expected);
        let outside = outside(gpu, index_view, data[axis]).unwrap();
        assert_eq!(gpu.download(&outside), [f64::NEG_INFINITY]);

        let walk = Walk::new((index, &strides(index)), picked, data, axis);
        let mut expected = x.clone();
        cpu::add(&mut expected, &source, indices, &walk, &Outside::none());
        let found = add(gpu, (Some(x_view), x.len()), source_view, index_view, &walk).unwrap();
        check("scatter_add", &found, &expected);
        let mut expected = vec![0.0; x.len()];
        cpu::add(&mut expected, &source, indices, &walk, &Outside::none());
        let found = add(gpu, (None, x.len()), source_view, index_view, &walk).unwrap();
        check("the gradient of gather", &found, &expected);

        let found = replace(gpu, x_view, Some(source_view), index_view, &walk).unwrap();
        let expected = specification::replace(&x, indices, &source, &walk, &Outside::none());
        check("scatter", &found, &expected);
        let found = replace(gpu, x_view, None, index_view, &same).unwrap();
        check(
            "the gradient of x",
            &found,
            &specification::clear(&x, indices, &same),
        );
        for replaced in [true, false] {
            let found =
                source_gradient(gpu, x_view, index_view, &walk, source.len(), replaced).unwrap();
            let expected =
                specification::source_gradient(&x, indices, &walk, source.len(), replaced);
            check("the gradient of the source", &found, &expected);
        }
    }

    fn indices_outside_are_found(gpu: &Emulation) {
        let x = gpu.upload(&[1.0, 2.0, 3.0], DType::F32);
        let mut chosen = vec![1.0; 500];
        (chosen[301], chosen[440]) = (-1.0, 3.0);
        let index = gpu.upload(&chosen, DType::I64);
        let walk = Walk::new((&[500], &[1]), &[500], &[3], 0);
        let found = outside(gpu, gpu.view(&index), 3).unwrap();
        assert_eq!(gpu.download(&found), [-301.0]);
        let picked = gather(gpu, gpu.view(&x), gpu.view(&index), &walk).unwrap();
        let picked = gpu.download(&picked);
        assert_eq!((picked[0], picked[301], picked[440]), (2.0, 0.0, 0.0));
    }
}
