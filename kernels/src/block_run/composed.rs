//! The same run by separate operators: the specification, and the way for everything but f32 on a CPU.

use super::{Norm, Unit, View};
use crate::batch_norm::{BatchStatistics, batch_norm_train};
use crate::conv2d::conv2d;
use candle_core::{Result, Tensor};

/// One value, raw and normed.
struct Value {
    raw: Tensor,
    normed: Option<Tensor>,
}

/// The values there are; the checks of the graph have passed.
struct Values(Vec<Value>);

impl Values {
    fn view(&self, view: View) -> &Tensor {
        match view {
            View::Raw(index) => &self.0[index].raw,
            View::Normed(index) => self.0[index].normed.as_ref().unwrap_or(&self.0[index].raw),
        }
    }

    /// Adds a value, normed if it has a norm.
    fn push(&mut self, raw: Tensor, norm: Option<&Norm>) -> Result<Option<BatchStatistics>> {
        let Some(norm) = norm else {
            self.0.push(Value { raw, normed: None });
            return Ok(None);
        };
        let residual = norm.residual.map(|view| self.view(view));
        let (normed, statistics) = batch_norm_train(
            &raw,
            norm.gamma,
            norm.beta,
            residual,
            norm.eps,
            norm.activation,
        )?;
        self.0.push(Value {
            raw,
            normed: Some(normed),
        });
        Ok(Some(statistics))
    }
}

pub(super) fn run(
    input: &Tensor,
    input_norm: Option<&Norm>,
    units: &[Unit],
) -> Result<(Tensor, Vec<Option<BatchStatistics>>)> {
    let mut values = Values(Vec::with_capacity(units.len() + 1));
    let mut statistics = vec![values.push(input.clone(), input_norm)?];
    for unit in units {
        let raw = conv2d(values.view(unit.input), unit.weight, None, &unit.geometry)?;
        let raw = match unit.add {
            Some(view) => (raw + values.view(view))?,
            None => raw,
        };
        statistics.push(values.push(raw, unit.norm.as_ref())?);
    }
    let last = View::Normed(units.len());
    Ok((values.view(last).clone(), statistics))
}
