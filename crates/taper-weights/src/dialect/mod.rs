//! How published files name their tensors, and how the zoo does: one table a dialect.
//!
//! The zoo keeps the names of each network's PyTorch original, so most tables say which prefix a
//! file carries and which names belong to it; some rename modules, put the rows of attention
//! projections in another order or drop constants. Every table is read both ways.

mod adm;
mod akamaster;
mod cud;
mod distiller;
mod edm;
mod efficientnet;
mod espnet;
mod mobilenet;
mod repdistiller;
mod rule;
mod timm;
mod torchvision;
mod translate;
mod wenet;

pub(crate) use rule::{Change, Rule, row_axes, row_order, same};
pub(crate) use translate::{Status, translate};

use crate::WeightsError;

/// The names of one family of published files.
#[derive(Debug)]
pub struct Dialect {
    /// As given to `--dialect`.
    pub name: &'static str,
    /// Whose files these are.
    pub about: &'static str,
    /// What the published files have before every name.
    pub prefix: &'static str,
    /// What a person should know after a conversion.
    pub remark: Option<&'static str>,
    networks: &'static [Network],
}

/// The names of one architecture.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) name: &'static str,
    pub(crate) rules: fn() -> Vec<Rule>,
    /// Tensors of the file that can be computed, or that no version of the network reads.
    pub(crate) dropped: &'static [&'static str],
}

/// Which way names go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the file's names to the zoo's.
    ToZoo,
    /// From the zoo's names back to those of the file's original.
    ToOriginal,
}

/// Every dialect, in the order in which `auto` tries them.
pub static DIALECTS: &[Dialect] = &[
    repdistiller::DIALECT,
    akamaster::DIALECT,
    distiller::DIALECT,
    torchvision::DIALECT,
    timm::DIALECT,
    efficientnet::DIALECT,
    mobilenet::FLAT,
    mobilenet::NORM,
    edm::DIALECT,
    cud::DIALECT,
    adm::GUIDED_DIFFUSION,
    adm::CUD_IMAGENET,
    wenet::DIALECT,
    espnet::DIALECT,
];

impl Dialect {
    /// The dialect of that name.
    ///
    /// # Errors
    /// [`WeightsError::Option`] with the names that there are.
    pub fn find(name: &str) -> Result<&'static Self, WeightsError> {
        let found = DIALECTS.iter().find(|dialect| dialect.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = DIALECTS.iter().map(|dialect| dialect.name).collect();
            WeightsError::Option {
                option: format!("--dialect {name}"),
                reason: format!("unknown; expected auto, {}", names.join(", ")),
            }
        })
    }
}

#[cfg(test)]
mod tests;
