//! The bias: added to every row, its derivative summed over the rows.

use crate::element::Element;
use crate::output::for_each_chunk;
use crate::vector::{self, Pass};

/// Every row plus `bias`.
pub(super) fn add_bias<T: Element>(x: &[T], bias: &[T]) -> Vec<T> {
    let mut output = Vec::with_capacity(x.len());
    for row in x.chunks_exact(bias.len().max(1)) {
        output.extend(row.iter().zip(bias).map(|(&x, &bias)| x + bias));
    }
    output
}

/// Columns whose sums one task adds up.
const COLUMNS: usize = 64;

/// The sum of every column, in `f64`, in the order of the rows.
pub(super) fn column_sums<T: Element>(gradient: &[T], columns: usize) -> Vec<T> {
    let mut sums = vec![T::from_f64(0.0); columns];
    for_each_chunk(&mut sums, COLUMNS, |index, sums| {
        vector::run(Sums {
            gradient,
            columns,
            first: index * COLUMNS,
            sums,
        });
    });
    sums
}

/// The sums of at most [`COLUMNS`] columns from `first` on.
struct Sums<'a, T> {
    gradient: &'a [T],
    columns: usize,
    first: usize,
    sums: &'a mut [T],
}

impl<T: Element> Pass for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let mut totals = [0.0; COLUMNS];
        let count = self.sums.len();
        for row in self.gradient.chunks_exact(self.columns) {
            let row = &row[self.first..self.first + count];
            for (total, value) in totals.iter_mut().zip(row) {
                *total += value.to_f64();
            }
        }
        for (sum, &total) in self.sums.iter_mut().zip(&totals) {
            *sum = T::from_f64(total);
        }
    }
}
