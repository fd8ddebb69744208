//! How an index tensor walks through a data tensor: shared by gather, index_select, scatter and scatter_add.

use crate::operand::{shape_error, unsupported, value_error};
use candle_core::{CpuStorage, DType, Layout, Result, Tensor};
use std::sync::atomic::{AtomicUsize, Ordering};

/// One axis of the index, and the steps it takes in the index, in what has the index's
/// elements (the result of a gather, the source of a scatter) and in the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steps {
    pub(crate) length: usize,
    pub(crate) index: usize,
    pub(crate) picked: usize,
    pub(crate) data: usize,
}

/// Positions in the index, in what has its elements, and in the data (for index 0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) index: usize,
    pub(crate) picked: usize,
    pub(crate) data: usize,
}

impl At {
    pub(crate) fn plus(self, steps: Steps, count: usize) -> Self {
        Self {
            index: self.index + steps.index * count,
            picked: self.picked + steps.picked * count,
            data: self.data + steps.data * count,
        }
    }
}

/// The index's elements as blocks × the indexed axis × a run of adjacent elements.
///
/// Different (block, element of the run) never meet in the data, whatever the indices:
/// they are different places outside the indexed axis.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    blocks: Vec<Steps>,
    /// The axis that is indexed; its step in the data is 0.
    pub(crate) axis: Steps,
    /// Adjacent in data and picked; in the index adjacent or all the same element.
    pub(crate) run: Steps,
    /// The data's length along the axis, and how far apart its elements lie.
    pub(crate) bound: usize,
    pub(crate) stride: usize,
}

impl Walk {
    /// `index` with one index a line of the data along `axis` or an index tensor of the data's rank:
    /// its dimensions and strides, and the dimensions of what it picks and of the data, both contiguous.
    pub(crate) fn new(
        index: (&[usize], &[usize]),
        picked: &[usize],
        data: &[usize],
        axis: usize,
    ) -> Self {
        let (picked_steps, data_steps) = (contiguous(picked), contiguous(data));
        let steps = |at: usize| Steps {
            length: index.0[at],
            index: index.1[at],
            picked: picked_steps[at],
            data: data_steps[at],
        };
        let mut blocks: Vec<Steps> = Vec::new();
        for inner in (0..data.len()).filter(|&at| at != axis).map(steps) {
            match blocks.last_mut() {
                _ if inner.length == 1 => {}
                Some(outer) if continues(*outer, inner) => {
                    *outer = Steps {
                        length: outer.length * inner.length,
                        ..inner
                    }
                }
                _ => blocks.push(inner),
            }
        }
        let one = Steps {
            length: 1,
            index: 0,
            picked: 1,
            data: 1,
        };
        let run = match blocks.last() {
            Some(&last) if last.picked == 1 && last.data == 1 && last.index <= 1 => {
                blocks.pop();
                last
            }
            _ => one,
        };
        Self {
            blocks,
            axis: Steps {
                data: 0,
                ..steps(axis)
            },
            run,
            bound: data[axis],
            stride: data_steps[axis],
        }
    }

    /// The axes of the blocks.
    #[cfg(any(feature = "cuda", test))]
    pub(crate) fn axes(&self) -> &[Steps] {
        &self.blocks
    }

    pub(crate) fn blocks(&self) -> usize {
        self.blocks.iter().map(|steps| steps.length).product()
    }

    /// Where block `number` begins.
    pub(crate) fn block(&self, mut number: usize) -> At {
        let mut at = At::default();
        for &steps in self.blocks.iter().rev() {
            at = at.plus(steps, number % steps.length);
            number /= steps.length;
        }
        at
    }
}

fn continues(outer: Steps, inner: Steps) -> bool {
    outer.index == inner.index * inner.length
        && outer.picked == inner.picked * inner.length
        && outer.data == inner.data * inner.length
}

fn contiguous(dims: &[usize]) -> Vec<usize> {
    Layout::contiguous(dims).stride().to_vec()
}

/// The elements of an index tensor.
#[derive(Clone, Copy)]
pub(crate) enum Indices<'a> {
    U32(&'a [u32]),
    I64(&'a [i64]),
}

impl<'a> Indices<'a> {
    /// The elements of a contiguous index.
    pub(crate) fn of(op: &'static str, storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        match storage {
            CpuStorage::U32(_) => Ok(Self::U32(crate::operand::slice(op, storage, layout)?)),
            CpuStorage::I64(_) => Ok(Self::I64(crate::operand::slice(op, storage, layout)?)),
            other => Err(unsupported(
                op,
                "index",
                candle_core::backend::BackendStorage::dtype(other),
            )),
        }
    }

    /// The element at `position`, if it is below `bound`.
    #[inline(always)]
    pub(crate) fn get(self, position: usize, bound: usize) -> Option<usize> {
        let index = match self {
            Self::U32(values) => values[position] as usize,
            Self::I64(values) => usize::try_from(values[position]).ok()?,
        };
        (index < bound).then_some(index)
    }
}

/// The first position at which an index lies outside the data.
pub(crate) struct Outside(AtomicUsize);

impl Outside {
    pub(crate) fn none() -> Self {
        Self(AtomicUsize::new(usize::MAX))
    }

    #[cold]
    pub(crate) fn note(&self, position: usize) {
        self.0.fetch_min(position, Ordering::Relaxed);
    }

    /// The error for the first such index, if there is one.
    pub(crate) fn check(
        self,
        op: &'static str,
        indices: Indices,
        dims: &[usize],
        axis: usize,
        bound: usize,
    ) -> Result<()> {
        match self.0.into_inner() {
            usize::MAX => Ok(()),
            position => Err(outside_error(op, indices, position, dims, axis, bound)),
        }
    }
}

/// The error for the index at `position`, which names it and the bound.
pub(crate) fn outside_error(
    op: &'static str,
    indices: Indices,
    position: usize,
    dims: &[usize],
    axis: usize,
    bound: usize,
) -> candle_core::Error {
    let index = match indices {
        Indices::U32(values) => i64::from(values[position]),
        Indices::I64(values) => values[position],
    };
    let (mut place, mut rest) = (Vec::new(), position);
    for &length in dims.iter().rev() {
        place.insert(0, rest % length.max(1));
        rest /= length.max(1);
    }
    value_error(
        op,
        "index",
        format!("{index} at {place:?}"),
        format!("an index from 0 below {bound}, the length of axis {axis}"),
    )
}

/// Refuses an index that is neither `u32` nor `i64`.
pub(crate) fn require_index(op: &'static str, index: &Tensor) -> Result<()> {
    match index.dtype() {
        DType::U32 | DType::I64 => Ok(()),
        found => Err(crate::KernelError::DType {
            op,
            argument: "index",
            found,
            expected: "u32 or i64".to_owned(),
        }
        .into()),
    }
}

/// Refuses an axis the tensor does not have.
pub(crate) fn require_axis(op: &'static str, x: &Tensor, axis: usize) -> Result<()> {
    if axis < x.rank() {
        return Ok(());
    }
    Err(value_error(
        op,
        "axis",
        axis,
        format!("an axis of x, whose rank is {}", x.rank()),
    ))
}

/// Refuses an index that does not fit `x`: another rank, or longer than x on an axis other than `axis`.
pub(crate) fn require_fit(op: &'static str, x: &Tensor, axis: usize, index: &Tensor) -> Result<()> {
    let fits = index.rank() == x.rank()
        && (0..x.rank()).all(|at| at == axis || index.dims()[at] <= x.dims()[at]);
    if fits {
        return Ok(());
    }
    Err(shape_error(
        op,
        "index",
        index,
        format!(
            "the rank of x and, except on axis {axis}, at most its lengths {:?}",
            x.dims()
        ),
    ))
}
