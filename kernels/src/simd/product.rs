//! Small matrix products: C (rows × columns) = A·B, lanes = columns, A broadcast.

use super::{Kernel, Simd};

/// Where the elements of one product lie; strides are in floats.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    /// A, rows × depth. Row-major with `a_stride` a row, or, if `transposed`, depth-major with `a_stride` a step.
    pub a: *const f32,
    pub a_stride: usize,
    pub transposed: bool,
    /// B, depth × columns, `b_stride` a step.
    pub b: *const f32,
    pub b_stride: usize,
    /// C, rows × columns, `c_stride` a row.
    pub c: *mut f32,
    pub c_stride: usize,
    pub rows: usize,
    /// A multiple of 16.
    pub columns: usize,
    pub depth: usize,
    /// Add to C, or overwrite it?
    pub add: bool,
}

impl Product {
    /// Computes the product.
    ///
    /// # Safety
    /// A, B and C must be there, C apart from the others, and the machine must have `S`.
    #[inline(always)]
    pub(crate) unsafe fn compute<S: Simd>(self) {
        let vectors = self.columns / S::LANES;
        let mut done = 0;
        while done < vectors {
            let width = panel_width(vectors - done, S::TILE_VECTORS);
            // SAFETY: the panel lies inside B and C; the rest is required of the caller.
            unsafe {
                let panel = Self {
                    b: self.b.add(done * S::LANES),
                    c: self.c.add(done * S::LANES),
                    ..self
                };
                match width {
                    1 => S::call(Panel::<1>(panel)),
                    2 => S::call(Panel::<2>(panel)),
                    3 if S::LANES == 16 => S::call(Panel::<3>(panel)),
                    4 if S::LANES == 16 => S::call(Panel::<4>(panel)),
                    _ => {}
                }
            }
            done += width;
        }
    }
}

/// How many of `left` vectors the next panel takes, so that none is left narrow: 5 = 3 + 2, 6 = 3 + 3.
fn panel_width(left: usize, most: usize) -> usize {
    match (left, most) {
        (5 | 6 | 9, 4) => 3,
        _ => left.min(most),
    }
}

/// A product of N vectors of columns, its rows split evenly into register tiles.
struct Panel<const N: usize>(Product);

impl<const N: usize> Kernel for Panel<N> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // Rows a tile, so that accumulators, one row of B and a broadcast fit the registers.
        let most = match (S::LANES, N) {
            (16, 1) => 16,
            (16, 2) => 12,
            (16, 3) => 8,
            (16, _) => 6,
            (8, _) => 6,
            _ => 4,
        };
        let tiles = self.0.rows.div_ceil(most);
        for tile in 0..tiles {
            let (first, end) = (self.0.rows * tile / tiles, self.0.rows * (tile + 1) / tiles);
            // SAFETY: the rows lie inside A and C; the rest is required of the caller.
            unsafe {
                let a = match self.0.transposed {
                    true => self.0.a.add(first),
                    false => self.0.a.add(first * self.0.a_stride),
                };
                let part = Product {
                    a,
                    c: self.0.c.add(first * self.0.c_stride),
                    ..self.0
                };
                rows_of::<S, N>(part, end - first);
            }
        }
    }
}

/// One register tile of `rows` rows.
#[inline(always)]
unsafe fn rows_of<S: Simd, const N: usize>(p: Product, rows: usize) {
    // SAFETY: required of the caller.
    unsafe {
        match rows {
            1 => layout::<S, 1, N>(p),
            2 => layout::<S, 2, N>(p),
            3 => layout::<S, 3, N>(p),
            4 => layout::<S, 4, N>(p),
            5 if S::LANES > 4 => layout::<S, 5, N>(p),
            6 if S::LANES > 4 => layout::<S, 6, N>(p),
            7 if S::LANES == 16 && N < 4 => layout::<S, 7, N>(p),
            8 if S::LANES == 16 && N < 4 => layout::<S, 8, N>(p),
            9 if S::LANES == 16 && N < 3 => layout::<S, 9, N>(p),
            10 if S::LANES == 16 && N < 3 => layout::<S, 10, N>(p),
            11 if S::LANES == 16 && N < 3 => layout::<S, 11, N>(p),
            12 if S::LANES == 16 && N < 3 => layout::<S, 12, N>(p),
            13 if S::LANES == 16 && N < 2 => layout::<S, 13, N>(p),
            14 if S::LANES == 16 && N < 2 => layout::<S, 14, N>(p),
            15 if S::LANES == 16 && N < 2 => layout::<S, 15, N>(p),
            16 if S::LANES == 16 && N < 2 => layout::<S, 16, N>(p),
            _ => {}
        }
    }
}

#[inline(always)]
unsafe fn layout<S: Simd, const M: usize, const N: usize>(p: Product) {
    // SAFETY: required of the caller.
    unsafe {
        match p.transposed {
            true => tile::<S, M, N, true>(p),
            false => tile::<S, M, N, false>(p),
        }
    }
}

#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const N: usize, const TRANSPOSED: bool>(p: Product) {
    // SAFETY: required of the caller.
    unsafe {
        let mut sums = [[S::zero(); N]; M];
        let mut step = 0;
        // A row's address serves several steps: with one vector of columns, finding the
        // addresses of many rows would take longer than the arithmetic.
        if !TRANSPOSED && N == 1 {
            while step + 4 <= p.depth {
                steps::<S, M, N, TRANSPOSED, 4>(&p, step, &mut sums);
                step += 4;
            }
        }
        if !TRANSPOSED && N == 2 {
            while step + 2 <= p.depth {
                steps::<S, M, N, TRANSPOSED, 2>(&p, step, &mut sums);
                step += 2;
            }
        }
        while step < p.depth {
            steps::<S, M, N, TRANSPOSED, 1>(&p, step, &mut sums);
            step += 1;
        }
        for (i, sums) in sums.iter().enumerate() {
            for (j, &sum) in sums.iter().enumerate() {
                let to = p.c.add(i * p.c_stride + j * S::LANES);
                S::store(to, if p.add { S::add(S::load(to), sum) } else { sum });
            }
        }
    }
}

/// Adds U steps of depth to the sums.
#[inline(always)]
unsafe fn steps<S: Simd, const M: usize, const N: usize, const TRANSPOSED: bool, const U: usize>(
    p: &Product,
    step: usize,
    sums: &mut [[S::Vector; N]; M],
) {
    // SAFETY: required of the caller.
    unsafe {
        let mut b = [[S::zero(); N]; U];
        for (u, b) in b.iter_mut().enumerate() {
            let row = p.b.add((step + u) * p.b_stride);
            for (j, b) in b.iter_mut().enumerate() {
                *b = S::load(row.add(j * S::LANES));
            }
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            let row = match TRANSPOSED {
                true => p.a.add(step * p.a_stride + i),
                false => p.a.add(i * p.a_stride + step),
            };
            for (u, b) in b.iter().enumerate() {
                let a = S::splat(*row.add(u));
                for (sum, &b) in sums.iter_mut().zip(b) {
                    *sum = S::mul_add(a, b, *sum);
                }
            }
        }
    }
}
