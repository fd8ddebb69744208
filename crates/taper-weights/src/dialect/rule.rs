//! One line of a dialect's table: a name there, a name here, and what happens to the numbers.

use crate::pattern::Pattern;
use taper_velocity::QkvOrder;

/// The three axes of the rows of queries, keys and values: 0 which, 1 head, 2 channel.
pub(crate) fn row_axes(order: QkvOrder) -> [usize; 3] {
    match order {
        QkvOrder::WhichHeadChannel => [0, 1, 2],
        QkvOrder::HeadWhichChannel => [1, 0, 2],
        QkvOrder::HeadChannelWhich => [1, 2, 0],
    }
}

/// As written in tables and reports.
pub(crate) fn row_order(order: QkvOrder) -> &'static str {
    match order {
        QkvOrder::WhichHeadChannel => "[which][head][channel]",
        QkvOrder::HeadWhichChannel => "[head][which][channel]",
        QkvOrder::HeadChannelWhich => "[head][channel][which]",
    }
}

/// What happens to a tensor beside its name; described from the original to the zoo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Change {
    /// Rows of queries, keys and values: order there, order here, channels a head.
    pub(crate) rows: Option<(QkvOrder, QkvOrder, usize)>,
    /// Dimensions there and here; they differ by trailing ones of size 1.
    pub(crate) rank: Option<(usize, usize)>,
    /// The two dimensions change places.
    pub(crate) transpose: bool,
}

impl Change {
    pub(crate) fn reversed(self) -> Self {
        Self {
            rows: self.rows.map(|(there, here, head)| (here, there, head)),
            rank: self.rank.map(|(there, here)| (here, there)),
            transpose: self.transpose,
        }
    }
}

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) original: String,
    pub(crate) zoo: String,
    pub(crate) change: Change,
}

impl Rule {
    pub(crate) fn new(original: impl Into<String>, zoo: impl Into<String>) -> Self {
        Self {
            original: original.into(),
            zoo: zoo.into(),
            change: Change::default(),
        }
    }

    pub(crate) fn with(self, change: Change) -> Self {
        Self { change, ..self }
    }
}

/// Names that the zoo keeps.
pub(crate) fn same(names: &[&str]) -> Vec<Rule> {
    names.iter().map(|name| Rule::new(*name, *name)).collect()
}

/// A rule ready for matching.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) from: Pattern,
    pub(crate) to: Pattern,
    pub(crate) change: Change,
}

impl Compiled {
    /// # Errors
    /// What is wrong with the table; tests read every one.
    pub(crate) fn new(rule: &Rule, direction: super::Direction) -> Result<Self, String> {
        let (original, zoo) = (Pattern::parse(&rule.original)?, Pattern::parse(&rule.zoo)?);
        if !original.corresponds_to(&zoo) {
            return Err(format!("{} and {} differ", rule.original, rule.zoo));
        }
        Ok(match direction {
            super::Direction::ToZoo => Self {
                from: original,
                to: zoo,
                change: rule.change,
            },
            super::Direction::ToOriginal => Self {
                from: zoo,
                to: original,
                change: rule.change.reversed(),
            },
        })
    }
}
