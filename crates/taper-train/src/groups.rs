//! Parameter groups: other settings for the parameters that a pattern names.

use crate::config::{OptimizerConfig, not_negative};
use crate::error::{Result, TrainError};
use serde::{Deserialize, Serialize};

/// Settings for the parameters that one of `parameters` names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterGroup {
    /// Patterns over the full parameter name; `*` stands for any run of characters.
    #[serde(default)]
    pub parameters: Vec<String>,
    /// Whether the group also holds every parameter of at most one dimension (biases, scales of norms).
    #[serde(default)]
    pub vectors: bool,
    /// Multiplier of the learning rate.
    #[serde(default = "one")]
    pub learning_rate_scale: f64,
    /// Weight decay instead of the optimiser's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Whether these parameters stay as they are.
    #[serde(default)]
    pub frozen: bool,
}

fn one() -> f64 {
    1.0
}

impl Default for ParameterGroup {
    fn default() -> Self {
        Self {
            parameters: Vec::new(),
            vectors: false,
            learning_rate_scale: 1.0,
            weight_decay: None,
            frozen: false,
        }
    }
}

impl ParameterGroup {
    /// No weight decay on biases and the scales of norms.
    pub fn no_decay_on_vectors() -> Self {
        Self {
            vectors: true,
            weight_decay: Some(0.0),
            ..Self::default()
        }
    }

    fn holds(&self, name: &str, rank: usize) -> bool {
        (self.vectors && rank <= 1) || self.parameters.iter().any(|p| matches(p, name))
    }

    pub(crate) fn validate(&self, index: usize) -> Result<()> {
        let field = |name: &str| format!("groups[{index}].{name}");
        not_negative(&field("learning_rate_scale"), self.learning_rate_scale)?;
        if let Some(decay) = self.weight_decay {
            not_negative(&field("weight_decay"), decay)?;
        }
        if self.parameters.is_empty() && !self.vectors {
            return Err(TrainError::setting(
                field("parameters"),
                "no pattern",
                "at least one pattern such as \"*.bias\", or vectors = true",
            ));
        }
        Ok(())
    }
}

/// What holds for one parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParameterSettings {
    /// Multiplier of the learning rate.
    pub learning_rate_scale: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether it stays as it is.
    pub frozen: bool,
}

impl ParameterSettings {
    /// The first group that holds the parameter decides; without one, the optimiser's settings.
    pub fn of(
        name: &str,
        rank: usize,
        groups: &[ParameterGroup],
        optimizer: &OptimizerConfig,
    ) -> Self {
        let group = groups.iter().find(|group| group.holds(name, rank));
        Self {
            learning_rate_scale: group.map_or(1.0, |group| group.learning_rate_scale),
            weight_decay: group
                .and_then(|group| group.weight_decay)
                .unwrap_or_else(|| optimizer.weight_decay()),
            frozen: group.is_some_and(|group| group.frozen),
        }
    }
}

/// Whether `pattern`, in which `*` stands for any run of characters, describes the whole `name`.
fn matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(rest) = name.strip_prefix(pieces.next().unwrap_or_default()) else {
        return false;
    };
    let pieces: Vec<_> = pieces.collect();
    let Some((last, middle)) = pieces.split_last() else {
        return rest.is_empty();
    };
    let mut rest = rest;
    for piece in middle {
        match rest.find(piece) {
            Some(start) => rest = &rest[start + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("*.bias", "layer1.0.bn1.bias", true),
            ("*.bias", "bias", false),
            ("fc.*", "fc.weight", true),
            ("fc.*", "layer.fc.weight", false),
            ("*bn*.weight", "layer1.0.bn1.weight", true),
            ("*bn*.weight", "layer1.0.conv1.weight", false),
            ("fc.weight", "fc.weight", true),
            ("fc.weight", "fc.weights", false),
            ("*", "anything", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn first_group_counts() {
        let groups = [
            ParameterGroup {
                parameters: vec!["distiller.*".into()],
                learning_rate_scale: 2.0,
                ..ParameterGroup::default()
            },
            ParameterGroup::no_decay_on_vectors(),
        ];
        let of =
            |name, rank| ParameterSettings::of(name, rank, &groups, &OptimizerConfig::default());
        assert_eq!(of("distiller.bias", 1).weight_decay, 5e-4);
        assert_eq!(of("distiller.bias", 1).learning_rate_scale, 2.0);
        assert_eq!(of("bn1.weight", 1).weight_decay, 0.0);
        assert_eq!(of("conv1.weight", 4).weight_decay, 5e-4);
        assert!(ParameterGroup::default().validate(0).is_err());
    }
}
