//! What a method gives to the loop: loss terms of a batch, metrics of an epoch, and the batches.

use crate::error::Result;
use crate::position::Position;
use candle_core::Tensor;
use std::collections::BTreeMap;

/// A training method: plain classification, a distiller, a diffusion objective.
///
/// The loop computes gradients and moves the parameters; the objective computes losses
/// and never touches the parameters.
pub trait Objective {
    /// What one step learns from.
    type Batch;

    /// The loss terms of one batch, on the tape.
    ///
    /// # Errors
    /// Whatever the method cannot do; see [`TrainError::method`](crate::TrainError::method).
    fn losses(&mut self, batch: &Self::Batch, position: &Position) -> Result<Losses>;

    /// Named metrics on held-out data (`top1`, `top5` in percent, `loss`), after an epoch.
    /// The store holds the averaged parameters meanwhile if the settings ask for an average.
    fn evaluate(&mut self, position: &Position) -> Result<BTreeMap<String, f64>>;

    /// Called once before the first step, after [`restore`](Self::restore): the averages of the parameters by
    /// name, empty where the settings ask for none. The loop moves them in place after every step, so a
    /// network over these tensors follows.
    ///
    /// # Errors
    /// Whatever the method cannot do with them.
    fn begin(&mut self, averages: &BTreeMap<String, Tensor>) -> Result<()> {
        let _ = averages;
        Ok(())
    }

    /// What else must survive a kill, such as memory banks. Random numbers need none of it
    /// when they are drawn from a stream that the position names.
    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(BTreeMap::new())
    }

    /// Takes back what [`state`](Self::state) gave.
    ///
    /// # Errors
    /// If a tensor is missing or does not fit.
    fn restore(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let _ = state;
        Ok(())
    }

    /// The network to save when training is done, from the store's whole state
    /// (averaged if the settings ask for an average). A distiller returns its student here.
    fn finished_model(&self, state: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
        Ok(state)
    }

    /// What the saved network's file tells besides its tensors, for the header of `model.safetensors`.
    fn metadata(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
}

/// What one batch costs.
#[derive(Debug, Clone)]
pub struct Losses {
    pub(crate) samples: usize,
    pub(crate) terms: Vec<LossTerm>,
    pub(crate) observations: Vec<(String, f64)>,
}

/// One term of the loss.
#[derive(Debug, Clone)]
pub(crate) struct LossTerm {
    pub name: String,
    pub value: Tensor,
    pub weight: f64,
}

impl Losses {
    /// Of a batch of `samples`.
    pub fn new(samples: usize) -> Self {
        Self {
            samples,
            terms: Vec::new(),
            observations: Vec::new(),
        }
    }

    /// Adds `weight · value` to the loss; `value` is a scalar, the batch's mean.
    /// A term of weight 0 is recorded and not differentiated.
    pub fn term(mut self, name: impl Into<String>, value: Tensor, weight: f64) -> Self {
        self.terms.push(LossTerm {
            name: name.into(),
            value,
            weight,
        });
        self
    }

    /// Records a mean over the batch (an accuracy in percent, say) that is not learnt from.
    pub fn observe(mut self, name: impl Into<String>, mean: f64) -> Self {
        self.observations.push((name.into(), mean));
        self
    }
}

/// The batches of one epoch; an error ends the training.
pub type Batches<'a, B> = Box<dyn Iterator<Item = Result<B>> + 'a>;

/// Where batches come from. The same epoch gives the same batches at every call:
/// that is what makes a resumed run equal to an uninterrupted one.
pub trait BatchSource {
    /// What one step learns from.
    type Batch;

    /// How many batches every epoch has.
    fn batches_per_epoch(&self) -> usize;

    /// The batches of `epoch` (from 0), beginning with number `first_batch` (from 0).
    ///
    /// # Errors
    /// If the data cannot be read.
    fn epoch(&mut self, epoch: u64, first_batch: usize) -> Result<Batches<'_, Self::Batch>>;
}
