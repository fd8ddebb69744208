//! The shape of any network of this crate, as one serialisable value.

use crate::{AdmConfig, Mlp, MlpConfig, SongUNetConfig, VelocityNetwork};
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
    /// DDPM++.
    SongUnet(SongUNetConfig),
    /// ADM.
    Adm(AdmConfig),
}

impl VelocityConfig {
    /// The network over the tensors of `vb`.
    ///
    /// # Errors
    /// A configuration that describes no network, or what `vb` reports (missing tensor, other shape).
    pub fn build(&self, vb: VarBuilder) -> Result<Box<dyn VelocityNetwork>> {
        Ok(match self {
            Self::Mlp(config) => Box::new(Mlp::new(config, vb)?),
            Self::SongUnet(config) => Box::new(config.build(vb)?),
            Self::Adm(config) => Box::new(config.build(vb)?),
        })
    }

    /// Number of heads.
    pub fn heads(&self) -> usize {
        match self {
            Self::Mlp(config) => config.heads,
            Self::SongUnet(config) => config.heads,
            Self::Adm(config) => config.heads,
        }
    }

    /// The same network with another number of heads.
    pub fn with_heads(mut self, heads: usize) -> Self {
        match &mut self {
            Self::Mlp(config) => config.heads = heads,
            Self::SongUnet(config) => config.heads = heads,
            Self::Adm(config) => config.heads = heads,
        }
        self
    }

    /// Number of classes of a class-conditional network.
    pub fn classes(&self) -> Option<usize> {
        match self {
            Self::Mlp(_) => None,
            Self::SongUnet(config) => config.classes,
            Self::Adm(config) => config.classes,
        }
    }

    /// The skip balance φ, where there is one.
    pub fn phi(&self) -> Option<f64> {
        match self {
            Self::Mlp(_) => None,
            Self::SongUnet(config) => config.phi,
            Self::Adm(config) => config.phi,
        }
    }

    /// Probability with which activations are dropped in training.
    pub fn dropout(&self) -> f64 {
        match self {
            Self::Mlp(_) => 0.0,
            Self::SongUnet(config) => config.dropout,
            Self::Adm(config) => config.dropout,
        }
    }

    /// The same network with another skip balance; a perceptron has none and stays as it is.
    pub fn with_phi(mut self, phi: Option<f64>) -> Self {
        match &mut self {
            Self::Mlp(_) => {}
            Self::SongUnet(config) => config.phi = phi,
            Self::Adm(config) => config.phi = phi,
        }
        self
    }
}
