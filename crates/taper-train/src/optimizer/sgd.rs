//! Stochastic gradient descent with momentum.

use super::{Rate, Slot};
use crate::error::Result;
use candle_core::{Tensor, Var};
use std::collections::BTreeMap;
use taper_kernels::{SgdHyper, sgd_step};

pub(super) const KINDS: [&str; 1] = ["velocity"];

/// The rule of `torch.optim.SGD` with dampening 0:
/// `g ← g + λp`, `v ← μv + g` (at first `v ← g`), `p ← p - ηv`, with Nesterov `p ← p - η(g + μv)`.
#[derive(Debug)]
pub struct Sgd {
    momentum: f64,
    nesterov: bool,
    pub(super) slots: BTreeMap<String, Slot>,
}

impl Sgd {
    /// Momentum μ; learning rate η and weight decay λ come with each step.
    pub fn new(momentum: f64, nesterov: bool) -> Self {
        Self {
            momentum,
            nesterov,
            slots: BTreeMap::new(),
        }
    }

    pub(super) fn step(
        &mut self,
        name: &str,
        parameter: &Var,
        gradient: &Tensor,
        rate: Rate,
    ) -> Result<()> {
        let slot = Slot::of(&mut self.slots, name, parameter, KINDS.len())?;
        let hyper = SgdHyper {
            lr: rate.learning_rate,
            momentum: self.momentum,
            dampening: 0.0,
            nesterov: self.nesterov,
            weight_decay: rate.weight_decay,
        };
        let first = slot.updates == 0;
        sgd_step(parameter, gradient, &slot.moments[0], &hyper, first)?;
        slot.updates += 1;
        Ok(())
    }
}
