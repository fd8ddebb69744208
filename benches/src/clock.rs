//! Times of calls, in short bursts.

use candle_core::{Device, Result};
use std::time::{Duration, Instant};

/// A burst has at least so many calls.
pub(crate) const LEAST_CALLS: usize = 3;

/// A fifth, half and four fifths of the measured times, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantiles {
    /// The fastest call.
    pub least: f64,
    /// A fifth of the calls took less.
    pub p20: f64,
    /// Half of the calls took less.
    pub median: f64,
    /// Four fifths of the calls took less.
    pub p80: f64,
    /// How many calls were timed.
    pub count: usize,
}

impl Quantiles {
    /// Of these times; `None` of none.
    pub fn of(mut seconds: Vec<f64>) -> Option<Self> {
        seconds.sort_by(f64::total_cmp);
        let last = seconds.len().checked_sub(1)?;
        let at = |share: f64| seconds[(last as f64 * share).round() as usize];
        Some(Self {
            least: seconds[0],
            p20: at(0.2),
            median: at(0.5),
            p80: at(0.8),
            count: seconds.len(),
        })
    }
}

/// Seconds of each call of `call` for as long as `budget`, after one call that is not counted.
/// `call` returns how long the part that is timed took.
pub(crate) fn burst(
    budget: Duration,
    mut call: impl FnMut() -> Result<Duration>,
) -> Result<Vec<f64>> {
    call()?;
    let (begun, mut seconds) = (Instant::now(), Vec::new());
    while seconds.len() < LEAST_CALLS || begun.elapsed() < budget {
        seconds.push(call()?.as_secs_f64());
    }
    Ok(seconds)
}

/// How long `body` takes on `device`, which is idle before and after.
pub(crate) fn time<R>(device: &Device, body: impl FnOnce() -> Result<R>) -> Result<(R, Duration)> {
    let start = Instant::now();
    let result = body()?;
    device.synchronize()?;
    Ok((result, start.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::{LEAST_CALLS, Quantiles, burst};
    use std::time::Duration;

    #[test]
    fn quantiles_of_eleven_numbers_are_three_of_them() {
        let found = Quantiles::of((0..11).rev().map(f64::from).collect()).unwrap();
        assert_eq!(
            (found.p20, found.median, found.p80, found.count),
            (2.0, 5.0, 8.0, 11)
        );
        assert_eq!(Quantiles::of(Vec::new()), None);
    }

    #[test]
    fn the_first_call_of_a_burst_is_not_counted() {
        let mut calls = 0;
        let seconds = burst(Duration::ZERO, || {
            calls += 1;
            Ok(Duration::from_secs(calls))
        })
        .unwrap();
        assert_eq!(seconds, [2.0, 3.0, 4.0]);
        assert_eq!(seconds.len(), LEAST_CALLS);
    }
}
