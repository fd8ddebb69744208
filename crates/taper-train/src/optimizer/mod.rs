//! The update rules, with a state that is keyed by parameter name and can be saved.

mod adamw;
mod sgd;

pub use adamw::AdamW;
pub use sgd::Sgd;

use crate::config::OptimizerConfig;
use crate::error::{Result, TrainError};
use candle_core::{DType, Device, Tensor, Var};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// An update rule and its state.
#[derive(Debug)]
pub enum Optimizer {
    /// Gradient descent with momentum.
    Sgd(Sgd),
    /// Adam with decoupled weight decay.
    AdamW(AdamW),
}

/// What one step of one parameter uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Learning rate, after the schedule.
    pub learning_rate: f64,
    /// Weight decay of this parameter.
    pub weight_decay: f64,
}

impl Optimizer {
    /// Without state.
    pub fn new(config: &OptimizerConfig) -> Self {
        match *config {
            OptimizerConfig::Sgd {
                momentum, nesterov, ..
            } => Self::Sgd(Sgd::new(momentum, nesterov)),
            OptimizerConfig::AdamW { betas, epsilon, .. } => {
                Self::AdamW(AdamW::new(betas, epsilon))
            }
        }
    }

    /// Moves one parameter in place. Call it after `backward`, never between a forward pass and its backward.
    ///
    /// # Errors
    /// If shapes or types of parameter and gradient differ.
    pub fn step(
        &mut self,
        name: &str,
        parameter: &Var,
        gradient: &Tensor,
        rate: Rate,
    ) -> Result<()> {
        match self {
            Self::Sgd(sgd) => sgd.step(name, parameter, gradient, rate),
            Self::AdamW(adamw) => adamw.step(name, parameter, gradient, rate),
        }
    }

    /// How often a parameter has been moved.
    pub fn updates(&self, name: &str) -> u64 {
        self.slots().get(name).map_or(0, |slot| slot.updates)
    }

    /// The state as named tensors: `KIND.PARAMETER` for each moment and `updates.PARAMETER` for the count.
    ///
    /// # Errors
    /// If Candle fails.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        let mut state = BTreeMap::new();
        for (name, slot) in self.slots() {
            for (kind, moment) in self.kinds().iter().zip(&slot.moments) {
                state.insert(format!("{kind}.{name}"), moment.clone());
            }
            let updates = Tensor::new(slot.updates as i64, &Device::Cpu)?;
            state.insert(format!("{UPDATES}.{name}"), updates);
        }
        Ok(state)
    }

    /// Takes back what [`state`](Self::state) gave; `parameters` are those it may speak of.
    ///
    /// # Errors
    /// [`TrainError::CheckpointMismatch`] naming the tensor.
    pub fn restore(
        &mut self,
        state: &BTreeMap<String, Tensor>,
        parameters: &BTreeMap<String, Var>,
    ) -> Result<()> {
        let mut slots = BTreeMap::new();
        let mut used = 0;
        for (name, parameter) in parameters {
            let Some(updates) = state.get(&format!("{UPDATES}.{name}")) else {
                continue;
            };
            let updates = updates.to_dtype(DType::I64)?.to_scalar::<i64>()? as u64;
            let moment = |kind: &&str| fitting(state, &format!("{kind}.{name}"), parameter);
            let moments = self
                .kinds()
                .iter()
                .map(moment)
                .collect::<Result<Vec<_>>>()?;
            used += 1 + moments.len();
            slots.insert(name.clone(), Slot { moments, updates });
        }
        if used != state.len() {
            return Err(TrainError::CheckpointMismatch {
                tensor: "optimizer".into(),
                found: format!("{} tensors", state.len()),
                expected: format!("{used} for this optimiser and network"),
            });
        }
        match self {
            Self::Sgd(sgd) => sgd.slots = slots,
            Self::AdamW(adamw) => adamw.slots = slots,
        }
        Ok(())
    }

    fn slots(&self) -> &BTreeMap<String, Slot> {
        match self {
            Self::Sgd(sgd) => &sgd.slots,
            Self::AdamW(adamw) => &adamw.slots,
        }
    }

    /// Names of a slot's moments, in order.
    fn kinds(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd(_) => &sgd::KINDS,
            Self::AdamW(_) => &adamw::KINDS,
        }
    }
}

const UPDATES: &str = "updates";

/// What is kept for one parameter.
#[derive(Debug)]
struct Slot {
    moments: Vec<Tensor>,
    updates: u64,
}

impl Slot {
    /// The slot of a parameter, made of zeros at its first step.
    fn of<'a>(
        slots: &'a mut BTreeMap<String, Self>,
        name: &str,
        parameter: &Var,
        moments: usize,
    ) -> Result<&'a mut Self> {
        Ok(match slots.entry(name.to_string()) {
            Entry::Occupied(slot) => slot.into_mut(),
            Entry::Vacant(place) => place.insert(Self::zeros(parameter, moments)?),
        })
    }

    fn zeros(parameter: &Var, moments: usize) -> Result<Self> {
        let moments = (0..moments).map(|_| parameter.as_tensor().detach().zeros_like());
        Ok(Self {
            moments: moments.collect::<candle_core::Result<_>>()?,
            updates: 0,
        })
    }
}

/// The tensor of `state` of that name, if it has the parameter's shape and type, on its device.
fn fitting(state: &BTreeMap<String, Tensor>, name: &str, parameter: &Var) -> Result<Tensor> {
    let describe = |tensor: &Tensor| format!("{:?} {:?}", tensor.dtype(), tensor.dims());
    let found = state.get(name);
    match found {
        Some(tensor)
            if tensor.dims() == parameter.dims() && tensor.dtype() == parameter.dtype() =>
        {
            Ok(tensor.to_device(parameter.device())?.copy()?)
        }
        _ => Err(TrainError::CheckpointMismatch {
            tensor: format!("optimizer.{name}"),
            found: found.map_or_else(|| "nothing".into(), describe),
            expected: describe(parameter.as_tensor()),
        }),
    }
}
