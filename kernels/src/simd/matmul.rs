//! Matrix products of any size: C = A·B, B packed into panels of whole vectors, A read as it lies.

use super::product::Product;
use super::{BLOCK, Kernel, Level, Simd};
use crate::scratch::Scratch;
use crate::threads::{Shared, for_each};

/// Columns of a panel of B: a register tile of the widest vectors.
const PANEL: usize = 64;
/// Steps of depth at a time: a panel of 64 KiB, part of the second-level cache.
const DEPTH: usize = 256;
/// Rows of C a task computes at most, and at least where it shares the rows of a panel.
const ROWS_AT_MOST: usize = 192;
const ROWS_AT_LEAST: usize = 12;
/// Tasks there should be; fixed, and no sum is cut, so that results do not depend on threads.
const TASKS: usize = 8;

/// An operand: `[rows, columns]` row by row, or, if `turned`, column by column.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub values: &'a [f32],
    pub turned: bool,
}

/// Rows of C, depth of the sums, columns of C.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub rows: usize,
    pub depth: usize,
    pub columns: usize,
}

/// A·B, and `bias`, if it is not empty, added to every row.
///
/// Panics if an operand is shorter than its size.
pub(crate) fn multiply(level: Level, size: Size, a: Matrix, b: Matrix, bias: &[f32]) -> Vec<f32> {
    assert!(a.values.len() >= size.rows * size.depth);
    assert!(b.values.len() >= size.depth * size.columns);
    assert!(bias.is_empty() || bias.len() >= size.columns);
    let len = size.rows * size.columns;
    let mut result = Vec::with_capacity(len);
    if len == 0 {
        return result;
    }
    let blocks = size.columns.div_ceil(BLOCK);
    let mut packed = Scratch::take(blocks * BLOCK * size.depth);
    let to = Shared(packed.as_mut_ptr());
    for_each(blocks, |block| {
        // SAFETY: each task packs its own columns; the level is available.
        unsafe {
            level.call(Pack {
                size,
                b,
                block,
                to: to.at(0),
            })
        };
    });
    let panels = size.columns.div_ceil(PANEL);
    let parts = TASKS
        .div_ceil(panels)
        .min(size.rows.div_ceil(ROWS_AT_LEAST))
        .max(size.rows.div_ceil(ROWS_AT_MOST));
    let part_rows = |part: usize| (size.rows * part / parts, size.rows * (part + 1) / parts);
    // Steps of a turned A lie a whole row of it apart: if several panels read them, close together.
    let turned = (a.turned && panels > 1).then(|| {
        let mut values = Scratch::take(size.rows * size.depth);
        let to = Shared(values.as_mut_ptr());
        for_each(parts, |part| {
            let (first, end) = part_rows(part);
            for step in 0..size.depth {
                let from = &a.values[step * size.rows..][first..end];
                // SAFETY: each task writes its own rows, `depth` floats each.
                unsafe {
                    let to = to.at(first * size.depth + step * (end - first));
                    std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
                }
            }
        });
        values
    });
    let to = Shared(result.as_mut_ptr());
    for_each(panels * parts, |task| {
        let part = task % parts;
        // SAFETY: each task writes its own rows and columns; the level is available.
        unsafe {
            level.call(Tile {
                size,
                a,
                turned: turned.as_deref(),
                packed: &packed,
                bias,
                panel: task / parts,
                rows: part_rows(part),
                to: to.at(0),
            })
        };
    });
    // SAFETY: the tasks cover all rows of all panels.
    unsafe { result.set_len(len) };
    result
}

/// First column and width of a panel; the packed columns of all panels before it take `depth` floats each.
fn panel_of(size: Size, panel: usize) -> (usize, usize) {
    let first = panel * PANEL;
    (
        first,
        PANEL.min(size.columns.next_multiple_of(BLOCK) - first),
    )
}

/// Packs 16 columns of B: `[panel][step][column of the panel]`, zeros beyond the last column.
struct Pack<'a> {
    size: Size,
    b: Matrix<'a>,
    block: usize,
    to: *mut f32,
}

impl Kernel for Pack<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Size { depth, columns, .. } = self.size;
        let column = self.block * BLOCK;
        let (first, width) = panel_of(self.size, column / PANEL);
        let count = BLOCK.min(columns - column);
        // SAFETY: the columns lie inside B, the panel inside what is packed.
        unsafe {
            let to = self.to.add(first * depth + column - first);
            if self.b.turned {
                let rows: [usize; BLOCK] = std::array::from_fn(|i| i * depth);
                let offsets: [u32; BLOCK] = std::array::from_fn(|i| (i * width) as u32);
                let from = self.b.values.as_ptr().add(column * depth);
                for step in (0..depth).step_by(BLOCK) {
                    let steps = BLOCK.min(depth - step);
                    let to = to.add(step * width);
                    S::gather_pixels(from.add(step), &rows[..count], steps, to, offsets.as_ptr());
                }
                return;
            }
            for step in 0..depth {
                let from = self.b.values.as_ptr().add(step * columns + column);
                for lane in (0..BLOCK).step_by(S::LANES) {
                    let left = count.saturating_sub(lane);
                    let value = S::load_first(from.wrapping_add(lane), left);
                    S::store(to.add(step * width + lane), value);
                }
            }
        }
    }
}

/// Some rows of one panel of C.
struct Tile<'a> {
    size: Size,
    a: Matrix<'a>,
    /// A packed `[part][step][row of the part]`.
    turned: Option<&'a [f32]>,
    packed: &'a [f32],
    bias: &'a [f32],
    panel: usize,
    rows: (usize, usize),
    to: *mut f32,
}

impl Kernel for Tile<'_> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Size {
            rows: all_rows,
            depth,
            columns,
        } = self.size;
        let (first, width) = panel_of(self.size, self.panel);
        let rows = self.rows.1 - self.rows.0;
        let (a, a_stride, depth_step) = match (self.turned, self.a.turned) {
            (Some(packed), _) => (&packed[self.rows.0 * depth..], rows, rows),
            (None, true) => (&self.a.values[self.rows.0..], all_rows, all_rows),
            (None, false) => (&self.a.values[self.rows.0 * depth..], depth, 1),
        };
        let mut c = Scratch::take(rows * width);
        for step in (0..depth.max(1)).step_by(DEPTH) {
            // SAFETY: the rows lie inside A, the panel inside what is packed, `c` holds the tile.
            unsafe {
                Product {
                    a: a.as_ptr().add(step * depth_step),
                    a_stride,
                    transposed: self.a.turned,
                    b: self.packed.as_ptr().add(first * depth + step * width),
                    b_stride: width,
                    c: c.as_mut_ptr(),
                    c_stride: width,
                    rows,
                    columns: width,
                    depth: DEPTH.min(depth - step),
                    add: step > 0,
                }
                .compute::<S>();
            }
        }
        let mut bias = [0.0; PANEL];
        let count = width.min(columns - first);
        if !self.bias.is_empty() {
            bias[..count].copy_from_slice(&self.bias[first..first + count]);
        }
        for (row, c) in c.chunks_exact(width).enumerate() {
            for lane in (0..count).step_by(S::LANES) {
                // SAFETY: the columns lie inside the row, the lanes inside panel and bias.
                unsafe {
                    let to = self.to.add((self.rows.0 + row) * columns + first + lane);
                    let bias = S::load(bias.as_ptr().add(lane));
                    let value = S::add(S::load(c.as_ptr().add(lane)), bias);
                    S::store_first(to, (count - lane).min(S::LANES), value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Level, Matrix, Size, multiply};
    use crate::threads::set_threads;

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|i| (((i * 37 + seed * 11) % 29) as f32 - 14.0) / 8.0)
            .collect()
    }

    /// Turns `[rows, columns]`.
    fn turn(values: &[f32], columns: usize) -> Vec<f32> {
        let rows = values.len() / columns.max(1);
        (0..values.len())
            .map(|i| values[i % rows * columns + i / rows])
            .collect()
    }

    #[test]
    fn products_match_the_sums_whatever_the_order_of_the_operands() {
        for (rows, depth, columns) in [
            (1, 1, 1),
            (64, 64, 10),
            (7, 300, 100),
            (3, 17, 65),
            (200, 513, 130),
            (5, 0, 3),
            (0, 4, 4),
        ] {
            let size = Size {
                rows,
                depth,
                columns,
            };
            let (a, b) = (values(rows * depth, 1), values(depth * columns, 2));
            let bias = values(columns, 3);
            let (a_turned, b_turned) = (turn(&a, depth), turn(&b, columns));
            let expected: Vec<f64> = (0..rows * columns)
                .map(|i| {
                    let (row, column) = (i / columns, i % columns);
                    let product = |k| f64::from(a[row * depth + k] * b[k * columns + column]);
                    f64::from(bias[column]) + (0..depth).map(product).sum::<f64>()
                })
                .collect();
            for level in Level::available() {
                for (a, a_is_turned) in [(&a, false), (&a_turned, true)] {
                    for (b, b_is_turned) in [(&b, false), (&b_turned, true)] {
                        let (a, b) = (
                            Matrix {
                                values: a,
                                turned: a_is_turned,
                            },
                            Matrix {
                                values: b,
                                turned: b_is_turned,
                            },
                        );
                        let runs = [1, 3].map(|threads| {
                            set_threads(threads);
                            multiply(level, size, a, b, &bias)
                        });
                        set_threads(0);
                        assert_eq!(runs[0], runs[1]);
                        for (found, expected) in runs[0].iter().zip(&expected) {
                            let error = (f64::from(*found) - expected).abs();
                            assert!(error < 1e-4 * (1.0 + expected.abs()), "{level:?}");
                        }
                    }
                }
            }
        }
    }
}
