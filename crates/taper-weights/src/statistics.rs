//! Smallest, largest, mean, deviation of a tensor's numbers, read piece by piece.

use crate::reader::{TensorEntry, number};
use crate::{TensorFile, WeightsError};

/// Of the finite numbers of a tensor; a complex one counts as two.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Statistics {
    /// Numbers, the others included.
    pub count: u64,
    /// Smallest finite number, `None` if there is none.
    pub min: Option<f64>,
    /// Largest finite number.
    pub max: Option<f64>,
    /// Mean of the finite numbers.
    pub mean: Option<f64>,
    /// Their standard deviation with n - 1 in the denominator, as PyTorch's `std`; `None` below two.
    pub std: Option<f64>,
    /// Numbers that are not a number.
    pub nan: u64,
    /// Infinite numbers.
    pub inf: u64,
}

impl Statistics {
    /// Whether every number is finite.
    pub fn is_finite(&self) -> bool {
        self.nan == 0 && self.inf == 0
    }
}

impl TensorFile {
    /// Statistics of one tensor, in constant memory.
    ///
    /// # Errors
    /// [`WeightsError`] of the file.
    pub fn statistics(&self, entry: &TensorEntry) -> Result<Statistics, WeightsError> {
        let mut sums = Sums::default();
        let mut numbers = Vec::new();
        self.read_into(entry, &mut |piece| {
            numbers.clear();
            number::decode(entry.dtype, piece, &mut numbers);
            sums.add(&numbers);
            Ok(())
        })?;
        Ok(sums.finish())
    }
}

/// Mean and squared deviations of what was seen, joined piece by piece (Chan, Golub and LeVeque 1979).
#[derive(Default)]
struct Sums {
    finite: u64,
    mean: f64,
    squares: f64,
    min: Option<f64>,
    max: Option<f64>,
    nan: u64,
    inf: u64,
}

impl Sums {
    fn add(&mut self, numbers: &[f64]) {
        let (mut count, mut sum) = (0u64, 0.);
        for &number in numbers {
            if number.is_finite() {
                count += 1;
                sum += number;
                self.min = Some(self.min.map_or(number, |min| min.min(number)));
                self.max = Some(self.max.map_or(number, |max| max.max(number)));
            } else if number.is_nan() {
                self.nan += 1;
            } else {
                self.inf += 1;
            }
        }
        if count == 0 {
            return;
        }
        let mean = sum / count as f64;
        let finite = numbers.iter().filter(|number| number.is_finite());
        let squares: f64 = finite.map(|number| (number - mean).powi(2)).sum();
        let total = self.finite + count;
        let apart = mean - self.mean;
        let share = count as f64 / total as f64;
        self.squares += squares + apart * apart * self.finite as f64 * share;
        self.mean += apart * share;
        self.finite = total;
    }

    fn finish(self) -> Statistics {
        let some = self.finite > 0;
        // Sums of the largest doubles overflow; JSON has no infinity.
        let finite = |number: f64| number.is_finite().then_some(number);
        let variance = (self.finite > 1).then(|| self.squares / (self.finite - 1) as f64);
        Statistics {
            count: self.finite + self.nan + self.inf,
            min: self.min,
            max: self.max,
            mean: some.then_some(self.mean).and_then(finite),
            std: variance.map(f64::sqrt).and_then(finite),
            nan: self.nan,
            inf: self.inf,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_the_whole() {
        let numbers: Vec<f64> = (0..1000).map(|i| 1e6 + f64::from(i % 37)).collect();
        let mut whole = Sums::default();
        whole.add(&numbers);
        let mut parts = Sums::default();
        for part in numbers.chunks(77) {
            parts.add(part);
        }
        let (whole, parts) = (whole.finish(), parts.finish());
        let near = |a: Option<f64>, b: Option<f64>| (a.unwrap() - b.unwrap()).abs() < 1e-9;
        assert!(near(whole.mean, parts.mean) && near(whole.std, parts.std));
        assert_eq!((parts.min, parts.max), (Some(1e6), Some(1e6 + 36.)));
    }

    #[test]
    fn numbers_that_are_not_finite_are_counted() {
        let mut sums = Sums::default();
        sums.add(&[1., f64::NAN, 3., f64::INFINITY, f64::NEG_INFINITY]);
        let found = sums.finish();
        assert_eq!((found.nan, found.inf, found.count), (1, 2, 5));
        assert_eq!((found.mean, found.std), (Some(2.), Some(2f64.sqrt())));
        assert!(!found.is_finite());
        let mut none = Sums::default();
        none.add(&[f64::NAN]);
        assert_eq!(none.finish().mean, None);
    }
}
