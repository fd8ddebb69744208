//! The teacher: a frozen classifier and the place where its feature is read.

use crate::error::DistillError;
use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};
use taper_layers::Mode;
use taper_vision::{Classifier, ModelEntry};

/// Where a teacher's feature is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Tap {
    /// The last feature map before the head: f3 or f4 of every pair in the method card, section 4.
    #[default]
    Last,
    /// Stage f0, f1, … in the model's order.
    Stage(usize),
}

impl std::fmt::Display for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Last => f.write_str("last"),
            Self::Stage(index) => write!(f, "f{index}"),
        }
    }
}

impl std::str::FromStr for Tap {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "last" {
            return Ok(Self::Last);
        }
        text.strip_prefix('f')
            .and_then(|index| index.parse().ok())
            .map(Self::Stage)
            .ok_or_else(|| format!("tap {text}: expected last, f0, f1, …"))
    }
}

impl TryFrom<String> for Tap {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

impl From<Tap> for String {
    fn from(tap: Tap) -> Self {
        tap.to_string()
    }
}

impl Tap {
    /// Channels of the feature that `entry` gives here.
    ///
    /// # Errors
    /// [`DistillError::UnknownTap`] with the taps that there are.
    pub fn channels(
        self,
        entry: &ModelEntry,
        last: usize,
    ) -> std::result::Result<usize, DistillError> {
        match self {
            Self::Last => Ok(last),
            Self::Stage(index) => entry
                .stages
                .get(index)
                .map(|stage| stage.channels)
                .ok_or_else(|| DistillError::UnknownTap {
                    model: entry.name.to_string(),
                    tap: self.to_string(),
                    known: (0..entry.stages.len())
                        .map(|stage| format!("f{stage}, "))
                        .collect::<String>()
                        + "last",
                }),
        }
    }
}

/// Never learns: built over frozen tensors, always in evaluation mode.
pub struct Teacher {
    model: Box<dyn Classifier>,
    tap: Tap,
}

/// What the student sees of the teacher.
#[derive(Debug, Clone)]
pub struct TeacherView {
    /// F_t, `[batch, C_t, H_t, W_t]`.
    pub feature: Tensor,
    /// z_t, `[batch, classes]`.
    pub logits: Tensor,
}

impl Teacher {
    /// `model` must have been built over frozen tensors.
    pub fn new(model: Box<dyn Classifier>, tap: Tap) -> Self {
        Self { model, tap }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.model.classes()
    }

    /// `[batch, channels, height, width]` → feature and logits, without a graph.
    pub fn observe(&self, images: &Tensor) -> Result<TeacherView> {
        let trunk = self.model.trunk(images, Mode::Eval)?;
        let (_, logits) = self.model.head(&trunk.last, Mode::Eval)?;
        let feature = match self.tap {
            Tap::Last => trunk.last,
            Tap::Stage(index) => match trunk.stages.into_iter().nth(index) {
                Some(stage) => stage,
                None => candle_core::bail!("the teacher has no stage f{index}"),
            },
        };
        Ok(TeacherView {
            feature: feature.detach(),
            logits: logits.detach(),
        })
    }
}
