//! Running means in double precision.

use crate::error::{Result, TrainError};
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;

/// A weighted mean.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MeanMeter {
    sum: f64,
    weight: f64,
}

impl MeanMeter {
    /// Adds a value that stands for `weight` samples.
    pub fn add(&mut self, value: f64, weight: f64) {
        self.sum += value * weight;
        self.weight += weight;
    }

    /// The mean so far; `None` before the first value.
    pub fn mean(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

/// Named means of one epoch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Meters(BTreeMap<String, MeanMeter>);

impl Meters {
    /// Adds a value that stands for `weight` samples.
    pub fn add(&mut self, name: &str, value: f64, weight: f64) {
        match self.0.get_mut(name) {
            Some(meter) => meter.add(value, weight),
            None => {
                let mut meter = MeanMeter::default();
                meter.add(value, weight);
                self.0.insert(name.to_string(), meter);
            }
        }
    }

    /// Every mean, by name.
    pub fn means(&self) -> BTreeMap<String, f64> {
        self.0
            .iter()
            .filter_map(|(name, meter)| Some((name.clone(), meter.mean()?)))
            .collect()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Exact state: `[sum, weight]` a meter.
    pub(crate) fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let tensor = |meter: &MeanMeter| Tensor::new(&[meter.sum, meter.weight], &Device::Cpu);
        self.0
            .iter()
            .map(|(name, meter)| Ok((name.clone(), tensor(meter)?)))
            .collect()
    }

    pub(crate) fn restore(state: &BTreeMap<String, Tensor>) -> Result<Self> {
        let mut meters = BTreeMap::new();
        for (name, tensor) in state {
            let values = tensor.flatten_all()?.to_vec1::<f64>()?;
            let [sum, weight] = values[..] else {
                return Err(TrainError::CheckpointMismatch {
                    tensor: format!("meter.{name}"),
                    found: format!("{} values", values.len()),
                    expected: "2 values".into(),
                });
            };
            meters.insert(name.clone(), MeanMeter { sum, weight });
        }
        Ok(Self(meters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weighted_mean_and_state() -> Result<()> {
        let mut meters = Meters::default();
        meters.add("loss", 1.0, 3.0);
        meters.add("loss", 5.0, 1.0);
        assert_eq!(meters.means()["loss"], 2.0);
        assert_eq!(MeanMeter::default().mean(), None);
        assert_eq!(Meters::restore(&meters.state()?)?, meters);
        Ok(())
    }
}
