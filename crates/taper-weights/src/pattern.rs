//! Patterns over tensors' names: wildcards that are captured and put into another name.

/// At most this many `*` a pattern: each multiplies the ways to match.
const STARS: usize = 4;

/// A name with wildcards: `*` any run of characters, `?` one character, `{n}` a run of digits,
/// `{wb}` one of `weight` and `bias`, `{bn}` a tensor of a batch norm.
///
/// A pattern without wildcards stands for the tensor of that name and for all below the module
/// of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    tokens: Vec<Token>,
    plain: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Text(String),
    Wild(Wild),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wild {
    Any,
    One,
    Digits,
    WeightBias,
    BatchNorm,
}

/// Tensors of an affine layer.
const WEIGHT_BIAS: &[&str] = &["weight", "bias"];
/// Tensors of a batch norm.
pub(crate) const BATCH_NORM: [&str; 5] = [
    "weight",
    "bias",
    "running_mean",
    "running_var",
    "num_batches_tracked",
];

const WILDS: &[(&str, Wild)] = &[
    ("*", Wild::Any),
    ("?", Wild::One),
    ("{n}", Wild::Digits),
    ("{wb}", Wild::WeightBias),
    ("{bn}", Wild::BatchNorm),
];

impl Pattern {
    /// # Errors
    /// The reason alone.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let wild = WILDS.iter().find(|(sign, _)| rest.starts_with(sign));
            if let Some((sign, wild)) = wild {
                tokens.push(Token::Wild(*wild));
                rest = &rest[sign.len()..];
                continue;
            }
            let Some(symbol) = rest.chars().next() else {
                break;
            };
            match tokens.last_mut() {
                Some(Token::Text(text)) => text.push(symbol),
                _ => tokens.push(Token::Text(symbol.to_string())),
            }
            rest = &rest[symbol.len_utf8()..];
        }
        let stars = tokens.iter().filter(|token| **token == ANY).count();
        if stars > STARS {
            return Err(format!("{stars} `*` in one pattern; at most {STARS}"));
        }
        let plain = !tokens.iter().any(|token| matches!(token, Token::Wild(_)));
        Ok(Self { tokens, plain })
    }

    fn wilds(&self) -> impl Iterator<Item = Wild> {
        self.tokens.iter().filter_map(|token| match token {
            Token::Wild(wild) => Some(*wild),
            Token::Text(_) => None,
        })
    }

    /// Whether `other` has the same wildcards in the same order, so that names can go between them.
    pub(crate) fn corresponds_to(&self, other: &Self) -> bool {
        self.wilds().eq(other.wilds())
    }

    /// What the wildcards stand for in `name`, if it matches whole.
    pub(crate) fn captures<'a>(&self, name: &'a str) -> Option<Vec<&'a str>> {
        let mut captures = Vec::new();
        capture(&self.tokens, name, &mut captures).then_some(captures)
    }

    /// The name with the wildcards replaced.
    pub(crate) fn filled(&self, captures: &[&str]) -> String {
        let mut captures = captures.iter();
        let mut name = String::new();
        for token in &self.tokens {
            match token {
                Token::Text(text) => name.push_str(text),
                Token::Wild(_) => name.push_str(captures.next().copied().unwrap_or_default()),
            }
        }
        name
    }

    /// Whether it stands for `name`.
    pub(crate) fn matches(&self, name: &str) -> bool {
        self.below(name).is_some() || self.captures(name).is_some()
    }

    /// For a pattern without wildcards: what follows it in `name`, empty or from a dot on.
    fn below<'a>(&self, name: &'a str) -> Option<&'a str> {
        if !self.plain {
            return None;
        }
        let rest = name.strip_prefix(self.filled(&[]).as_str())?;
        (rest.is_empty() || rest.starts_with('.')).then_some(rest)
    }

    /// `name` renamed by this pattern and `to`, if it matches.
    pub(crate) fn renamed(&self, to: &Self, name: &str) -> Option<String> {
        if let Some(rest) = self.below(name) {
            let start = to.filled(&[]);
            let rest = match start.is_empty() {
                true => rest.strip_prefix('.').unwrap_or(rest),
                false => rest,
            };
            return Some(start + rest);
        }
        Some(to.filled(&self.captures(name)?))
    }
}

const ANY: Token = Token::Wild(Wild::Any);

fn capture<'a>(tokens: &[Token], text: &'a str, captures: &mut Vec<&'a str>) -> bool {
    let Some((token, tokens)) = tokens.split_first() else {
        return text.is_empty();
    };
    let mut attempt = |length: usize| {
        let (head, rest) = text.split_at(length);
        captures.push(head);
        let fits = capture(tokens, rest, captures);
        if !fits {
            captures.pop();
        }
        fits
    };
    match token {
        Token::Text(literal) => match text.strip_prefix(literal.as_str()) {
            Some(rest) => capture(tokens, rest, captures),
            None => false,
        },
        Token::Wild(Wild::Any) => {
            let ends = text.char_indices().map(|(at, _)| at);
            let mut ends: Vec<usize> = ends.chain([text.len()]).collect();
            ends.reverse();
            ends.into_iter().any(attempt)
        }
        Token::Wild(Wild::One) => match text.chars().next() {
            Some(symbol) => attempt(symbol.len_utf8()),
            None => false,
        },
        Token::Wild(Wild::Digits) => {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            digits > 0 && attempt(digits)
        }
        Token::Wild(Wild::WeightBias) => WEIGHT_BIAS
            .iter()
            .any(|word| text.starts_with(word) && attempt(word.len())),
        Token::Wild(Wild::BatchNorm) => BATCH_NORM
            .iter()
            .any(|word| text.starts_with(word) && attempt(word.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn names_match() {
        for (text, name, expected) in [
            ("fc", "fc", true),
            ("fc", "fc.weight", true),
            ("fc", "fc2.weight", false),
            ("*.bias", "a.b.bias", true),
            ("*.bias", "bias", false),
            ("layer?.0.*", "layer1.0.conv1.weight", true),
            ("layer{n}.{n}.bn1.{bn}", "layer10.2.bn1.running_var", true),
            ("layer{n}.conv", "layerx.conv", false),
            ("fc.{wb}", "fc.weight", true),
            ("fc.{wb}", "fc.weights", false),
            ("*a*", "xay", true),
            ("ö?", "öü", true),
        ] {
            assert_eq!(pattern(text).matches(name), expected, "{text} {name}");
        }
        assert!(Pattern::parse("*a*b*c*d*").is_err());
    }

    #[test]
    fn names_are_rewritten_both_ways() {
        let (from, to) = (pattern("blocks.{n}.c.{n}.*"), pattern("layer{n}.conv{n}.*"));
        assert!(from.corresponds_to(&to));
        let there = from.renamed(&to, "blocks.3.c.11.weight").unwrap();
        assert_eq!(there, "layer3.conv11.weight");
        assert_eq!(to.renamed(&from, &there).unwrap(), "blocks.3.c.11.weight");
        assert!(!from.corresponds_to(&pattern("layer{n}.*")));
        let plain = |from: &str, to: &str, name| pattern(from).renamed(&pattern(to), name);
        assert_eq!(plain("a.b", "c", "a.b.weight").unwrap(), "c.weight");
        assert_eq!(plain("a", "", "a.weight").unwrap(), "weight");
        assert_eq!(plain("a", "b", "ab.weight"), None);
    }
}
