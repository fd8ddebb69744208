//! What the last finished epoch measured: exactly, as decimal text may lose a number's last bit.

use crate::checkpoint::Tensors;
use crate::error::Result;
use crate::metrics::{EpochRecord, Metrics};
use candle_core::{Device, Tensor};

/// The numbers of the last epoch that the summary repeats.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct LastEpoch {
    pub loss: f64,
    pub train: Metrics,
    pub test: Metrics,
}

const LOSS: &str = "loss";
const TRAIN: &str = "train.";
const TEST: &str = "test.";

impl LastEpoch {
    pub fn of(record: &EpochRecord) -> Self {
        Self {
            loss: record.loss,
            train: record.train.clone(),
            test: record.test.clone(),
        }
    }

    /// One scalar a number; NaN for one that is not known.
    pub fn state(&self) -> Result<Tensors> {
        let scalar = |value: f64| Tensor::new(value, &Device::Cpu);
        let mut state = Tensors::from([(LOSS.to_string(), scalar(self.loss)?)]);
        for (prefix, metrics) in [(TRAIN, &self.train), (TEST, &self.test)] {
            for (name, value) in metrics {
                let value = scalar(value.unwrap_or(f64::NAN))?;
                state.insert(format!("{prefix}{name}"), value);
            }
        }
        Ok(state)
    }

    pub fn restore(state: &Tensors) -> Result<Self> {
        let mut last = Self::default();
        for (name, tensor) in state {
            let value = tensor.to_scalar::<f64>()?;
            let metric = value.is_finite().then_some(value);
            if let Some(name) = name.strip_prefix(TRAIN) {
                last.train.insert(name.to_string(), metric);
            } else if let Some(name) = name.strip_prefix(TEST) {
                last.test.insert(name.to_string(), metric);
            } else if name == LOSS {
                last.loss = value;
            }
        }
        Ok(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact() -> Result<()> {
        let last = LastEpoch {
            loss: 0.1 + 0.2,
            train: Metrics::from([("top1".into(), Some(100.0 / 3.0))]),
            test: Metrics::from([("loss".into(), None), ("top1".into(), Some(1e-9))]),
        };
        assert_eq!(LastEpoch::restore(&last.state()?)?, last);
        Ok(())
    }
}
