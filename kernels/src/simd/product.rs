//! Small matrix products: C (rows × columns) = A·B, lanes = columns, A broadcast.

use super::{Kernel, Simd, opaque};

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
        let series = Series {
            first: self,
            count: 1,
            steps: (0, 0, 0),
        };
        // SAFETY: required of the caller.
        unsafe { series.compute::<S>() }
    }
}

/// Several products of one shape, whose A, B and C lie at equal steps.
#[derive(Clone, Copy)]
pub(crate) struct Series {
    pub first: Product,
    pub count: usize,
    /// Floats from one product's A, B, C to the next one's.
    pub steps: (usize, usize, usize),
}

impl Series {
    /// Computes the products.
    ///
    /// # Safety
    /// As for one product; C may also be A itself, row by row, if a row of C is no longer than one of A
    /// and has no more than [`Simd::TILE_VECTORS`] vectors: rows are read before they are written.
    #[inline(always)]
    pub(crate) unsafe fn compute<S: Simd>(self) {
        let vectors = self.first.columns / S::LANES;
        let mut done = 0;
        while done < vectors {
            let width = panel_width(vectors - done, S::TILE_VECTORS);
            // SAFETY: the panel lies inside B and C; the rest is required of the caller.
            unsafe {
                let panel = Self {
                    first: Product {
                        b: self.first.b.add(done * S::LANES),
                        c: self.first.c.add(done * S::LANES),
                        ..self.first
                    },
                    ..self
                };
                match width {
                    1 => S::call(Panel::<1>(panel)),
                    2 => S::call(Panel::<2>(panel)),
                    3 if S::REGISTERS == 32 => S::call(Panel::<3>(panel)),
                    4 if S::REGISTERS == 32 => S::call(Panel::<4>(panel)),
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

/// Products of N vectors of columns, their rows split evenly into register tiles.
struct Panel<const N: usize>(Series);

impl<const N: usize> Kernel for Panel<N> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // Rows a tile, so that accumulators, one row of B and a broadcast fit the registers.
        let most = match (S::REGISTERS, N) {
            (32, 1) => 16,
            (32, 2) => 12,
            (32, 3) => 8,
            (32, _) => 6,
            (16, _) => 6,
            _ => 4,
        };
        let Series {
            first: p,
            count,
            steps,
        } = self.0;
        let tiles = p.rows.div_ceil(most);
        if tiles == 1 {
            // SAFETY: required of the caller.
            unsafe { rows_of::<S, N>(self.0, p.rows) };
            return;
        }
        for index in 0..count {
            let mut first = 0;
            for tile in 1..=tiles {
                let end = p.rows * tile / tiles;
                // SAFETY: the rows lie inside A and C; the rest is required of the caller.
                unsafe {
                    let a = match p.transposed {
                        true => p.a.add(first),
                        false => p.a.add(first * p.a_stride),
                    };
                    let part = Product {
                        a: a.add(index * steps.0),
                        b: p.b.add(index * steps.1),
                        c: p.c.add(index * steps.2 + first * p.c_stride),
                        ..p
                    };
                    let part = Series {
                        first: part,
                        count: 1,
                        steps,
                    };
                    rows_of::<S, N>(part, end - first);
                }
                first = end;
            }
        }
    }
}

/// One register tile of `rows` rows in each product.
#[inline(always)]
unsafe fn rows_of<S: Simd, const N: usize>(p: Series, rows: usize) {
    // SAFETY: required of the caller.
    unsafe {
        match rows {
            1 => layout::<S, 1, N>(p),
            2 => layout::<S, 2, N>(p),
            3 => layout::<S, 3, N>(p),
            4 => layout::<S, 4, N>(p),
            5 if S::REGISTERS > 8 => layout::<S, 5, N>(p),
            6 if S::REGISTERS > 8 => layout::<S, 6, N>(p),
            7 if S::REGISTERS == 32 && N < 4 => layout::<S, 7, N>(p),
            8 if S::REGISTERS == 32 && N < 4 => layout::<S, 8, N>(p),
            9 if S::REGISTERS == 32 && N < 3 => layout::<S, 9, N>(p),
            10 if S::REGISTERS == 32 && N < 3 => layout::<S, 10, N>(p),
            11 if S::REGISTERS == 32 && N < 3 => layout::<S, 11, N>(p),
            12 if S::REGISTERS == 32 && N < 3 => layout::<S, 12, N>(p),
            13 if S::REGISTERS == 32 && N < 2 => layout::<S, 13, N>(p),
            14 if S::REGISTERS == 32 && N < 2 => layout::<S, 14, N>(p),
            15 if S::REGISTERS == 32 && N < 2 => layout::<S, 15, N>(p),
            16 if S::REGISTERS == 32 && N < 2 => layout::<S, 16, N>(p),
            _ => {}
        }
    }
}

#[inline(always)]
unsafe fn layout<S: Simd, const M: usize, const N: usize>(series: Series) {
    let Series {
        first: p,
        count,
        steps,
    } = series;
    for index in 0..count {
        // SAFETY: required of the caller.
        unsafe {
            let p = Product {
                a: p.a.add(opaque(index * steps.0)),
                b: p.b.add(opaque(index * steps.1)),
                c: p.c.add(opaque(index * steps.2)),
                ..p
            };
            match p.transposed {
                true => tile::<S, M, N, true>(p),
                false => tile::<S, M, N, false>(p),
            }
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
