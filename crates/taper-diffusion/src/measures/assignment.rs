//! The assignment problem: which column for each row, at the least total cost.
//!
//! Jonker and Volgenant 1987, "A shortest augmenting path algorithm for dense and sparse linear
//! assignment problems": column reduction, augmenting row reduction, then shortest paths.

use crate::error::{DiffusionError, Result};

const FREE: usize = usize::MAX;
/// Passes of the augmenting row reduction, as in the paper.
const REDUCTIONS: usize = 2;

/// The column of each row of `costs` (`size` × `size`, row by row) in an assignment of least cost.
///
/// Exact up to rounding in f64. Memory beside the costs: a few lists of `size`.
///
/// # Errors
/// If the costs are not `size`² finite numbers.
pub fn assignment(costs: &[f64], size: usize) -> Result<Vec<usize>> {
    if size.checked_mul(size) != Some(costs.len()) || costs.iter().any(|cost| !cost.is_finite()) {
        return Err(DiffusionError::measure(
            "assignment",
            format!("{} costs, or one that is not finite", costs.len()),
            format!("{size} × {size} finite costs"),
        ));
    }
    let mut problem = Problem {
        costs,
        size,
        column_of: vec![FREE; size],
        row_of: vec![FREE; size],
        prices: vec![0.0; size],
    };
    problem.reduce_columns();
    let mut free: Vec<usize> = (0..size)
        .filter(|&row| problem.column_of[row] == FREE)
        .collect();
    for _ in 0..REDUCTIONS {
        free = problem.reduce_rows(free);
    }
    let mut search = Search::new(size);
    for row in free {
        problem.augment(row, &mut search);
    }
    Ok(problem.column_of)
}

/// `costs − prices` of every assigned pair is the least of its row, at any time.
struct Problem<'a> {
    costs: &'a [f64],
    size: usize,
    column_of: Vec<usize>,
    row_of: Vec<usize>,
    prices: Vec<f64>,
}

impl Problem<'_> {
    fn row(&self, row: usize) -> &[f64] {
        &self.costs[row * self.size..(row + 1) * self.size]
    }

    fn assign(&mut self, row: usize, column: usize) {
        self.column_of[row] = column;
        self.row_of[column] = row;
    }

    /// Each column's price becomes its least cost; the row that has it takes the column, if it has none.
    fn reduce_columns(&mut self) {
        let mut least = vec![(f64::INFINITY, FREE); self.size];
        for row in 0..self.size {
            for (least, &cost) in least.iter_mut().zip(self.row(row)) {
                if cost < least.0 {
                    *least = (cost, row);
                }
            }
        }
        for (column, (cost, row)) in least.into_iter().enumerate() {
            self.prices[column] = cost;
            if self.column_of[row] == FREE {
                self.assign(row, column);
            }
        }
    }

    /// Least and second least of `costs − prices` in a row, and their columns.
    fn two_least(&self, row: usize, scratch: &mut [f64]) -> ((f64, usize), (f64, usize)) {
        let pairs = self.row(row).iter().zip(&self.prices);
        for (reduced, (cost, price)) in scratch.iter_mut().zip(pairs) {
            *reduced = cost - price;
        }
        let first = least(scratch);
        scratch[first.1] = f64::INFINITY;
        (first, least(scratch))
    }

    /// Every free row takes its best column and lowers its price to the second best; the row that
    /// had it goes on looking. Returns the rows that are still free.
    fn reduce_rows(&mut self, mut waiting: Vec<usize>) -> Vec<usize> {
        let mut left = Vec::new();
        let mut scratch = vec![0.0; self.size];
        // Rounding must not let rows oust each other for ever.
        let mut moves = 20 * self.size;
        waiting.reverse();
        while let Some(row) = waiting.pop() {
            let (first, second) = self.two_least(row, &mut scratch);
            moves = moves.saturating_sub(1);
            if moves == 0 || second.0 == f64::INFINITY {
                left.push(row);
                continue;
            }
            let gap = second.0 - first.0;
            let mut column = first.1;
            if gap > 0.0 {
                self.prices[column] -= gap;
            } else if self.row_of[column] != FREE {
                column = second.1;
            }
            let ousted = self.row_of[column];
            self.assign(row, column);
            if ousted != FREE {
                self.column_of[ousted] = FREE;
                match gap > 0.0 {
                    true => waiting.push(ousted),
                    false => left.push(ousted),
                }
            }
        }
        left
    }

    /// Dijkstra's shortest path of reduced costs from a free row to a free column; the rows on it move on by one.
    fn augment(&mut self, free: usize, search: &mut Search) {
        search.start();
        let mut row = free;
        let mut base = 0.0;
        let (length, end) = loop {
            search.relax(row, self.row(row), &self.prices, base);
            let (length, column) = least(&search.open);
            if self.row_of[column] == FREE {
                break (length, column);
            }
            search.close(column);
            row = self.row_of[column];
            base = self.row(row)[column] - self.prices[column] - length;
        };
        for &(column, closed_at) in &search.closed {
            self.prices[column] += closed_at - length;
        }
        let mut column = end;
        loop {
            let row = search.before[column] as usize;
            let next = self.column_of[row];
            self.assign(row, column);
            if row == free {
                break;
            }
            column = next;
        }
    }
}

/// The least value and its place, in eight lanes so that the compiler can use vectors.
fn least(values: &[f64]) -> (f64, usize) {
    let mut lanes = [f64::INFINITY; 8];
    let mut runs = values.chunks_exact(lanes.len());
    for run in &mut runs {
        for (lane, &value) in lanes.iter_mut().zip(run) {
            *lane = if value < *lane { value } else { *lane };
        }
    }
    let rest = runs.remainder().iter().chain(&lanes);
    let value = rest.copied().fold(f64::INFINITY, f64::min);
    let place = values.iter().position(|&other| other == value);
    (value, place.unwrap_or(0))
}

/// The state of one search, kept for the next.
struct Search {
    /// The shortest way known to each column, infinite for those whose way is settled.
    open: Vec<f64>,
    /// 0, or infinite for a settled column: added to a way it keeps it from being found again.
    bar: Vec<f64>,
    /// The row before each column, as wide as the ways so that both move in one vector operation.
    before: Vec<u64>,
    /// Settled columns and their ways.
    closed: Vec<(usize, f64)>,
}

impl Search {
    fn new(size: usize) -> Self {
        Self {
            open: vec![f64::INFINITY; size],
            bar: vec![0.0; size],
            before: vec![0; size],
            closed: Vec::with_capacity(size),
        }
    }

    fn start(&mut self) {
        self.open.fill(f64::INFINITY);
        self.bar.fill(0.0);
        self.closed.clear();
    }

    fn close(&mut self, column: usize) {
        self.closed.push((column, self.open[column]));
        self.open[column] = f64::INFINITY;
        self.bar[column] = f64::INFINITY;
    }

    /// Ways to every open column through `row`, whose own way has the length −`base` before reduction.
    fn relax(&mut self, row: usize, costs: &[f64], prices: &[f64], base: f64) {
        let ways = costs.iter().zip(prices).zip(&self.bar);
        let known = self.open.iter_mut().zip(&mut self.before);
        for (((cost, price), bar), (open, before)) in ways.zip(known) {
            let through = cost - price - base + bar;
            let shorter = through < *open;
            *open = if shorter { through } else { *open };
            *before = if shorter { row as u64 } else { *before };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;
    use taper_kernels::random::stream;

    fn total(costs: &[f64], size: usize, columns: &[usize]) -> f64 {
        columns
            .iter()
            .enumerate()
            .map(|(row, column)| costs[row * size + column])
            .sum()
    }

    fn brute_force(costs: &[f64], size: usize, row: usize, used: &mut Vec<bool>) -> f64 {
        if row == size {
            return 0.0;
        }
        let mut best = f64::INFINITY;
        for column in 0..size {
            if !used[column] {
                used[column] = true;
                let rest = brute_force(costs, size, row + 1, used);
                best = best.min(costs[row * size + column] + rest);
                used[column] = false;
            }
        }
        best
    }

    #[test]
    fn equal_to_brute_force_on_small_problems() {
        for case in 0..400 {
            let mut random = stream(1, "assignment", case);
            let size = random.random_range(1..=7);
            // Whole numbers make ties, which is where such algorithms go wrong.
            let costs: Vec<f64> = (0..size * size)
                .map(|_| match case % 2 {
                    0 => random.random::<f64>(),
                    _ => f64::from(random.random_range(0..4)),
                })
                .collect();
            let columns = assignment(&costs, size).unwrap();
            let mut sorted = columns.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..size).collect::<Vec<_>>(), "case {case}");
            let best = brute_force(&costs, size, 0, &mut vec![false; size]);
            assert!(
                (total(&costs, size, &columns) - best).abs() < 1e-12,
                "case {case}"
            );
        }
    }

    /// On a line the best assignment is the sorted one.
    #[test]
    fn many_points_on_a_line() {
        let size = 1_000;
        let mut random = stream(2, "assignment", 0);
        let mut draw = || -> Vec<f64> { (0..size).map(|_| random.random()).collect() };
        let (mut a, mut b) = (draw(), draw());
        let costs: Vec<f64> = a
            .iter()
            .flat_map(|a| b.iter().map(move |b| (a - b).powi(2)))
            .collect();
        let found = total(&costs, size, &assignment(&costs, size).unwrap());
        a.sort_unstable_by(f64::total_cmp);
        b.sort_unstable_by(f64::total_cmp);
        let best: f64 = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum();
        assert!((found - best).abs() < 1e-9, "{found} {best}");
    }

    #[test]
    fn bad_costs_are_refused() {
        assert!(assignment(&[1.0, 2.0], 2).is_err());
        assert!(assignment(&[f64::NAN], 1).is_err());
        assert_eq!(assignment(&[], 0).unwrap(), Vec::<usize>::new());
    }
}
