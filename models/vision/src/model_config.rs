//! The shape of any model of this crate, as one serialisable value.

use crate::{
    AkamasterResNet, AkamasterResNetConfig, CifarResNet, CifarResNetConfig, CifarResNetV2,
    CifarResNetV2Config, Classifier, DistillerResNet, DistillerResNetConfig, MobileNetV2,
    MobileNetV2Config, ShuffleNetV1, ShuffleNetV1Config, ShuffleNetV2, ShuffleNetV2Config, Vgg,
    VggConfig, WideResNet, WideResNetConfig,
};
use candle_core::Result;
use candle_nn::VarBuilder;
use serde::{Deserialize, Serialize};

/// A family and its configuration; in files the family is the key `family`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "family", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ModelConfig {
    /// Three stages, projections.
    CifarResnet(CifarResNetConfig),
    /// Four stages, projections.
    CifarResnetV2(CifarResNetV2Config),
    /// Three stages, shortcuts without parameters.
    AkamasterResnet(AkamasterResNetConfig),
    /// Three stages, one ReLU a stage.
    DistillerResnet(DistillerResNetConfig),
    /// Wide residual network.
    WideResnet(WideResNetConfig),
    /// VGG with batch norm.
    Vgg(VggConfig),
    /// MobileNetV2.
    MobilenetV2(MobileNetV2Config),
    /// ShuffleNet.
    ShufflenetV1(ShuffleNetV1Config),
    /// ShuffleNetV2.
    ShufflenetV2(ShuffleNetV2Config),
}

impl ModelConfig {
    /// The network over the tensors of `vb`.
    ///
    /// # Errors
    /// A configuration that describes no network, or what `vb` reports (missing tensor, other shape).
    pub fn build(&self, vb: VarBuilder) -> Result<Box<dyn Classifier>> {
        Ok(match self {
            Self::CifarResnet(config) => Box::new(CifarResNet::new(config, vb)?),
            Self::CifarResnetV2(config) => Box::new(CifarResNetV2::new(config, vb)?),
            Self::AkamasterResnet(config) => Box::new(AkamasterResNet::new(config, vb)?),
            Self::DistillerResnet(config) => Box::new(DistillerResNet::new(config, vb)?),
            Self::WideResnet(config) => Box::new(WideResNet::new(config, vb)?),
            Self::Vgg(config) => Box::new(Vgg::new(config, vb)?),
            Self::MobilenetV2(config) => Box::new(MobileNetV2::new(config, vb)?),
            Self::ShufflenetV1(config) => Box::new(ShuffleNetV1::new(config, vb)?),
            Self::ShufflenetV2(config) => Box::new(ShuffleNetV2::new(config, vb)?),
        })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        match self {
            Self::CifarResnet(config) => config.classes,
            Self::CifarResnetV2(config) => config.classes,
            Self::AkamasterResnet(config) => config.classes,
            Self::DistillerResnet(config) => config.classes,
            Self::WideResnet(config) => config.classes,
            Self::Vgg(config) => config.classes,
            Self::MobilenetV2(config) => config.classes,
            Self::ShufflenetV1(config) => config.classes,
            Self::ShufflenetV2(config) => config.classes,
        }
    }

    /// The same network for another number of classes.
    pub fn with_classes(mut self, classes: usize) -> Self {
        let slot = match &mut self {
            Self::CifarResnet(config) => &mut config.classes,
            Self::CifarResnetV2(config) => &mut config.classes,
            Self::AkamasterResnet(config) => &mut config.classes,
            Self::DistillerResnet(config) => &mut config.classes,
            Self::WideResnet(config) => &mut config.classes,
            Self::Vgg(config) => &mut config.classes,
            Self::MobilenetV2(config) => &mut config.classes,
            Self::ShufflenetV1(config) => &mut config.classes,
            Self::ShufflenetV2(config) => &mut config.classes,
        };
        *slot = classes;
        self
    }
}
