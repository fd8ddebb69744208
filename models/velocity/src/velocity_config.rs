//! The shape of any network of this crate, as one serialisable value.

use crate::{Mlp, MlpConfig, VelocityNetwork};
use candle_core::Result;
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

/// A family and its configuration; in files the family is the key `family`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "family", rename_all = "snake_case")]
#[non_exhaustive]
pub enum VelocityConfig {
    /// A perceptron for points.
    Mlp(MlpConfig),
}

impl VelocityConfig {
    /// The network over the tensors of `vb`.
    ///
    /// # Errors
    /// A configuration that describes no network, or what `vb` reports (missing tensor, other shape).
    pub fn build(&self, vb: VarBuilder) -> Result<Box<dyn VelocityNetwork>> {
        Ok(match self {
            Self::Mlp(config) => Box::new(Mlp::new(config, vb)?),
        })
    }

    /// Number of heads.
    pub fn heads(&self) -> usize {
        match self {
            Self::Mlp(config) => config.heads,
        }
    }

    /// The same network with another number of heads.
    pub fn with_heads(mut self, heads: usize) -> Self {
        match &mut self {
            Self::Mlp(config) => config.heads = heads,
        }
        self
    }
}
