//! Adam with decoupled weight decay.

use super::{Rate, Slot};
use crate::error::Result;
use candle_core::{Tensor, Var};
use std::collections::BTreeMap;
use taper_kernels::{AdamWHyper, adamw_step};

pub(super) const KINDS: [&str; 2] = ["mean", "square"];

/// The rule of `torch.optim.AdamW` (arXiv:1711.05101, algorithm 2):
/// `p ← p - ηλp`, `m ← β₁m + (1-β₁)g`, `s ← β₂s + (1-β₂)g²`,
/// `p ← p - η (m / (1-β₁ᵗ)) / (√(s / (1-β₂ᵗ)) + ε)`.
#[derive(Debug)]
pub struct AdamW {
    betas: [f64; 2],
    epsilon: f64,
    pub(super) slots: BTreeMap<String, Slot>,
}

impl AdamW {
    /// Decays β₁ and β₂ of the moments and ε; learning rate η and weight decay λ come with each step.
    pub fn new(betas: [f64; 2], epsilon: f64) -> Self {
        Self {
            betas,
            epsilon,
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
        let hyper = AdamWHyper {
            lr: rate.learning_rate,
            beta1: self.betas[0],
            beta2: self.betas[1],
            eps: self.epsilon,
            weight_decay: rate.weight_decay,
        };
        slot.updates += 1;
        let (mean, square) = (&slot.moments[0], &slot.moments[1]);
        Ok(adamw_step(
            parameter,
            gradient,
            mean,
            square,
            &hyper,
            slot.updates,
        )?)
    }
}
