//! The FT module: two 1x1 convolutions with batch norm and no activation (method card, section 3).

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};
use serde::{Deserialize, Serialize};
use taper_kernels::{Activation, Conv2dGeometry};
use taper_layers::{BatchNorm2d, Conv2d, Mode, conv_bn_act};

/// Sizes and form of the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureTransformConfig {
    /// C_s: channels of the student's last feature map.
    pub student_channels: usize,
    /// C_t: channels of the teacher's.
    pub teacher_channels: usize,
    /// N.
    pub slices: usize,
    /// Adds the student's feature to the output ("default FT"); without: "plain FT".
    pub residual: bool,
}

impl FeatureTransformConfig {
    /// `2 C_s N C_t + 2 (N C_t + C_s)`.
    pub fn parameters(&self) -> usize {
        let wide = self.slices * self.teacher_channels;
        2 * self.student_channels * wide + 2 * (wide + self.student_channels)
    }
}

/// What the module makes of the student's feature X_s.
#[derive(Debug, Clone)]
pub struct Transformed {
    /// E = BN₁(W₁ X_s), `[batch, N C_t, height, width]`: matched to the teacher.
    pub expanded: Tensor,
    /// Y = BN₂(W₂ E) (+ X_s), `[batch, C_s, height, width]`: goes on to the classifier.
    pub output: Tensor,
}

/// The module. Its tensors are named as in NORM's code, `layer31.*` and `layer32.*` (or 41, 42).
#[derive(Debug, Clone)]
pub struct FeatureTransform {
    pub(crate) expand: Conv2d,
    pub(crate) expand_bn: BatchNorm2d,
    pub(crate) contract: Conv2d,
    pub(crate) contract_bn: BatchNorm2d,
    config: FeatureTransformConfig,
}

impl FeatureTransform {
    /// `stage` is the number of the student's last stage, for the names; `init` gives the hint
    /// for a 1x1 convolution of so many (inputs, outputs): the host network's own.
    pub fn new(
        config: &FeatureTransformConfig,
        stage: usize,
        init: impl Fn(usize, usize) -> Init,
        vb: VarBuilder,
    ) -> Result<Self> {
        let narrow = config.student_channels;
        let wide = config.slices * config.teacher_channels;
        if wide == 0 || narrow == 0 {
            candle_core::bail!(
                "NORM: {} slices of {} channels, at least one of each is needed",
                config.slices,
                config.teacher_channels
            );
        }
        let one_by_one = |inputs, outputs, vb: VarBuilder| {
            let hint = init(inputs, outputs);
            Conv2d::with_init(
                inputs,
                outputs,
                1,
                Conv2dGeometry::default(),
                hint,
                None,
                vb,
            )
        };
        let (expand, contract) = (
            vb.pp(format!("layer{stage}1")),
            vb.pp(format!("layer{stage}2")),
        );
        Ok(Self {
            expand: one_by_one(narrow, wide, expand.pp(0))?,
            expand_bn: BatchNorm2d::new(wide, expand.pp(1))?,
            contract: one_by_one(wide, narrow, contract.pp(0))?,
            contract_bn: BatchNorm2d::new(narrow, contract.pp(1))?,
            config: config.clone(),
        })
    }

    /// Sizes and form.
    pub fn config(&self) -> &FeatureTransformConfig {
        &self.config
    }

    /// `[batch, C_s, height, width]` → E and Y.
    pub fn forward(&self, feature: &Tensor, mode: Mode) -> Result<Transformed> {
        let linear = Activation::None;
        let expanded = conv_bn_act(&self.expand, &self.expand_bn, feature, None, linear, mode)?;
        let residual = self.config.residual.then_some(feature);
        let output = conv_bn_act(
            &self.contract,
            &self.contract_bn,
            &expanded,
            residual,
            linear,
            mode,
        )?;
        Ok(Transformed { expanded, output })
    }
}
