//! The view is cut into pieces that one loop can copy: rows, transposed squares, or single elements.

use crate::output::{CHUNK, Output, chunk_range};
use crate::simd::{BLOCK, Kernel, Level, Simd};
use crate::threads;
use candle_core::Layout;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Rows and columns of the result that a task turns at once.
const TILE: (usize, usize) = (64, 256);

/// One axis of a view: how many elements, and how far apart they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) length: usize,
    pub(crate) stride: usize,
}

/// The elements of the view in order.
pub(crate) fn copy<T: Copy + Send + Sync + 'static>(source: &[T], layout: &Layout) -> Vec<T> {
    copy_view(
        &source[layout.start_offset().min(source.len())..],
        layout.dims(),
        layout.stride(),
    )
}

/// The elements of the view of `source` with these dimensions and strides, in order.
pub(crate) fn copy_view<T: Copy + Send + Sync + 'static>(
    source: &[T],
    dims: &[usize],
    strides: &[usize],
) -> Vec<T> {
    let count: usize = dims.iter().product();
    if count == 0 {
        return Vec::new();
    }
    let axes = merged(dims, strides);
    let last: usize = axes
        .iter()
        .map(|axis| (axis.length - 1) * axis.stride)
        .sum();
    assert!(last < source.len(), "a view lies inside its storage");
    let Some((&inner, outer)) = axes.split_last() else {
        return vec![source[0]];
    };
    let output = Output::new(count);
    let adjacent = outer
        .iter()
        .enumerate()
        .filter(|(_, axis)| axis.stride == 1)
        .max_by_key(|(_, axis)| axis.length);
    match adjacent {
        Some((turned, _)) if inner.stride > 1 => tiles(source, &axes, turned, &output),
        _ => rows(source, inner, outer, &output),
    }
    // SAFETY: both write every element once.
    unsafe { output.finish() }
}

/// The axes of a view without those of one element, neighbours that step alike made one.
pub(crate) fn merged(dims: &[usize], strides: &[usize]) -> Vec<Axis> {
    let mut axes: Vec<Axis> = Vec::new();
    for (&length, &stride) in dims.iter().zip(strides) {
        match axes.last_mut() {
            _ if length == 1 => {}
            Some(outer) if outer.stride == stride * length => {
                *outer = Axis {
                    length: outer.length * length,
                    stride,
                }
            }
            _ => axes.push(Axis { length, stride }),
        }
    }
    axes
}

/// Where element `index` of a row-major walk over `axes` lies.
pub(crate) fn offset(axes: &[Axis], mut index: usize) -> usize {
    let mut offset = 0;
    for axis in axes.iter().rev() {
        offset += index % axis.length * axis.stride;
        index /= axis.length;
    }
    offset
}

/// Row after row along the last axis, which is cut where rows are long.
fn rows<T: Copy + Send + Sync>(source: &[T], inner: Axis, outer: &[Axis], output: &Output<T>) {
    let count: usize = outer.iter().map(|axis| axis.length).product();
    let pieces = inner.length.div_ceil(CHUNK);
    let piece = inner.length.div_ceil(pieces);
    let a_task = (CHUNK / piece).max(1);
    let next = outer.last().map_or(1, |axis| axis.length);
    let step = outer.last().map_or(0, |axis| axis.stride);
    threads::for_each((count * pieces).div_ceil(a_task), |task| {
        let numbers = chunk_range(count * pieces, a_task, task);
        let (mut at, mut left) = (0, 0);
        for number in numbers {
            let (row, columns) = match pieces {
                1 => (number, 0..inner.length),
                _ => (
                    number / pieces,
                    chunk_range(inner.length, piece, number % pieces),
                ),
            };
            if left == 0 || pieces > 1 {
                (at, left) = (offset(outer, row), next - row % next);
            }
            let from = at + columns.start * inner.stride;
            let range = row * inner.length + columns.start..row * inner.length + columns.end;
            // SAFETY: rows, and pieces of rows, do not overlap.
            copy_row(&source[from..], inner.stride, unsafe {
                output.range(range)
            });
            (at, left) = (at + step, left - 1);
        }
    });
}

#[inline(always)]
fn copy_row<T: Copy>(source: &[T], stride: usize, to: &mut [MaybeUninit<T>]) {
    match stride {
        0 => to.fill(MaybeUninit::new(source[0])),
        1 if to.len() < 16 => {
            for (to, &value) in to.iter_mut().zip(source) {
                to.write(value);
            }
        }
        1 => {
            to.write_copy_of_slice(&source[..to.len()]);
        }
        2 => copy_stepped::<T, 2>(source, to),
        3 => copy_stepped::<T, 3>(source, to),
        _ => {
            for (to, value) in to.iter_mut().zip(source.iter().step_by(stride)) {
                to.write(*value);
            }
        }
    }
}

/// `copy_row` with a stride known when it is compiled.
#[inline(always)]
fn copy_stepped<T: Copy, const STRIDE: usize>(source: &[T], to: &mut [MaybeUninit<T>]) {
    let (whole, rest) = source.as_chunks::<STRIDE>();
    let values = whole
        .iter()
        .map(|group| group[0])
        .chain(rest.first().copied());
    for (to, value) in to.iter_mut().zip(values) {
        to.write(value);
    }
}

/// Axis `turned` has stride 1: tiles of it and the last axis are transposed, one after another.
fn tiles<T: Copy + Send + Sync + 'static>(
    source: &[T],
    axes: &[Axis],
    turned: usize,
    output: &Output<T>,
) {
    let (inner, rows) = (axes[axes.len() - 1], axes[turned].length);
    let row_step: usize = axes[turned + 1..].iter().map(|axis| axis.length).product();
    // The other axes as (their step in the source, their step in the result).
    let others: Vec<(Axis, Axis)> = (0..axes.len() - 1)
        .filter(|&axis| axis != turned)
        .map(|axis| {
            let step = axes[axis + 1..].iter().map(|axis| axis.length).product();
            let Axis { length, .. } = axes[axis];
            (
                axes[axis],
                Axis {
                    length,
                    stride: step,
                },
            )
        })
        .collect();
    let (from, to): (Vec<Axis>, Vec<Axis>) = others.into_iter().unzip();
    let planes: usize = from.iter().map(|axis| axis.length).product();
    let (down, across) = (rows.div_ceil(TILE.0), inner.length.div_ceil(TILE.1));
    let a_task = (CHUNK / (rows.min(TILE.0) * inner.length.min(TILE.1))).max(1);
    let count = planes * down * across;
    threads::for_each(count.div_ceil(a_task), |task| {
        for number in chunk_range(count, a_task, task) {
            let (plane, tile) = (number / (down * across), number % (down * across));
            let tile = Tile {
                source: &source[offset(&from, plane)..],
                step: inner.stride,
                first: offset(&to, plane),
                row_step,
                rows: chunk_range(rows, TILE.0, tile / across),
                columns: chunk_range(inner.length, TILE.1, tile % across),
            };
            // SAFETY: tiles do not overlap, and each lies inside source and output.
            unsafe { tile.turn(output) };
        }
    });
}

/// `output[first + r · row_step + c] = source[r + c · step]` for the rows r and columns c.
struct Tile<'a, T> {
    source: &'a [T],
    step: usize,
    first: usize,
    row_step: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl<T: Copy + Send + Sync + 'static> Tile<'_, T> {
    /// # Safety
    /// No other task uses the elements of the tile in `output`.
    unsafe fn turn(self, output: &Output<T>) {
        let words = size_of::<T>() == size_of::<f32>() && align_of::<T>() == align_of::<f32>();
        // Offsets in a square are 32 bits wide.
        let near = self.step.max(self.row_step) < 1 << 27;
        let done = if words && near && self.rows.len() >= BLOCK {
            // SAFETY: `copy_view` asserted that the view lies inside the source; the caller vouches for the output.
            unsafe { self.turn_squares(output) }
        } else {
            self.rows.start
        };
        for row in done..self.rows.end {
            let start = self.first + row * self.row_step;
            // SAFETY: rows of a tile do not overlap; the caller vouches for other tasks.
            let to = unsafe { output.range(start + self.columns.start..start + self.columns.end) };
            copy_row(
                &self.source[row + self.columns.start * self.step..],
                self.step,
                to,
            );
        }
    }

    /// Turns squares of 16 × 16 elements of four bytes, the last ones narrower; returns the first row left over.
    ///
    /// # Safety
    /// As for [`Tile::turn`].
    unsafe fn turn_squares(&self, output: &Output<T>) -> usize {
        let (rows, columns) = (self.rows.len() / BLOCK * BLOCK, self.columns.len());
        let top = self.first + self.rows.start * self.row_step + self.columns.start;
        // SAFETY: only the elements of the tile's rows are written, which are this task's alone.
        let to = unsafe { output.range(top..top + (rows - 1) * self.row_step + columns) };
        let from = &self.source[self.rows.start + self.columns.start * self.step..]
            [..(columns - 1) * self.step + rows];
        let squares = Squares {
            from: from.as_ptr().cast(),
            step: self.step,
            to: to.as_mut_ptr().cast(),
            row_step: self.row_step,
            rows,
            columns,
        };
        // SAFETY: the slices above hold all addresses; elements have the size and alignment of f32,
        // and are moved as bits.
        unsafe { Level::best().call(squares) };
        self.rows.start + rows
    }
}

/// `to[r · row_step + c] = from[r + c · step]` for `rows`, a multiple of 16, and any number of columns.
struct Squares {
    from: *const f32,
    step: usize,
    to: *mut f32,
    row_step: usize,
    rows: usize,
    columns: usize,
}

impl Kernel for Squares {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let whole = self.columns / BLOCK * BLOCK;
        let channels: [usize; BLOCK] = std::array::from_fn(|column| column * self.step);
        let pixels: [u32; BLOCK] = std::array::from_fn(|row| (row * self.row_step) as u32);
        for column in (0..whole).step_by(BLOCK) {
            for row in (0..self.rows).step_by(BLOCK) {
                // SAFETY: whole squares lie inside both areas.
                unsafe {
                    S::gather_pixels(
                        self.from.add(row + column * self.step),
                        &channels,
                        BLOCK,
                        self.to.add(row * self.row_step + column),
                        pixels.as_ptr(),
                    );
                }
            }
        }
        if whole == self.columns {
            return;
        }
        let columns: [u32; BLOCK] = std::array::from_fn(|column| (column * self.step) as u32);
        for row in (0..self.rows).step_by(BLOCK) {
            // SAFETY: all 16 rows of the remaining columns are there to be read, and only they are written.
            unsafe {
                S::scatter_pixels(
                    self.from.add(row + whole * self.step),
                    columns.as_ptr(),
                    self.to.add(row * self.row_step + whole),
                    self.row_step,
                    BLOCK,
                    self.columns - whole,
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Axis, copy_view, merged};

    fn plainly(source: &[u64], dims: &[usize], strides: &[usize]) -> Vec<u64> {
        let mut elements = vec![0];
        for (&length, &stride) in dims.iter().zip(strides) {
            elements = elements
                .iter()
                .flat_map(|&start| (0..length).map(move |index| start + index * stride))
                .collect();
        }
        elements.into_iter().map(|index| source[index]).collect()
    }

    #[test]
    fn axes_that_step_alike_are_one() {
        let axis = |length, stride| Axis { length, stride };
        assert_eq!(merged(&[2, 3, 4], &[12, 4, 1]), [axis(24, 1)]);
        assert_eq!(merged(&[2, 1, 4], &[4, 77, 1]), [axis(8, 1)]);
        assert_eq!(
            merged(&[2, 3, 4], &[12, 1, 3]),
            [axis(2, 12), axis(3, 1), axis(4, 3)]
        );
        assert_eq!(merged(&[5, 7], &[0, 0]), [axis(35, 0)]);
        assert_eq!(merged(&[], &[]), []);
    }

    #[test]
    fn views_are_copied_element_by_element() {
        let source: Vec<u64> = (0..70_000).collect();
        let cases: [(&[usize], &[usize]); 12] = [
            (&[], &[]),
            (&[40_000], &[1]),
            (&[7, 33], &[0, 2]),
            (&[300, 70], &[1, 300]),
            (&[70, 300], &[1, 70]),
            (&[2, 65, 5, 17], &[65 * 85, 1, 17 * 65, 65]),
            (&[3, 16, 16], &[256, 1, 16]),
            (&[17, 3, 33], &[1, 17 * 33, 17]),
            (&[3, 130, 40], &[1, 3, 390]),
            (&[5, 0, 3], &[3, 3, 1]),
            (&[40, 9, 50], &[1, 0, 40]),
            (&[100, 20], &[40, 3]),
        ];
        let narrow: Vec<u32> = (0..70_000).collect();
        for (dims, strides) in cases {
            let expected = plainly(&source, dims, strides);
            assert_eq!(
                copy_view(&source, dims, strides),
                expected,
                "{dims:?} {strides:?}"
            );
            let copied = copy_view(&narrow, dims, strides);
            assert!(
                copied.iter().map(|&value| u64::from(value)).eq(expected),
                "{dims:?} {strides:?}"
            );
        }
    }
}
