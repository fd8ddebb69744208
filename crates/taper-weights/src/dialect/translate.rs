//! Names of a file put into the other form by the table that explains most of them.

use super::rule::{Change, Compiled};
use super::{DIALECTS, Dialect, Direction, Network};
use crate::pattern::Pattern;

/// Wrappers that any training script may put before every name.
const WRAPPERS: &[&str] = &["module.", "_orig_mod."];

/// What became of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Known,
    /// The dialect has no such name: it is kept as it is.
    Unknown,
    /// Not wanted: a constant, or read by nobody.
    Dropped,
}

/// One name, translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) status: Status,
    pub(crate) change: Change,
}

/// All names of a file, translated.
#[derive(Debug)]
pub(crate) struct Translation {
    pub(crate) dialect: &'static Dialect,
    pub(crate) network: &'static str,
    /// In the order of the names given.
    pub(crate) names: Vec<Named>,
}

/// Translates by `dialect`, or by the first of all that knows every name.
///
/// # Errors
/// The reason alone, when no name is known or, for `auto`, when no dialect knows all.
pub(crate) fn translate(
    dialect: Option<&'static Dialect>,
    direction: Direction,
    names: &[&str],
) -> Result<Translation, String> {
    match dialect {
        Some(dialect) => {
            let best = best_network(dialect, direction, names)?;
            if best.known() == 0 && !names.is_empty() {
                let networks: Vec<_> = dialect.networks.iter().map(|n| n.name).collect();
                return Err(format!(
                    "none of the {} names is one of its networks' ({}); the first is {}",
                    names.len(),
                    networks.join(", "),
                    names[0]
                ));
            }
            Ok(best)
        }
        None => automatic(direction, names),
    }
}

fn automatic(direction: Direction, names: &[&str]) -> Result<Translation, String> {
    let mut best: Option<Translation> = None;
    for dialect in DIALECTS {
        let found = best_network(dialect, direction, names)?;
        if found.known() == names.len() {
            return Ok(found);
        }
        if best
            .as_ref()
            .is_none_or(|best| best.known() < found.known())
        {
            best = Some(found);
        }
    }
    let known = best.as_ref().map_or(0, Translation::known);
    let mut reason = format!("no dialect knows all {} names", names.len());
    if let Some(best) = best.filter(|best| best.known() > 0) {
        let unknown = names.iter().zip(&best.names);
        let first = unknown
            .filter(|(_, named)| named.status == Status::Unknown)
            .map(|(name, _)| *name)
            .next();
        reason += &format!(
            "; nearest is {} ({known}), which has no {}: name it to convert what it knows",
            best.dialect.name,
            first.unwrap_or_default()
        );
    }
    Err(reason)
}

fn best_network(
    dialect: &'static Dialect,
    direction: Direction,
    names: &[&str],
) -> Result<Translation, String> {
    let mut best: Option<Translation> = None;
    for network in dialect.networks {
        let names = by_network(dialect, network, direction, names)?;
        let found = Translation {
            dialect,
            network: network.name,
            names,
        };
        if best
            .as_ref()
            .is_none_or(|best| best.known() < found.known())
        {
            best = Some(found);
        }
    }
    best.ok_or_else(|| "has no networks".to_string())
}

impl Translation {
    /// Names that the dialect has, to keep or to drop.
    pub(crate) fn known(&self) -> usize {
        let unknown = |named: &&Named| named.status == Status::Unknown;
        self.names.len() - self.names.iter().filter(unknown).count()
    }
}

fn by_network(
    dialect: &Dialect,
    network: &Network,
    direction: Direction,
    names: &[&str],
) -> Result<Vec<Named>, String> {
    let rules = (network.rules)()
        .iter()
        .map(|rule| Compiled::new(rule, direction))
        .collect::<Result<Vec<_>, _>>()?;
    let dropped = network
        .dropped
        .iter()
        .map(|name| Pattern::parse(name))
        .collect::<Result<Vec<_>, _>>()?;
    let to_zoo = direction == Direction::ToZoo;
    let prefix = if to_zoo {
        common_prefix(dialect, names)
    } else {
        0
    };
    let named = names.iter().map(|&file_name| {
        let name = &file_name[prefix..];
        let rewritten = rules
            .iter()
            .find_map(|rule| Some((rule.from.renamed(&rule.to, name)?, rule.change)));
        let (name, status, change) = match rewritten {
            Some((name, change)) => (name, Status::Known, change),
            None if to_zoo && dropped.iter().any(|pattern| pattern.matches(name)) => {
                (name.to_string(), Status::Dropped, Change::default())
            }
            None => {
                let unknown = Named {
                    name: file_name.to_string(),
                    status: Status::Unknown,
                    change: Change::default(),
                };
                return unknown;
            }
        };
        let name = match direction {
            Direction::ToZoo => name,
            Direction::ToOriginal => format!("{}{name}", dialect.prefix),
        };
        Named {
            name,
            status,
            change,
        }
    });
    Ok(named.collect())
}

/// Length of the prefixes that every name has.
fn common_prefix(dialect: &Dialect, names: &[&str]) -> usize {
    let mut length = 0;
    let prefixes = WRAPPERS.iter().copied().chain([dialect.prefix]);
    let prefixes: Vec<&str> = prefixes.filter(|prefix| !prefix.is_empty()).collect();
    while !names.is_empty()
        && let Some(prefix) = prefixes.iter().find(|prefix| {
            names
                .iter()
                .all(|name| name[length..].starts_with(**prefix))
        })
    {
        length += prefix.len();
    }
    length
}
