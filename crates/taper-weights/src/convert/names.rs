//! The patterns of a conversion over the names of a file.

use super::ConvertOptions;
use crate::pattern::Pattern;
use crate::{TensorFile, WeightsError, nearest};

/// Patterns ready for matching.
pub(crate) struct Patterns<'a> {
    file: &'a TensorFile,
    keep: Vec<Pattern>,
    drop: Vec<Pattern>,
    strip: &'a [String],
    rename: Vec<(Pattern, Pattern)>,
    texts: &'a ConvertOptions,
}

impl<'a> Patterns<'a> {
    /// # Errors
    /// [`WeightsError::Option`] about a pattern that no name can match.
    pub(crate) fn new(
        file: &'a TensorFile,
        options: &'a ConvertOptions,
    ) -> Result<Self, WeightsError> {
        let parse = |option: &str, text: &str| {
            Pattern::parse(text).map_err(|reason| WeightsError::Option {
                option: format!("{option} {text}"),
                reason,
            })
        };
        let all = |option: &str, texts: &[String]| -> Result<Vec<Pattern>, WeightsError> {
            texts.iter().map(|text| parse(option, text)).collect()
        };
        let mut rename = Vec::new();
        for (from, to) in &options.rename {
            let (pattern, target) = (parse("--rename", from)?, parse("--rename", to)?);
            if !pattern.corresponds_to(&target) {
                return Err(WeightsError::Option {
                    option: format!("--rename {from}={to}"),
                    reason: "both sides need the same wildcards in the same order".into(),
                });
            }
            rename.push((pattern, target));
        }
        Ok(Self {
            file,
            keep: all("--keep", &options.keep)?,
            drop: all("--drop", &options.drop)?,
            strip: &options.strip,
            rename,
            texts: options,
        })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.file.entries().iter().map(|entry| entry.name.as_str())
    }

    /// Nobody misspells a pattern and means it.
    fn unmatched<'n>(
        &self,
        option: &str,
        text: &str,
        names: impl Iterator<Item = &'n str>,
    ) -> WeightsError {
        let near = nearest(text, names, 3);
        WeightsError::Request {
            path: self.file.path().to_path_buf(),
            option: format!("{option} {text}"),
            reason: format!("no tensor matches; nearest: {}", near.join(", ")),
        }
    }

    /// Demands that each pattern over the file's names matches one.
    pub(crate) fn check(&self) -> Result<(), WeightsError> {
        for (option, texts, patterns) in [
            ("--keep", &self.texts.keep, &self.keep),
            ("--drop", &self.texts.drop, &self.drop),
        ] {
            for (text, pattern) in texts.iter().zip(patterns) {
                if !self.names().any(|name| pattern.matches(name)) {
                    return Err(self.unmatched(option, text, self.names()));
                }
            }
        }
        Ok(())
    }

    /// Whether the tensor of that name in the file is wanted.
    pub(crate) fn wanted(&self, name: &str) -> bool {
        let kept = self.keep.is_empty() || self.keep.iter().any(|keep| keep.matches(name));
        kept && !self.drop.iter().any(|drop| drop.matches(name))
    }

    /// Takes the prefixes off, each from the names that have it.
    pub(crate) fn strip(&self, names: &mut [String]) -> Result<(), WeightsError> {
        for prefix in self.strip {
            let mut found = false;
            for name in names.iter_mut() {
                if let Some(rest) = name.strip_prefix(prefix.as_str()).filter(|r| !r.is_empty()) {
                    *name = rest.to_string();
                    found = true;
                }
            }
            if !found {
                let names = names.iter().map(String::as_str);
                return Err(self.unmatched("--strip", prefix, names));
            }
        }
        Ok(())
    }

    /// Renames, one pattern after the other.
    pub(crate) fn rename(&self, names: &mut [String]) -> Result<(), WeightsError> {
        for ((from, to), (text, target)) in self.rename.iter().zip(&self.texts.rename) {
            let mut found = false;
            for name in names.iter_mut() {
                if let Some(renamed) = from.renamed(to, name) {
                    if renamed.is_empty() {
                        return Err(WeightsError::Request {
                            path: self.file.path().to_path_buf(),
                            option: format!("--rename {text}={target}"),
                            reason: format!("leaves no name for {name}"),
                        });
                    }
                    *name = renamed;
                    found = true;
                }
            }
            if !found {
                let names = names.iter().map(String::as_str);
                return Err(self.unmatched("--rename", text, names));
            }
        }
        Ok(())
    }
}
