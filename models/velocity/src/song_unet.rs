//! DDPM++ (`SongUNet`): the networks of Catch-Up Distillation for MNIST and CIFAR-10, EDM's for CIFAR-10, and small ones.
//!
//! Sources: arXiv:2011.13456 (DDPM++), NVlabs/edm `training/networks.py`, shaoshitong/Catch-Up-Distillation
//! `network_edm.py` and `configs/*.json`.

use crate::unet::{Dialect, Plan, QkvOrder, Start, Style, UNet};
use candle_core::Result;
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};
use std::f64::consts::FRAC_1_SQRT_2;

/// Width of the conditioning embedding over `width`.
const EMBEDDING_MULTIPLIER: usize = 4;
/// Added to a group norm's variance.
const EPS: f64 = 1e-6;

/// Shape of a SongUNet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SongUNetConfig {
    /// Height and width that the parameter names are made for.
    pub side: usize,
    /// Channels of x.
    pub inputs: usize,
    /// Channels of a head's answer.
    pub outputs: usize,
    /// Channels after the first convolution.
    pub width: usize,
    /// Channels of each level over `width`; each level below the first halves the side.
    pub multipliers: Vec<usize>,
    /// Blocks of a level of the encoder; the decoder has one more.
    pub blocks: usize,
    /// Sides of the levels with attention: all blocks of the encoder, the last of the decoder. The lowest has some anyway.
    pub attention: Vec<usize>,
    /// Dropout probability in training.
    pub dropout: f64,
    /// Number of classes, if conditional.
    pub classes: Option<usize>,
    /// Numbers of an augmentation label (EDM: 9).
    pub augment: Option<usize>,
    /// Skip balance φ of Catch-Up Distillation; `None`: 1 and 1.
    pub phi: Option<f64>,
    /// Number of heads.
    pub heads: usize,
}

impl SongUNetConfig {
    /// Catch-Up Distillation's velocity network for MNIST (`mnist_de.json`, trained with φ = ¼).
    pub fn cud_mnist() -> Self {
        Self {
            side: 28,
            inputs: 1,
            outputs: 1,
            width: 32,
            multipliers: vec![2, 2, 2],
            blocks: 2,
            attention: vec![16],
            dropout: 0.13,
            classes: None,
            augment: None,
            phi: Some(0.25),
            heads: 1,
        }
    }

    /// Its coupling network for MNIST (`mnist_en.json`): mean and log-variance of the noise.
    pub fn cud_mnist_encoder() -> Self {
        Self {
            outputs: 2,
            phi: None,
            ..Self::cud_mnist()
        }
    }

    /// Its velocity network for CIFAR-10 (`cifar10_de.json`, φ = ¾).
    pub fn cud_cifar10() -> Self {
        Self {
            side: 32,
            inputs: 3,
            outputs: 3,
            width: 128,
            blocks: 4,
            phi: Some(0.75),
            ..Self::cud_mnist()
        }
    }

    /// Its coupling network for CIFAR-10 (`cifar10_en.json`): mean and log-variance of the noise.
    pub fn cud_cifar10_encoder() -> Self {
        Self {
            outputs: 6,
            width: 32,
            blocks: 2,
            phi: None,
            ..Self::cud_cifar10()
        }
    }

    /// EDM's unconditional network for CIFAR-10, with its augmentation labels (arXiv:2206.00364, table 7).
    pub fn edm_cifar10_ddpmpp() -> Self {
        Self {
            phi: None,
            augment: Some(9),
            ..Self::cud_cifar10()
        }
    }

    /// A small network that trains in minutes on two cores; `side` is a multiple of 4.
    pub fn small(side: usize, channels: usize) -> Self {
        Self {
            side,
            inputs: channels,
            outputs: channels,
            width: 16,
            multipliers: vec![1, 1, 2],
            blocks: 1,
            attention: Vec::new(),
            dropout: 0.0,
            classes: None,
            augment: None,
            phi: None,
            heads: 1,
        }
    }

    /// The network over the tensors of `vb`, under the names of EDM's `SongUNet`; further heads are
    /// `generator_list.{j}.block.{0,2}`.
    ///
    /// # Errors
    /// A configuration that describes no network, or what `vb` reports.
    pub fn build(&self, vb: VarBuilder) -> Result<UNet> {
        let plan = Plan {
            side: self.side,
            inputs: self.inputs,
            outputs: self.outputs,
            width: self.width,
            stem: self.width,
            multipliers: self.multipliers.clone(),
            blocks: self.blocks,
            attention: self.attention.clone(),
            last_attends: true,
            classes: self.classes,
            augment: self.augment,
            heads: self.heads,
            phi: self.phi,
            dialect: Dialect::EdmSong,
            style: Style {
                embedding: EMBEDDING_MULTIPLIER * self.width,
                dropout: self.dropout,
                eps: EPS,
                always_32_groups: false,
                residual_scale: FRAC_1_SQRT_2,
                scale_and_shift: false,
                project_resampled: true,
                head_channels: None,
                qkv_order: QkvOrder::HeadChannelWhich,
                start: Start::Xavier,
                filter_in_state: true,
            },
        };
        plan.build(vb)
    }
}
