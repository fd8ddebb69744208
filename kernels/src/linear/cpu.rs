//! The bias: added to every row, its derivative summed over the rows.

use crate::element::Element;

/// Every row plus `bias`.
pub(super) fn add_bias<T: Element>(x: &[T], bias: &[T]) -> Vec<T> {
    let mut output = Vec::with_capacity(x.len());
    for row in x.chunks_exact(bias.len().max(1)) {
        output.extend(row.iter().zip(bias).map(|(&x, &bias)| x + bias));
    }
    output
}

/// The sum of every column, in `f64`.
pub(super) fn column_sums<T: Element>(gradient: &[T], columns: usize) -> Vec<T> {
    let mut sums = vec![0.0; columns];
    for row in gradient.chunks_exact(columns.max(1)) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value.to_f64();
        }
    }
    sums.into_iter().map(T::from_f64).collect()
}
