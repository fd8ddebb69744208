//! Looking registered names up: folding, nearest names, globs, natural order.

use std::cmp::Ordering;
use thiserror::Error;

/// No registered model has this name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("model {name}: unknown; the nearest names are {}", nearest.join(", "))]
pub struct UnknownModel {
    /// The name looked for.
    pub name: String,
    /// The three registered names that resemble it most, best first.
    pub nearest: Vec<&'static str>,
}

impl UnknownModel {
    /// For `name`, with the nearest of the `registered`.
    pub fn among(name: &str, registered: impl Iterator<Item = &'static str>) -> Self {
        Self {
            name: name.to_string(),
            nearest: nearest(&fold(name), registered, 3),
        }
    }
}

/// Lower case, without `-`, `_` and `.`.
pub fn fold(name: &str) -> String {
    name.chars()
        .filter(|c| !matches!(c, '-' | '_' | '.'))
        .flat_map(char::to_lowercase)
        .collect()
}

/// The `count` names that resemble `wanted` (folded) most: those that contain it first, then by edit distance.
pub fn nearest(
    wanted: &str,
    names: impl Iterator<Item = &'static str>,
    count: usize,
) -> Vec<&'static str> {
    let score = |name: &str| {
        let name = fold(name);
        let similar = strsim::normalized_damerau_levenshtein(wanted, &name);
        if wanted.len() > 2 && name.contains(wanted) {
            1.0 + similar
        } else {
            similar
        }
    };
    let mut scored: Vec<_> = names.map(|name| (score(name), name)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| natural_order(a.1, b.1)));
    scored
        .into_iter()
        .take(count)
        .map(|(_, name)| name)
        .collect()
}

/// Whether `text` matches `pattern`, where `*` stands for any run of characters and `?` for one.
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // reached[j]: the pattern read so far matches the first j characters.
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for &symbol in &pattern {
        let before = reached.clone();
        reached[0] = before[0] && symbol == '*';
        for j in 1..=text.len() {
            reached[j] = match symbol {
                '*' => before[j] || reached[j - 1],
                '?' => before[j - 1],
                literal => before[j - 1] && text[j - 1] == literal,
            };
        }
    }
    reached[text.len()]
}

/// Runs of digits compare as numbers: `resnet8` before `resnet14`.
pub fn natural_order(a: &str, b: &str) -> Ordering {
    let parts = |name: &str| {
        let mut parts: Vec<(u64, char)> = Vec::new();
        let mut in_number = false;
        for c in name.chars() {
            match (c.to_digit(10), parts.last_mut()) {
                (Some(digit), Some((number, '0'))) if in_number => {
                    *number = number.saturating_mul(10).saturating_add(digit.into());
                }
                (Some(digit), _) => parts.push((digit.into(), '0')),
                (None, _) => parts.push((0, c)),
            }
            in_number = c.is_ascii_digit();
        }
        parts
    };
    let key = |name: &str| -> Vec<(char, u64)> {
        parts(name)
            .into_iter()
            .map(|(number, c)| (c, number))
            .collect()
    };
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "resnet8", true),
            ("resnet?", "resnet8", true),
            ("resnet?", "resnet20", false),
            ("*net*x4", "resnet32x4", true),
            ("*net*x4", "resnet32x44", false),
            ("", "a", false),
            ("a**b", "ab", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn numbers_count_as_numbers() {
        let mut names = [
            "resnet110",
            "wrn_16_2",
            "resnet8x4",
            "resnet20",
            "resnet8",
            "wrn_16_1",
        ];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(
            names,
            [
                "resnet8",
                "resnet8x4",
                "resnet20",
                "resnet110",
                "wrn_16_1",
                "wrn_16_2"
            ]
        );
    }
}
