//! ADM: the ImageNet-64 networks of EDM (`DhariwalUNet`), Catch-Up Distillation and guided-diffusion.
//!
//! Sources: arXiv:2105.05233 (ADM), NVlabs/edm `training/networks.py`,
//! shaoshitong/Catch-Up-Distillation-ImageNet-64x64 `cm/unet.py`.

use crate::unet::{Dialect, Plan, QkvOrder, Start, Style, UNet};
use candle_core::Result;
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

/// Width of the conditioning embedding over `width`.
const EMBEDDING_MULTIPLIER: usize = 4;
/// Added to a group norm's variance.
const EPS: f64 = 1e-5;

/// Whose parameter names, order of query, key and value rows, and groups of the norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdmDialect {
    /// NVlabs/edm `DhariwalUNet`: rows by head, channel, which; fewer than 32 groups below 128 channels.
    Edm,
    /// Catch-Up Distillation's ImageNet repository: rows by which, head, channel.
    CatchUp,
    /// openai/guided-diffusion with its legacy attention: rows by head, which, channel.
    GuidedDiffusion,
}

/// Shape of an ADM network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdmConfig {
    /// Whose names and conventions.
    pub dialect: AdmDialect,
    /// Height and width that EDM's parameter names are made for.
    pub side: usize,
    /// Channels of x.
    pub inputs: usize,
    /// Channels of a head's answer.
    pub outputs: usize,
    /// Width of the sines and cosines of time, and unit of `multipliers`.
    pub width: usize,
    /// Channels of each level over `width`; each level below the first halves the side.
    pub multipliers: Vec<usize>,
    /// Blocks of a level of the encoder; the decoder has one more.
    pub blocks: usize,
    /// Sides of the levels with attention in every block. The middle has some anyway.
    pub attention: Vec<usize>,
    /// Channels of an attention head.
    pub head_channels: usize,
    /// Dropout probability in training.
    pub dropout: f64,
    /// Number of classes, if conditional.
    pub classes: Option<usize>,
    /// Numbers of an augmentation label.
    pub augment: Option<usize>,
    /// Skip balance φ of Catch-Up Distillation; `None`: 1 and 1.
    pub phi: Option<f64>,
    /// Number of heads.
    pub heads: usize,
}

impl AdmConfig {
    /// EDM's class-conditional network for ImageNet at 64 pixels (arXiv:2206.00364, table 7).
    pub fn edm_imagenet64() -> Self {
        Self {
            dialect: AdmDialect::Edm,
            side: 64,
            inputs: 3,
            outputs: 3,
            width: 192,
            multipliers: vec![1, 2, 3, 4],
            blocks: 3,
            attention: vec![32, 16, 8],
            head_channels: 64,
            dropout: 0.1,
            classes: Some(1000),
            augment: None,
            phi: None,
            heads: 1,
        }
    }

    /// The same, 64 channels wide in place of 192: for tests.
    pub fn edm_imagenet64_w64() -> Self {
        Self {
            width: 64,
            ..Self::edm_imagenet64()
        }
    }

    /// Catch-Up Distillation's network for ImageNet at 64 pixels (φ = ¾).
    pub fn cud_imagenet64() -> Self {
        Self {
            dialect: AdmDialect::CatchUp,
            phi: Some(0.75),
            ..Self::edm_imagenet64()
        }
    }

    /// The network over the tensors of `vb`, under the dialect's names; further heads are
    /// `generator_list.{j}.block.{0,2}`.
    ///
    /// # Errors
    /// A configuration that describes no network, or what `vb` reports.
    pub fn build(&self, vb: VarBuilder) -> Result<UNet> {
        let edm = self.dialect == AdmDialect::Edm;
        let first = self.multipliers.first().copied().unwrap_or(0);
        let plan = Plan {
            side: self.side,
            inputs: self.inputs,
            outputs: self.outputs,
            width: self.width,
            stem: self.width * first,
            multipliers: self.multipliers.clone(),
            blocks: self.blocks,
            attention: self.attention.clone(),
            last_attends: false,
            classes: self.classes,
            augment: self.augment,
            heads: self.heads,
            phi: self.phi,
            dialect: match edm {
                true => Dialect::EdmDhariwal,
                false => Dialect::GuidedDiffusion,
            },
            style: Style {
                embedding: EMBEDDING_MULTIPLIER * self.width,
                dropout: self.dropout,
                eps: EPS,
                always_32_groups: !edm,
                residual_scale: 1.0,
                scale_and_shift: true,
                project_resampled: false,
                head_channels: Some(self.head_channels),
                qkv_order: match self.dialect {
                    AdmDialect::Edm => QkvOrder::HeadChannelWhich,
                    AdmDialect::CatchUp => QkvOrder::WhichHeadChannel,
                    AdmDialect::GuidedDiffusion => QkvOrder::HeadWhichChannel,
                },
                start: Start::Kaiming,
                filter_in_state: edm,
            },
        };
        plan.build(vb)
    }
}
