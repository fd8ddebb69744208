//! Settings from a recipe file, then from flags: later ones win, key by key.

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::Path;
use toml::{Table, Value};

/// A configuration under construction.
pub struct Settings {
    table: Table,
}

impl Settings {
    /// Starts from a whole configuration.
    pub fn new(config: &impl Serialize) -> anyhow::Result<Self> {
        Ok(Self {
            table: Table::try_from(config)?,
        })
    }

    /// Lays the keys of a TOML file over what is there; the file may be partial.
    pub fn recipe(&mut self, path: &Path) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("--recipe {}", path.display()))?;
        let recipe: Table = text
            .parse()
            .with_context(|| format!("--recipe {}", path.display()))?;
        merge(&mut self.table, recipe);
        Ok(())
    }

    /// Sets one key, named by its path (`norm.slices`), if there is a value.
    pub fn set<T: Serialize>(&mut self, path: &str, value: Option<T>) -> anyhow::Result<()> {
        match value {
            Some(value) => self.put(path, Value::try_from(value)?),
            None => Ok(()),
        }
    }

    /// `--set PATH=VALUE`, the value in TOML; a bare word is a string.
    pub fn assign(&mut self, assignment: &str) -> anyhow::Result<()> {
        let (path, text) = assignment
            .split_once('=')
            .with_context(|| format!("--set {assignment}: expected PATH=VALUE"))?;
        let parsed: Result<Table, _> = format!("value = {text}").parse();
        let value = match parsed {
            Ok(mut table) => table.remove("value").unwrap_or(Value::Boolean(false)),
            Err(_) => Value::String(text.to_string()),
        };
        self.put(path.trim(), value)
    }

    fn put(&mut self, path: &str, value: Value) -> anyhow::Result<()> {
        let mut keys: Vec<&str> = path.split('.').collect();
        let last = keys.pop().unwrap_or_default();
        let mut table = &mut self.table;
        for key in keys {
            table = table
                .entry(key)
                .or_insert_with(|| Value::Table(Table::new()))
                .as_table_mut()
                .with_context(|| format!("{path}: {key} is not a table"))?;
        }
        table.insert(last.to_string(), value);
        Ok(())
    }

    /// The finished configuration.
    pub fn finish<T: DeserializeOwned>(self) -> anyhow::Result<T> {
        Value::Table(self.table)
            .try_into()
            .map_err(|error: toml::de::Error| anyhow::anyhow!("settings: {}", error.message()))
    }
}

/// Lays `new` over `old`. A table with a tag (`name`, `shape`, `family`) of another kind replaces the old whole.
fn merge(old: &mut Table, new: Table) {
    const TAGS: [&str; 3] = ["name", "shape", "family"];
    for (key, value) in new {
        match (old.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => {
                let other_kind = TAGS
                    .iter()
                    .any(|tag| new.contains_key(*tag) && new.get(*tag) != old.get(*tag));
                if other_kind {
                    *old = new;
                } else {
                    merge(old, new);
                }
            }
            (_, value) => {
                old.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_settings_win_key_by_key() {
        let base: Table = "a = 1\n[b]\nc = 2\nd = 3\n[o]\nname = 'sgd'\nmomentum = 0.9"
            .parse()
            .unwrap();
        let mut settings = Settings { table: base };
        let new: Table = "[b]\nd = 4\n[o]\nname = 'adamw'".parse().unwrap();
        merge(&mut settings.table, new);
        settings.set("b.e", Some(5)).unwrap();
        settings.set("a", None::<i64>).unwrap();
        settings.assign("b.f=word").unwrap();
        settings.assign("b.g = [1, 2]").unwrap();
        let expected: Table =
            "a = 1\n[b]\nc = 2\nd = 4\ne = 5\nf = 'word'\ng = [1, 2]\n[o]\nname = 'adamw'"
                .parse()
                .unwrap();
        assert_eq!(settings.table, expected);
        assert!(settings.assign("no value").is_err());
        assert!(settings.assign("a.b=1").is_err());
    }
}
