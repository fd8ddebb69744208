//! The exponential moving average of the parameters.

use crate::error::{Result, TrainError};
use candle_core::{Tensor, Var};
use std::collections::BTreeMap;

/// `average ← decay · average + (1 - decay) · parameter` after every step, from the initial parameters on.
///
/// Buffers (running statistics) are averages already: the averaged network uses them as they are.
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    averages: BTreeMap<String, Tensor>,
}

impl Ema {
    /// Begins at the parameters' present values.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn new(decay: f64, parameters: &BTreeMap<String, Var>) -> Result<Self> {
        let copy = |(name, parameter): (&String, &Var)| {
            Ok((name.clone(), parameter.as_tensor().detach().copy()?))
        };
        Ok(Self {
            decay,
            averages: parameters.iter().map(copy).collect::<Result<_>>()?,
        })
    }

    /// Takes in the parameters after a step.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn update(&self, parameters: &BTreeMap<String, Var>) -> Result<()> {
        for (name, average) in &self.averages {
            if let Some(parameter) = parameters.get(name) {
                taper_kernels::ema_step(average, &parameter.as_tensor().detach(), self.decay)?;
            }
        }
        Ok(())
    }

    /// The averages by parameter name.
    pub fn averages(&self) -> &BTreeMap<String, Tensor> {
        &self.averages
    }

    /// Takes back averages that were saved.
    ///
    /// # Errors
    /// [`TrainError::CheckpointMismatch`] naming the tensor.
    pub fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, average) in &mut self.averages {
            let found = state.get(name);
            match found {
                Some(tensor)
                    if tensor.dims() == average.dims() && tensor.dtype() == average.dtype() =>
                {
                    *average = tensor.to_device(average.device())?.copy()?;
                }
                _ => {
                    return Err(TrainError::CheckpointMismatch {
                        tensor: format!("ema.{name}"),
                        found: found.map_or("nothing".into(), |t| format!("{:?}", t.dims())),
                        expected: format!("{:?}", average.dims()),
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn average_and_state() -> Result<()> {
        let parameter = Var::new(&[1f32, 2.0], &Device::Cpu)?;
        let parameters = BTreeMap::from([("w".to_string(), parameter.clone())]);
        let mut ema = Ema::new(0.75, &parameters)?;
        parameter.set(&Tensor::new(&[5f32, -2.0], &Device::Cpu)?)?;
        ema.update(&parameters)?;
        let values = |ema: &Ema| ema.averages()["w"].to_vec1::<f32>();
        assert_eq!(values(&ema)?, [2.0, 1.0]);
        let mut other = Ema::new(0.75, &parameters)?;
        other.restore(ema.averages())?;
        assert_eq!(values(&other)?, [2.0, 1.0]);
        let wrong = BTreeMap::from([("w".to_string(), Tensor::new(1f32, &Device::Cpu)?)]);
        assert!(
            ema.restore(&wrong)
                .unwrap_err()
                .to_string()
                .contains("ema.w")
        );
        Ok(())
    }
}
